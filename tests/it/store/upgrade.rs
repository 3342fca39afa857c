//! Databases that an older version of the program made.

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteJournalMode;
use zimaged::internals::{FileId, Repeat};

use super::*;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The schema before a job had an origin.
const BEFORE_ORIGINS: i64 = 4;

/// The migrations that build tables anew, outside of sqlx's own transaction.
const BUILT_ANEW: [i64; 3] = [6, 8, 9];

/// A dropped job with a done render, and a job that repeats it.
const ROWS: &str = "
    INSERT INTO jobs (id, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, tags,
                      accepted_at_ms) VALUES (3, 'fox.toml', 'prompt', -1, 5, 7, 'ab', 2, '[\"zoo\"]', 1);
    INSERT INTO jobs (id, file_name, text, file_sha256, priority, tags, retry_of, accepted_at_ms)
    VALUES (9, 'fox.toml', 'prompt', 'ab', 2, '[]', 3, 2);
    INSERT INTO renders (job_id, position, state, priority, run_after_ms, prompt, negative_prompt, width, height,
                         steps, guidance, seed, on_oom, min_side, min_steps, output, format, finished_at_ms)
    VALUES (3, 1, 'done', 0, 0, 'a fox', '', 64, 64, 1, 0, 1, 'fail', 1, 1, '', 'png', 8),
           (9, 1, 'cancelled', 0, 0, 'a fox', '', 64, 64, 1, 0, 1, 'fail', 1, 1, '', 'png', 9);
    INSERT INTO attempts (render_id, number, outcome, rung, rung_text, width, height, steps, path, queued_ms,
                          started_at_ms, ended_at_ms, sha256)
    VALUES (1, 1, 'done', '{}', '', 64, 64, 1, 'fox.png', 0, 1, 2, 'cd');
";

/// A folder with a database of the schema `version` and what `rows` inserts.
async fn database(version: i64, rows: &'static str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("queue.sqlite"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await.expect("a new database");
    sqlx::raw_sql("PRAGMA application_id = 0x7a696d67")
        .execute(&mut connection)
        .await
        .expect("ours");
    MIGRATIONS.run_to(version, &mut connection).await.expect("the migrations of that time");
    sqlx::raw_sql(rows).execute(&mut connection).await.expect(rows);
    connection.close().await.expect("no other user");
    folder
}

async fn upgraded(folder: TempDir) -> Fixture {
    let path = folder.path().join("queue.sqlite");
    let store = Store::open(&path, Access::Daemon).await.expect("an older database of ours");
    Fixture { folder, store }
}

/// That ids, rows, references and views came through.
async fn assert_whole(fixture: &Fixture) {
    let jobs = "SELECT concat_ws(' ', job, origin, retry_of, file_name, tags, state) FROM jobs_state ORDER BY job";
    assert_eq!(
        fixture.rows(jobs).await,
        ["3 drop fox.toml [\"zoo\"] done", "9 retry 3 fox.toml [] cancelled"]
    );
    let history = "SELECT concat_ws(' ', job, picture, state, path) FROM history ORDER BY job";
    assert_eq!(fixture.rows(history).await, ["3 1 done fox.png", "9 1 cancelled"]);
    let index =
        "SELECT name FROM sqlite_schema WHERE tbl_name = 'jobs' AND name = 'jobs_by_file_name'";
    assert_eq!(fixture.rows(index).await.len(), 1);
    let adrift = "UPDATE renders SET job_id = 77";
    let refused = sqlx::query(adrift).execute(&mut fixture.other().await).await;
    assert!(refused.is_err(), "renders refer to jobs");
}

/// A file that an earlier version took in and could not move away is known once, by what that
/// version knew it by; from then on by its own identity.
#[tokio::test]
async fn a_drop_of_an_older_version_is_known_once() {
    let fixture = upgraded(database(BEFORE_ORIGINS, ROWS).await).await;
    let before = Some(FileId { device: u64::MAX, inode: 5, mtime_ns: 7 });
    let drop_of = |id: u128, before| NewJob {
        origin: Origin::Drop { id: DropId(id), before },
        name: "fox.toml".to_owned(),
        sha256: "ab".to_owned(),
        ..job(&["a fox"])
    };
    assert_eq!(fixture.accept_any(drop_of(1, None)).await, (10, true), "dropped since the start");
    assert_eq!(fixture.accept_any(drop_of(2, before)).await, (3, false));
    assert_eq!(fixture.accept_any(drop_of(2, None)).await, (3, false), "after a death");
    assert_eq!(fixture.accept_any(drop_of(3, before)).await, (11, true), "a copy of the same time");
}

/// What was made before counts.
#[tokio::test]
async fn an_upgrade_counts_what_there_is() {
    let fixture = upgraded(database(BEFORE_ORIGINS, ROWS).await).await;
    let totals = "SELECT concat_ws(' ', metric, label, stage, number) FROM totals WHERE metric IN \
                  ('attempts', 'renders', 'render_ms') ORDER BY 1";
    let expected =
        ["attempts done none 1", "render_ms 256  1", "renders cancelled  1", "renders done  1"];
    assert_eq!(fixture.rows(totals).await, expected);
    assert_eq!(fixture.store.worker_starts().await.expect("a readable queue"), 0);
}

/// Ids are not used again, not even those of rows that were deleted before the upgrade.
#[tokio::test]
async fn an_upgrade_keeps_ids_from_being_used_again() {
    let fixture = upgraded(database(BEFORE_ORIGINS, ROWS).await).await;
    let sql = "SELECT CAST(seq AS TEXT) FROM sqlite_sequence WHERE name = 'jobs'";
    assert_eq!(fixture.rows(sql).await, ["9"]);
}

#[tokio::test]
async fn jobs_of_an_older_version_get_their_origin_and_lose_nothing() {
    let fixture = upgraded(database(BEFORE_ORIGINS, ROWS).await).await;
    assert_whole(&fixture).await;
    let request = NewJob::of_request(job(&["new"]).job, "new.toml", "prompt = 'new'");
    assert_eq!(fixture.accept(request).await, 10, "ids go on where they were");
    let again =
        fixture.store.retry(zimaged::internals::Selection::Job(9), Repeat::NotMade, NOW).await;
    assert_eq!(again.expect("it was cancelled").job, 11);
}

/// The daemon may die after tables were built anew and before that is noted.
#[tokio::test]
async fn an_upgrade_that_was_not_noted_is_repeated() {
    for version in BUILT_ANEW {
        let folder = database(BEFORE_ORIGINS, ROWS).await;
        let options = SqliteConnectOptions::new().filename(folder.path().join("queue.sqlite"));
        let mut connection = options.connect().await.expect("our own database");
        MIGRATIONS.run_to(version, &mut connection).await.expect("the migrations of that time");
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = ?")
            .bind(version)
            .execute(&mut connection)
            .await
            .expect("our own database");
        connection.close().await.expect("no other user");
        assert_whole(&upgraded(folder).await).await;
    }
}

/// What a hand deleted before ids were kept from being given again (case A).
#[tokio::test]
async fn ids_go_on_behind_every_id_that_some_row_still_names() {
    let deleted = "DELETE FROM jobs; DELETE FROM attempts;
                   INSERT INTO events (at_ms, kind, job_id, attempt_id) VALUES (1, 'done', 9, 40)";
    let folder = database(BEFORE_ORIGINS, ROWS).await;
    let options = SqliteConnectOptions::new().filename(folder.path().join("queue.sqlite"));
    let mut shell = options.foreign_keys(false).connect().await.expect("our own database");
    MIGRATIONS.run_to(7, &mut shell).await.expect("the migrations of that time");
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut shell).await.expect("a setting");
    sqlx::raw_sql(deleted).execute(&mut shell).await.expect(deleted);
    shell.close().await.expect("no other user");
    let fixture = upgraded(folder).await;
    assert_eq!(fixture.accept(job(&["new"])).await, 10);
    assert_eq!(fixture.begin().await, (3, 41));
}

/// What a hand has broken is not carried over: nothing of the upgrade stays.
#[tokio::test]
async fn an_upgrade_of_rows_that_refer_to_nothing_is_undone() {
    let folder = database(BEFORE_ORIGINS, ROWS).await;
    let path = folder.path().join("queue.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).foreign_keys(false);
    let mut connection = options.connect().await.expect("our own database");
    let broken = "UPDATE renders SET job_id = 77 WHERE job_id = 9";
    sqlx::query(broken).execute(&mut connection).await.expect("nobody looks");
    assert!(Store::open(&path, Access::Daemon).await.is_err());
    let jobs: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE name LIKE 'jobs%'")
            .fetch_all(&mut connection)
            .await
            .expect("a readable database");
    assert!(
        jobs.contains(&"jobs".to_owned()) && !jobs.contains(&"jobs_new".to_owned()),
        "{jobs:?}"
    );
    let origins = sqlx::query("SELECT origin FROM jobs").fetch_all(&mut connection).await;
    assert!(origins.is_err(), "still the old table");
}
