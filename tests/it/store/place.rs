//! The database's file and its log: put in place by hand, taken away, grown.

use std::fs;
use std::path::Path;

use zimaged::internals::{DatabasePlace, FolderLock, StoreError};

use super::*;

fn wal(path: &Path) -> PathBuf {
    path.with_extension("sqlite-wal")
}

async fn refusal(path: &Path, access: Access) -> String {
    match Store::open(path, access).await {
        Err(StoreError::Unusable(why)) => why,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// What a daemon leaves that is killed while it has a log: database, log and note in a new folder.
fn killed(fixture: &Fixture) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["queue.sqlite", "queue.sqlite-wal", "queue.sqlite-starts"] {
        fs::copy(fixture.folder.path().join(name), folder.path().join(name)).expect("it is there");
    }
    let path = folder.path().join("queue.sqlite");
    assert!(fs::metadata(wal(&path)).expect("a log").len() > 32);
    (folder, path)
}

#[tokio::test]
async fn a_log_is_carried_over_into_its_own_database() {
    let fixture = Fixture::new().await.restarted().await;
    fixture.accept(job(&["a"])).await;
    for access in [Access::Daemon, Access::Client] {
        let (_folder, path) = killed(&fixture);
        let store = Store::open(&path, access).await.expect("a daemon was killed, no more");
        assert_eq!(store.queued().await.expect("a readable queue"), 1);
    }
}

/// Case A: a backup is put in the place of a killed daemon's database, whose log stays.
#[tokio::test]
async fn a_log_beside_a_backup_is_told_and_never_undoes_the_restore() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["old"])).await;
    let backups = tempfile::tempdir().expect("a temporary folder");
    let [vacuumed, copied] = ["vacuumed", "copied"].map(|name| backups.path().join(name));
    fixture.store.copy_to(&vacuumed).await.expect("a writable folder");
    let fixture = fixture.restarted().await;
    fs::copy(fixture.path(), &copied).expect("a readable file");
    let fixture = fixture.restarted().await;
    fixture.accept(job(&["new"])).await;
    for backup in [&vacuumed, &copied] {
        let (_folder, path) = killed(&fixture);
        let log = fs::read(wal(&path)).expect("a log");
        fs::copy(backup, &path).expect("a writable folder");
        for access in [Access::Daemon, Access::Client] {
            let why = refusal(&path, access).await;
            assert!(why.contains("belongs to another database"), "{backup:?}: {why}");
            assert!(why.contains("zimaged restore"), "{why}");
        }
        assert!(fs::read(wal(&path)).expect("a log") == log, "it was touched");
        fs::remove_file(wal(&path)).expect("the cure");
        let store = Store::open(&path, Access::Daemon).await.expect("a good backup");
        assert_eq!(store.queued().await.expect("a readable queue"), 1, "{backup:?}");
    }
}

/// Also where a command is the first to write, as `cancel --all` after a `restore`.
#[tokio::test]
async fn a_backup_put_back_without_a_log_is_taken_with_the_log_that_it_then_gets() {
    for first in [Access::Daemon, Access::Client] {
        let fixture = Fixture::new().await;
        let backup = fixture.folder.path().join("backup");
        fixture.store.copy_to(&backup).await.expect("a writable folder");
        let fixture = fixture.restarted().await.restarted().await;
        let path = fixture.path();
        fixture.store.close().await;
        fs::copy(&backup, &path).expect("a writable folder");
        let store = Store::open(&path, first).await.expect("a good backup");
        let fixture = Fixture { folder: fixture.folder, store };
        fixture.accept(job(&["a"])).await;
        let (_folder, path) = killed(&fixture);
        Store::open(&path, Access::Daemon).await.expect("its own log").close().await;
    }
}

/// Chaos 10: a log that a reader pinned is cut once the reader is gone, also where nobody writes.
#[tokio::test]
async fn a_log_that_grew_while_somebody_read_is_emptied_afterwards() {
    let fixture = Fixture::new().await;
    let mut reader = fixture.other().await;
    sqlx::query("BEGIN").execute(&mut reader).await.expect("a transaction");
    sqlx::query("SELECT * FROM pause").fetch_all(&mut reader).await.expect("readable");
    let long = "x".repeat(1 << 20);
    for _ in 0..20 {
        fixture.store.pause(&long, NOW).await.expect("a writable queue");
    }
    let bytes = || fs::metadata(wal(&fixture.path())).expect("a log").len();
    assert!(bytes() > 20 << 20);
    fixture.store.carry_over().await.expect("nothing is waited for");
    assert!(bytes() > 20 << 20, "somebody reads it");
    sqlx::query("COMMIT").execute(&mut reader).await.expect("its own transaction");
    fixture.store.carry_over().await.expect("a database");
    assert_eq!(bytes(), 0);
}

/// Chaos 5: whatever is written from then on would be lost.
#[tokio::test]
async fn a_file_that_is_taken_away_or_replaced_is_noticed() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let place = async || fixture.store.place().await.expect("the disk is well");
    assert_eq!(place().await, DatabasePlace::Kept);
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(fixture.path(), &elsewhere).expect("the same filesystem");
    assert_eq!(place().await, DatabasePlace::Lost);
    fs::write(fixture.path(), "").expect("a writable folder");
    assert_eq!(place().await, DatabasePlace::Lost);
    fs::remove_file(&elsewhere).expect("a file");
    let saved = fixture.folder.path().join("saved");
    fixture.store.copy_to(&saved).await.expect("all of it is still open");
    assert_eq!(Store::check_copy(&saved).await.expect("a copy").waiting, 1);
}

fn mode(path: &Path, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, permissions).expect("our own");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What `ask` is told by a user who is not the owner. Only its thread, and those that it starts,
/// are somebody else; whoever is not root stays who it is, and is kept out by the modes alone.
fn told_to_another_user(ask: impl FnOnce() -> String + Send + 'static) -> String {
    let told = std::thread::spawn(|| {
        // SAFETY: the calls change nothing but this thread's user and groups.
        unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
            libc::syscall(libc::SYS_setresgid, -1, 65_534, -1);
            libc::syscall(libc::SYS_setresuid, -1, 65_534, -1);
        }
        ask()
    });
    told.join().expect("no panic")
}

/// Newcomer 32: which file, whose it is, and how to be let in.
#[test]
fn a_user_who_may_not_write_is_told_whose_the_database_is() {
    let fixture = runtime().block_on(Fixture::new());
    let path = fixture.path();
    mode(fixture.folder.path(), 0o755);
    mode(&path, 0o464);
    let told = told_to_another_user(move || {
        runtime().block_on(async {
            match Store::open(&path, Access::Client).await {
                Ok(store) => store.pause("?", NOW).await.expect_err("not theirs").to_string(),
                Err(error) => error.to_string(),
            }
        })
    });
    for part in ["queue.sqlite", "belongs to the user", "usermod -aG"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Newcomer 32: a database in a closed folder was told to be none, and a lock there by the system's
/// words alone.
#[test]
fn a_user_who_may_not_look_into_the_folder_is_told_whose_it_is() {
    let fixture = runtime().block_on(Fixture::new());
    let (path, folder) = (fixture.path(), fixture.folder.path().to_owned());
    mode(&folder, 0o000);
    let database = told_to_another_user(move || {
        let opened = runtime().block_on(Store::open(&path, Access::Client));
        opened.err().map(|error| error.to_string()).expect("not theirs")
    });
    let closed = folder.clone();
    let lock = told_to_another_user(move || {
        FolderLock::take(&closed).expect_err("not theirs").to_string()
    });
    mode(&folder, 0o700);
    let whose = format!("{} belongs to the user", folder.display());
    for told in [database, lock] {
        assert!(told.contains(&whose) && told.contains("sudo chown"), "{told}");
    }
}
