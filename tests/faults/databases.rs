//! What others do to the database: they lock it, read it for long, damage it, or want it too.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::beside;
use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::support::{kill, said};
use crate::trouble::{assert_goes_on, assert_lives_on, drop_job, holds};

pub const DATABASE: &str = "state/zimaged.sqlite";

/// A daemon in the middle of a render, which is held there.
fn rendering() -> Harried {
    let mut it = Harried::new("deaths_max = 1\n");
    it.house.hold_renders();
    it.launch(&[]);
    it.until_listening();
    it.drop_file("prompt = 'hold'\nwidth = 64\nheight = 64\nmin_side = 64\nnum_images = 2\n", 2);
    let running = "SELECT count(*) FROM attempts WHERE outcome = 'running'";
    it.while_alive(PATIENCE, |house| (house.value(running) != "0").then_some(())).unwrap();
    it
}

/// A daemon that has ended, and its database with it.
fn at_rest() -> Harried {
    let mut it = rendering();
    it.house.release_renders();
    it.until_settled();
    assert_eq!(it.stop().code(), Some(0));
    it
}

/// How long the lock is held at least; always longer than anybody waits for it.
fn lock_time() -> Duration {
    let given = std::env::var("FAULTS_LOCK_S").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(0))
}

#[test]
fn a_database_that_is_locked_holds_the_queue() {
    let mut it = rendering();
    let path = it.house.path(DATABASE);
    crate::support::database::while_locked(&path, || {
        it.house.release_renders();
        sleep(lock_time());
        it.while_alive(PATIENCE, |house| holds(house).then_some(())).expect("it is felt");
    });
    assert!(it.house.log().contains("locked"), "{}", it.house.log());
    assert_lives_on(&mut it, "another program locks the database");
    let once = "SELECT count(*) FROM attempts WHERE outcome <> 'done'";
    assert_eq!(it.house.value(once), "0", "nothing was rendered twice");
}

/// Longer than the log may stay.
const LOG_BYTES: u64 = 17 << 20;

/// A reader of an old state, until it is dropped.
pub struct Reader {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Reader {
    pub fn of(it: &Harried) -> Reader {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(it.house.path(DATABASE)).read_only(true);
        let connection = runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            for sql in ["BEGIN", "SELECT count(*) FROM jobs"] {
                sqlx::query(sql).execute(&mut connection).await.unwrap();
            }
            connection
        });
        Reader { runtime, connection }
    }

    pub fn end(self) {
        self.runtime.block_on(self.connection.close()).unwrap();
    }
}

#[test]
fn a_log_that_a_reader_pins_is_cut_when_the_reader_is_gone() {
    let mut it = rendering();
    let log_bytes = |it: &Harried| {
        fs::metadata(it.house.path("state/zimaged.sqlite-wal")).map_or(0, |log| log.len())
    };
    let reader = Reader::of(&it);
    it.house.release_renders();
    it.house.falsify("CREATE TABLE filler (bytes BLOB)");
    while log_bytes(&it) < LOG_BYTES {
        it.house.falsify("INSERT INTO filler VALUES (zeroblob(1000000))");
    }
    drop_job(&mut it);
    it.until_settled();
    assert!(log_bytes(&it) >= LOG_BYTES, "the reader has pinned it");
    reader.end();
    it.house.falsify("DROP TABLE filler");
    it.house.until("it is cut", || (log_bytes(&it) < LOG_BYTES).then_some(()));
    assert_lives_on(&mut it, "a reader pins the database's log");
}

const REFUSED: &str =
    "it ends with 78 and leaves the file as it is; with the right one back it goes on";

/// Starts on a database that is not as it should be, and then on that which was there before.
fn assert_refused(it: &mut Harried, fault: &str, spoil: impl Fn(&mut Vec<u8>)) {
    let path = it.house.path(DATABASE);
    let whole = fs::read(&path).unwrap();
    let mut spoiled = whole.clone();
    spoil(&mut spoiled);
    fs::write(&path, &spoiled).unwrap();
    it.launch(&[]);
    it.while_alive(PATIENCE, |_| None::<()>);
    assert_eq!(it.ended().unwrap().code(), Some(78), "{fault}: {}", it.house.log());
    assert!(fs::read(&path).unwrap() == spoiled, "{fault}: changed");
    fs::write(&path, whole).unwrap();
    drop_job(it);
    it.settle();
    it.assert_holds();
    assert_eq!(it.stop().code(), Some(0), "{fault}");
    record::note(fault, REFUSED, 1, "ended with 78, goes on");
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    let mut it = at_rest();
    assert_refused(&mut it, "the database's first page is damaged", |file| file[..64].fill(0x5a));
    assert_refused(&mut it, "all pages but the first are damaged", |file| file[4096..].fill(0x5a));
    assert_refused(&mut it, "half of the database is missing", |file| {
        file.truncate(file.len() / 2);
    });
}

// faults 70
#[test]
fn a_database_of_a_newer_program_is_refused_with_what_would_be_right_and_not_touched() {
    let mut it = at_rest();
    it.house.falsify("INSERT INTO _sqlx_migrations VALUES (9999, '', 0, 1, X'00', 0)");
    let rows = "SELECT max(version) || ' ' || (SELECT count(*) FROM jobs) FROM _sqlx_migrations";
    for command in [&["run", "--until-idle"][..], &["list"], &["submit", "--prompt", "a"]] {
        let output = it.house.zimaged(command);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {}", said(&output));
        let words = "a newer zimaged has used it (schema 9999); run that one";
        assert!(said(&output).contains(words), "{command:?}: {}", said(&output));
    }
    assert_eq!(it.house.value(rows), "9999 1", "it is as it was");
    it.house.falsify("DELETE FROM _sqlx_migrations WHERE version = 9999");
    drop_job(&mut it);
    it.settle();
    it.assert_holds();
    record::note("the database of a newer program", REFUSED, 1, "ended with 78, goes on");
}

/// What is done to the files that a daemon has open.
type Taken = (&'static str, fn(&Harried));

/// Nothing that is written then is lost: the daemon carries it over into the database.
const BESIDE_IT: [Taken; 2] = [
    ("the database's log is removed while the daemon runs", |it| remove(it, "-wal")),
    ("the index of the database's log is removed while the daemon runs", |it| remove(it, "-shm")),
];

/// What the daemon has open is saved beside what lies there.
const ITSELF: [Taken; 3] = [
    ("the database is removed while the daemon runs", |it| remove(it, "")),
    ("the database is replaced while the daemon runs", |it| replace(it, "")),
    ("the database's log is replaced while the daemon runs", |it| replace(it, "-wal")),
];

fn remove(it: &Harried, suffix: &str) {
    fs::remove_file(it.house.path(&format!("{DATABASE}{suffix}"))).unwrap();
}

/// By a copy of what there is at this moment, as who puts a backup back does.
fn replace(it: &Harried, suffix: &str) {
    let path = it.house.path(&format!("{DATABASE}{suffix}"));
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

/// Does it in the middle of a render, which is then made, and waits for the daemon's end; its code.
fn take(it: &mut Harried, taken: fn(&Harried)) -> Option<i32> {
    taken(it);
    it.house.release_renders();
    it.while_alive(PATIENCE, |_| None::<()>);
    it.ended().expect("it notices").code()
}

#[test]
fn a_log_or_an_index_that_is_taken_away_ends_the_daemon_and_loses_nothing() {
    beside::try_all(BESIDE_IT, |(fault, taken)| {
        let mut it = rendering();
        assert_eq!(take(&mut it, taken), Some(75), "{fault}: {}", it.house.log());
        assert!(it.house.log().contains("was removed while the daemon ran"), "{}", it.house.log());
        assert_goes_on(&mut it, fault);
    });
}

#[test]
fn a_database_that_is_taken_away_ends_the_daemon_and_is_saved() {
    let expected = "it ends with 78 and saves what it held; with that put back it goes on";
    beside::try_all(ITSELF, |(fault, taken)| {
        let mut it = rendering();
        assert_eq!(take(&mut it, taken), Some(78), "{fault}: {}", it.house.log());
        let saved = it.house.path("state/zimaged-saved.sqlite");
        let cure = format!("zimaged restore {}", saved.display());
        assert!(it.house.log().contains(&cure), "{fault}: {}", it.house.log());
        let restored = it.house.zimaged(&["restore", &saved.display().to_string()]);
        assert!(restored.status.success(), "{fault}: {}", said(&restored));
        it.settle();
        it.assert_holds();
        record::note(fault, expected, 1, "ended with 78, saved, goes on");
    });
}

/// The daemon looks every two seconds, and once more when it does not find what it looks for.
#[test]
fn a_state_folder_that_is_moved_away_for_a_moment_ends_nothing() {
    let mut it = rendering();
    let [state, away] = ["state", "away"].map(|name| it.house.path(name));
    fs::rename(&state, &away).unwrap();
    let noticed = "it is looked for once more";
    it.while_alive(PATIENCE, |house| house.log().contains(noticed).then_some(())).unwrap();
    fs::rename(&away, &state).unwrap();
    it.house.release_renders();
    assert_lives_on(&mut it, "the state folder is moved away and back");
}

/// Commands open the database themselves. What they write must reach the daemon that has it open,
/// also while that does not know yet that a file of it was taken away.
#[test]
fn what_a_command_writes_is_not_lost_when_the_log_is_taken_away() {
    let expected = "a change is refused with 75, and a job is taken in once the daemon has ended";
    let cases: [(&str, &[&str]); 2] = [
        ("a command writes after the index was removed under the daemon", &["-shm"]),
        ("a command writes after log and index were removed under the daemon", &["-wal", "-shm"]),
    ];
    beside::try_all(cases, |(fault, suffixes)| {
        let mut it = rendering();
        kill("STOP", it.pid());
        suffixes.iter().for_each(|suffix| remove(&it, suffix));
        let paused = it.house.zimaged(&["pause"]);
        assert_eq!(paused.status.code(), Some(75), "{fault}: {}", said(&paused));
        assert!(said(&paused).contains("removed or replaced"), "{fault}: {}", said(&paused));
        let submit = ["submit", "--prompt", "a fox", "--width", "64", "--height", "64"];
        let mut submit = it.house.command(&submit);
        let mut submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_millis(300));
        assert!(submit.try_wait().unwrap().is_none(), "{fault}: it waits for the daemon's end");
        kill("CONT", it.pid());
        it.house.release_renders();
        it.while_alive(PATIENCE, |_| None::<()>);
        let submit = submit.wait_with_output().unwrap();
        assert!(submit.status.success(), "{fault}: {}\n{}", said(&submit), it.house.log());
        assert_goes_on(&mut it, fault);
        let requests = "SELECT count(*) FROM jobs WHERE origin = 'request'";
        assert_eq!(it.house.value(requests), "1", "{fault}: the job is there");
        record::note(fault, expected, 1, "both, and the job is made");
    });
}

/// The index is mapped into the daemon's memory, and a page that is not there any more ends whoever
/// looks at it: SQLite cannot know, and nobody can go on.
#[test]
fn an_index_that_is_cut_short_ends_the_daemon_and_loses_nothing() {
    let mut it = rendering();
    let index = it.house.path(&format!("{DATABASE}-shm"));
    fs::OpenOptions::new().write(true).open(index).unwrap().set_len(0).unwrap();
    it.house.release_renders();
    it.while_alive(PATIENCE, |_| None::<()>);
    let ended = it.ended().expect("it cannot go on");
    assert_eq!(ended.signal(), Some(libc::SIGBUS), "{ended:?}\n{}", it.house.log());
    it.settle();
    it.assert_holds();
    let expected = "it dies by SIGBUS, and goes on at the next start; nothing is lost";
    record::note("the index of the database's log is cut short", expected, 1, "died, goes on");
}

/// So many daemons want the same state folder at once.
const DAEMONS: usize = 4;

fn start(it: &Harried) -> Child {
    let mut command = it.house.command(&["run"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

#[test]
fn of_many_daemons_on_one_state_folder_one_runs() {
    let mut it = rendering();
    it.kill_all();
    it.house.release_renders();
    let mut daemons: Vec<Child> = (0..DAEMONS).map(|_| start(&it)).collect();
    drop_job(&mut it);
    let mut codes = Vec::new();
    it.house.until("all but one have ended", || {
        daemons.retain_mut(|daemon| match daemon.try_wait().unwrap() {
            Some(status) => {
                codes.push(status.code());
                false
            }
            None => true,
        });
        (daemons.len() == 1).then_some(())
    });
    assert_eq!(codes, [Some(75); DAEMONS - 1]);
    kill("TERM", daemons[0].id());
    assert_eq!(daemons[0].wait().unwrap().code(), Some(0));
    it.settle();
    it.assert_holds();
    let expected = "one runs, the others end with 75; no job is taken in or rendered twice";
    record::note("many daemons on one state folder", expected, DAEMONS as u64, "one runs");
}
