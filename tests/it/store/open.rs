//! What `open` does with files that are not a healthy database of ours.

use std::fs;
use std::path::Path;

use sqlx::sqlite::SqliteJournalMode;
use zimaged::internals::StoreError;

use super::*;

async fn refusal(path: &Path, access: Access) -> String {
    match Store::open(path, access).await {
        Err(StoreError::Unusable(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// Opening `content` must be refused with words that hold `expected`, and change nothing.
async fn check(content: &[u8], expected: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    for access in [Access::Daemon, Access::Client] {
        fs::write(&path, content).expect("a writable folder");
        let why = refusal(&path, access).await;
        assert!(why.contains(expected) && why.contains("queue.sqlite: "), "{why}");
        assert!(fs::read(&path).expect("a readable file") == content, "the file was changed");
    }
}

/// The bytes of a database after `edits`, all in one file.
async fn database(edits: &'static str) -> Vec<u8> {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    fixture.store.close().await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = options.connect().await.expect("our own database");
    sqlx::raw_sql(edits).execute(&mut connection).await.expect(edits);
    sqlx::Connection::close(connection).await.expect("no other user");
    fs::read(&path).expect("a readable file")
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    check(&[0x5a; 5000], "damaged").await;
    let whole = database("").await;
    check(&whole[..whole.len() / 2], "damaged").await;
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    check(&flipped, "damaged").await;
}

#[tokio::test]
async fn another_program_s_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("theirs.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Delete);
    let mut connection = options.connect().await.expect("a new database");
    sqlx::query("CREATE TABLE theirs (x)").execute(&mut connection).await.expect("a new table");
    sqlx::Connection::close(connection).await.expect("no other user");
    check(&fs::read(&path).expect("a readable file"), "belongs to another program").await;
}

#[tokio::test]
async fn other_schemas_are_refused_with_their_version() {
    let newer = "INSERT INTO _sqlx_migrations SELECT 9999, '', installed_on, true, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    check(&database(newer).await, "a newer zimaged has used it (schema 9999)").await;
    let edited = "UPDATE _sqlx_migrations SET checksum = x'00'";
    check(&database(edited).await, "schema 1 is not the one that this zimaged knows").await;
    let half = "UPDATE _sqlx_migrations SET success = false";
    check(&database(half).await, "an upgrade to schema 1 was cut short").await;
}

/// A backup by `VACUUM INTO`, put back (case A).
#[tokio::test]
async fn a_database_out_of_wal_mode_is_put_back_into_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    for access in [Access::Daemon, Access::Client] {
        let content = database("PRAGMA journal_mode = delete").await;
        fs::write(&path, content).expect("a writable folder");
        Store::open(&path, access).await.expect("a healthy database of ours").close().await;
        let modes = fs::read(&path).expect("a readable file")[18..20].to_owned();
        assert_eq!(modes, [2, 2], "WAL");
    }
}

#[tokio::test]
async fn a_folder_and_a_missing_folder_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(refusal(folder.path(), Access::Daemon).await.contains("is a folder"));
    let nowhere = folder.path().join("nowhere/queue.sqlite");
    assert!(refusal(&nowhere, Access::Daemon).await.contains("is its folder there"));
}

#[tokio::test]
async fn only_the_daemon_makes_a_database() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    assert!(refusal(&path, Access::Client).await.contains("there is no database yet"));
    assert!(!path.exists());
    fs::write(&path, "").expect("a writable folder");
    assert!(refusal(&path, Access::Client).await.contains("there is no database yet"));
    Store::open(&path, Access::Daemon)
        .await
        .expect("an empty file is a new database")
        .close()
        .await;
    Store::open(&path, Access::Client).await.expect("made by the daemon").close().await;
}

#[tokio::test]
async fn a_database_is_closed_into_one_file() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let path = fixture.path();
    assert!(
        fs::metadata(path.with_extension("sqlite-wal")).is_ok_and(|wal| wal.len() > 0),
        "in WAL mode"
    );
    fixture.store.close().await;
    assert!(!path.with_extension("sqlite-wal").exists());
}
