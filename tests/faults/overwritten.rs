//! Files of the database that somebody writes into while the daemon has them open. SQLite does not
//! see it, and would mix what was there with what is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::beside;
use crate::databases::{DATABASE, Reader};
use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::support::{kill, said};
use crate::trouble::{JOB, assert_lives_on};

/// A daemon that has nothing to do.
fn running() -> Harried {
    let mut it = Harried::new("deaths_max = 1\n");
    it.launch(&[]);
    it.until_listening();
    it
}

/// So often a log is spoiled: one of which all is carried over at that moment is not needed.
const TRIES_MAX: usize = 5;

/// The daemon has looked several times by then.
const NOTICED: Duration = Duration::from_secs(30);

/// What `zimaged backup` makes, outside of the house.
const BACKUP: &str = "backup.sqlite";

/// What is done to a file.
type Spoiled = (&'static str, fn(&Path));

const LOG: [Spoiled; 2] = [
    ("the database's log is cut short while the daemon runs", |log| cut(log, 0)),
    ("the database's log is written over while the daemon runs", |log| {
        let bytes = fs::metadata(log).unwrap().len();
        fs::write(log, vec![0x5a; usize::try_from(bytes).unwrap()]).unwrap();
    }),
];

fn cut(file: &Path, bytes: u64) {
    File::options().write(true).open(file).unwrap().set_len(bytes).unwrap();
}

/// The code with which the daemon ends, if it does.
fn end(it: &mut Harried, limit: Duration) -> Option<i32> {
    it.while_alive(limit, |_| None::<()>);
    it.ended()?.code()
}

/// Hands a job over and waits until it has its row.
fn accept(it: &mut Harried) {
    it.drop_file(JOB, 2);
    let jobs = it.ledger.drops.len().to_string();
    let count = "SELECT count(*) FROM jobs";
    it.while_alive(PATIENCE, |house| (house.value(count) == jobs).then_some(())).unwrap();
}

/// Whether the daemon has carried all of the log over into the database.
fn has_all(it: &Harried) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new().filename(it.house.path(DATABASE));
    let (_, frames, carried): (i64, i64, i64) = runtime.block_on(async {
        let mut connection = options.connect().await.unwrap();
        let progress = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)");
        let progress = progress.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        progress
    });
    frames == carried
}

#[test]
fn a_log_that_is_spoiled_is_not_carried_over_and_what_it_held_is_saved() {
    let expected = "it ends with 78 and saves what it held; with that put back it goes on";
    beside::try_all(LOG, |(fault, spoil)| {
        let mut it = running();
        let log = it.house.path(&format!("{DATABASE}-wal"));
        let code = (0..TRIES_MAX).find_map(|_| {
            accept(&mut it);
            spoil(&log);
            end(&mut it, NOTICED)
        });
        assert_eq!(code, Some(78), "{fault}: {}", it.house.log());
        assert!(it.house.log().contains("was cut short or overwritten"), "{}", it.house.log());
        let saved = it.house.path("state/zimaged-saved.sqlite");
        goes_on_with(&mut it, &saved);
        record::note(fault, expected, 1, "ended with 78, saved, goes on");
    });
}

/// What another program has written stands in the log alone, and in nobody's memory.
#[test]
fn a_log_of_which_nobody_has_the_content_leaves_the_database_as_it_was_before() {
    let fault = "the database's log is cut short under what another program has written";
    let mut it = running();
    accept(&mut it);
    it.until_settled();
    it.house.until("all is carried over", || has_all(&it).then_some(()));
    kill("STOP", it.pid());
    it.house.falsify("CREATE TABLE notes (text)");
    cut(&it.house.path(&format!("{DATABASE}-wal")), 0);
    kill("CONT", it.pid());
    assert_eq!(end(&mut it, PATIENCE), Some(78), "{}", it.house.log());
    it.settle();
    it.assert_holds();
    let notes = "SELECT count(*) FROM sqlite_schema WHERE name = 'notes'";
    assert_eq!(it.house.value(notes), "0", "it was in the log alone");
    let expected = "it ends with 78; the next start goes on with what the database had before";
    record::note(fault, expected, 1, "ended with 78, goes on");
}

/// The index is a table of contents of the log: an earlier one leads to other pages, and new ones
/// are written over those that it does not know.
#[test]
fn an_index_that_is_written_over_is_made_anew_and_nothing_is_lost() {
    let cases = [
        ("an earlier index of the database's log is copied over it", true, false),
        ("the index of an earlier log of the database is copied over it", false, false),
        ("the index of the database's log is written over", true, true),
    ];
    beside::try_all(cases, |(fault, is_of_this_log, is_random)| {
        let mut it = running();
        accept(&mut it);
        it.until_settled();
        // A log that somebody reads is not begun anew.
        let reader = is_of_this_log.then(|| Reader::of(&it));
        accept(&mut it);
        let index = it.house.path(&format!("{DATABASE}-shm"));
        let mut earlier = fs::read(&index).unwrap();
        if is_random {
            earlier.fill(0x5a);
        }
        for _ in 0..3 {
            accept(&mut it);
            it.until_settled();
        }
        File::options().write(true).open(&index).unwrap().write_all_at(&earlier, 0).unwrap();
        // Nobody reads the database before that is mended.
        it.drop_file(JOB, 2);
        it.house.until("a command changes something", || {
            it.house.zimaged(&["pause"]).status.success().then_some(())
        });
        assert!(it.house.zimaged(&["resume"]).status.success(), "{fault}");
        if let Some(reader) = reader {
            reader.end();
        }
        assert_lives_on(&mut it, fault);
        assert_eq!(it.house.value("PRAGMA integrity_check"), "ok", "{fault}");
    });
}

/// A daemon that has made a picture and has nothing to do, and a folder with a backup of what it
/// knows.
fn idle_with_backup() -> (Harried, TempDir) {
    let mut it = running();
    accept(&mut it);
    it.until_settled();
    let folder = tempfile::tempdir().unwrap();
    back_up(&it, &folder);
    (it, folder)
}

fn back_up(it: &Harried, folder: &TempDir) -> PathBuf {
    let backup = folder.path().join(BACKUP);
    let _ = fs::remove_file(&backup);
    let made = it.house.zimaged(&["backup", &backup.display().to_string()]);
    assert!(made.status.success(), "{}", said(&made));
    backup
}

fn assert_noticed(it: &mut Harried, fault: &str) {
    assert_eq!(end(it, PATIENCE), Some(78), "{fault}: {}", it.house.log());
    let log = it.house.log();
    assert!(log.contains("was cut short or overwritten while the daemon ran"), "{fault}: {log}");
    assert!(log.contains("zimaged restore FILE"), "{fault}: {log}");
}

/// As `cp backup.sqlite state/zimaged.sqlite` does it: the file stays the same one.
#[test]
fn a_backup_that_is_copied_over_the_database_ends_the_daemon_and_is_not_mixed_with_its_log() {
    let fault = "a backup is copied over the database while the daemon runs";
    let (mut it, folder) = idle_with_backup();
    it.house.zimaged(&["pause", "in the log"]);
    fs::copy(folder.path().join(BACKUP), it.house.path(DATABASE)).unwrap();
    assert_noticed(&mut it, fault);
    assert_eq!(it.house.value("PRAGMA integrity_check"), "ok");
    assert_eq!(it.house.value("SELECT count(*) FROM pause"), "0", "the backup has none");
    it.settle();
    it.assert_holds();
    let expected = "it ends with 78, and the next start goes on with the backup";
    record::note(fault, expected, 1, "ended with 78, goes on");
}

/// A copy that was made by `cp` says of itself that it is the database.
#[test]
fn an_older_copy_of_the_database_that_is_put_over_it_is_noticed_too() {
    let fault = "an older copy of itself is copied over the database while the daemon runs";
    let (mut it, folder) = idle_with_backup();
    let is_carried_over = |it: &Harried| {
        it.house.until("all is carried over", || has_all(it).then_some(()));
    };
    is_carried_over(&it);
    let copy = folder.path().join("copy");
    fs::copy(it.house.path(DATABASE), &copy).unwrap();
    accept(&mut it);
    it.until_settled();
    let backup = back_up(&it, &folder);
    is_carried_over(&it);
    it.house.zimaged(&["pause", "in the log"]);
    fs::copy(&copy, it.house.path(DATABASE)).unwrap();
    assert_noticed(&mut it, fault);
    assert_eq!(it.house.value("PRAGMA integrity_check"), "ok");
    assert_eq!(it.house.value("SELECT count(*) FROM jobs"), "1", "as it was copied");
    goes_on_with(&mut it, &backup);
    let expected = "it ends with 78 and mixes nothing; with a backup put back it goes on";
    record::note(fault, expected, 1, "ended with 78, goes on");
}

#[test]
fn a_database_that_is_cut_short_ends_the_daemon_and_a_backup_is_put_back() {
    let fault = "the database is cut short while the daemon runs";
    let (mut it, folder) = idle_with_backup();
    cut(&it.house.path(DATABASE), 4096);
    assert_noticed(&mut it, fault);
    it.launch(&[]);
    assert_eq!(end(&mut it, PATIENCE), Some(78), "it is damaged: {}", it.house.log());
    goes_on_with(&mut it, &folder.path().join(BACKUP));
    let expected = "it ends with 78, as does the next start; with a backup put back it goes on";
    record::note(fault, expected, 1, "ended with 78, goes on");
}

fn goes_on_with(it: &mut Harried, backup: &Path) {
    let restored = it.house.zimaged(&["restore", &backup.display().to_string()]);
    assert!(restored.status.success(), "{}\n{}", said(&restored), it.house.log());
    it.settle();
    it.assert_holds();
}
