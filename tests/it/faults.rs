//! What may go wrong in a night around the daemon: folders that go away, disks that fill, streams
//! that close. Each time the queue waits or goes on; nothing is lost, failed or made twice.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{House, fault, kill};

/// How the pictures stand, all together: "done 3" or "done 1 failed 1".
const STATES: &str = "SELECT group_concat(state || ' ' || n, ' ') FROM \
                      (SELECT state, count(*) AS n FROM renders GROUP BY state ORDER BY state)";

/// Why nothing is started, as `zimaged status` tells it.
fn hold(house: &House) -> Option<String> {
    house.json(&["status"])["daemon"]["hold"].as_str().map(str::to_owned)
}

#[test]
fn outputs_that_cannot_be_written_hold_the_queue_and_it_goes_on_by_itself() {
    let house = House::started("");
    house.make_unusable("outputs");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    let reason = house.until("the hold is told", || hold(&house));
    assert!(reason.contains("outputs"), "{reason}");
    house.until_logged("nothing is started");
    // Some more looks at the folder, none of which is worth a line.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(house.log().matches("nothing is started").count(), 1, "told once\n{}", house.log());
    assert_eq!(house.value(STATES), "queued 1");
    assert_eq!(
        house.value("SELECT count(*) FROM attempts"),
        "0",
        "nothing was rendered for nothing"
    );
    fs::remove_file(house.path("outputs")).expect("our own file");
    house.until_sql(STATES, "done 1");
    house.until("the hold is over", || hold(&house).is_none().then_some(()));
}

#[test]
fn outputs_that_vanish_in_a_render_cost_neither_the_render_nor_its_denoising() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\n");
    house.until_sql(STATES, "running 1");
    house.make_unusable("outputs");
    house.release_renders();
    house.until_sql("SELECT outcome FROM attempts", "interrupted");
    assert_eq!(house.value(STATES), "queued 1");
    house.stop("TERM");
    fs::remove_file(house.path("outputs")).expect("our own file");
    house.start();
    house.until_sql(STATES, "done 1");
    assert_eq!(house.value("SELECT denoise_ms FROM attempts WHERE outcome = 'done'"), "0");
    house.assert_invariants();
    house.until("used latents are removed", || {
        fs::read_dir(house.path("state/latents"))
            .is_ok_and(|mut kept| kept.next().is_none())
            .then_some(())
    });
}

/// Sets the largest file that the daemon may write.
fn limit_files(house: &House, bytes: Option<u64>) {
    let daemon = Pid::from_raw(house.daemon_pid().cast_signed()).expect("not 0");
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(daemon), Resource::Fsize, Rlimit { current: bytes, maximum })
        .expect("our own child");
}

#[test]
fn a_database_that_cannot_grow_holds_the_queue_and_the_daemon_lives() {
    let house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\n");
    house.until_sql(STATES, "running 1");
    // Less than the database's log has by now, more than all other files will need.
    limit_files(&house, Some(64 << 10));
    house.release_renders();
    let reason = house.until("the hold is told", || hold(&house));
    assert!(reason.contains("database"), "{reason}");
    limit_files(&house, None);
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    assert_eq!(house.rows("SELECT outcome FROM attempts"), [["done"]]);
}

/// Keeps every reader out of the database until the answer is dropped: exclusive locks on the five
/// bytes of the `-shm` file that SQLite's readers share (`WAL_READ_LOCK` in its `wal.c`). A reader
/// gives up after some ten seconds.
fn readers_kept_out(house: &House) -> fs::File {
    let path = house.path("state/zimaged.sqlite-shm");
    let file = fs::File::options().read(true).write(true).open(path).expect("an open database");
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 123,
        l_len: 5,
        l_pid: 0,
    };
    // A reader of the daemon's own is always in, but for the moment in which it carries the log
    // over: it gets something to carry over.
    house.falsify("UPDATE identity SET id = id");
    // SAFETY: the descriptor is open and `lock` is a whole `flock` that outlives the call.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const lock) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
    file
}

#[test]
fn a_database_that_cannot_be_read_for_a_while_costs_neither_the_daemon_nor_the_render() {
    let house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\n");
    house.drop_job("next.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT prompt FROM renders WHERE state = 'running'", "hold");
    let daemon = house.daemon_pid();
    let readers = readers_kept_out(&house);
    // It is made, and cannot be recorded: who writes reads as well.
    house.release_renders();
    house.until_logged("nothing is started");
    drop(readers);
    house.until_sql(STATES, "done 2");
    assert_eq!(house.rows("SELECT outcome FROM attempts"), [["done"], ["done"]]);
    assert!(PathBuf::from(format!("/proc/{daemon}")).exists(), "the daemon lives\n{}", house.log());
    house.assert_invariants();
}

#[test]
fn a_picture_of_another_daemon_is_not_taken_for_ones_own() {
    let mut other = House::started("");
    other.drop_job("slow.toml", "prompt = 'a fox'\noutput = 'fox'\n");
    other.until_sql(STATES, "done 1");
    other.stop("TERM");
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\noutput = 'fox'\n");
    house.until_sql("SELECT group_concat(id || ' ' || path) FROM attempts", "1 fox.png");
    house.stop("KILL");
    house.release_renders();
    fs::copy(other.path("outputs/fox.png"), house.path("outputs/fox.png"))
        .expect("a finished picture");
    house.start();
    house.until_sql(STATES, "done 1");
    assert_eq!(house.value("SELECT path FROM history"), "fox-2.png");
}

#[test]
fn an_adopted_picture_counts_with_its_seconds() {
    let mut house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 100 ms'\nsteps = 5\n");
    house.until_sql(STATES, "done 1");
    house.stop("TERM");
    // As after a death between the rename and the commit.
    house.falsify(
        "UPDATE attempts SET outcome = 'running', ended_at_ms = NULL, sha256 = NULL, total_ms = 0",
    );
    house.falsify("UPDATE renders SET state = 'running', finished_at_ms = NULL");
    house.start();
    house.until_sql(STATES, "done 1");
    house.until_logged("adopted");
    assert_eq!(house.value("SELECT total_ms >= 500 FROM attempts"), "1");
}

#[test]
fn a_file_name_with_a_backslash_is_a_name() {
    let house = House::started("");
    house.drop_job("night\\fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    house.until("the file is moved", || {
        house.path("jobs/accepted/000001-night\\fox.toml").exists().then_some(())
    });
    assert!(!house.path("jobs/night\\fox.toml").exists());
}

#[test]
fn nobody_who_reads_the_log_stops_nothing() {
    let mut house = House::new("");
    let daemon = house.start_logging_to(Stdio::piped(), &[]);
    drop(daemon.stderr.take());
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    assert_eq!(house.stop("TERM"), Some(0));
}

#[test]
fn a_terminal_that_closes_stops_the_daemon_in_good_order() {
    let mut house = House::new("");
    let terminal = house.start_on_terminal();
    house.drop_job("slow.toml", "prompt = 'steps of 300 ms'\nsteps = 100\n");
    house.until_sql(STATES, "running 1");
    drop(terminal);
    house.until_logged("stopping");
    assert_eq!(house.stop("HUP"), Some(0), "the terminal and the shell both say so");
    assert_eq!(house.value("SELECT outcome FROM attempts"), "interrupted");
}

#[test]
fn under_nohup_the_daemon_outlives_its_terminal() {
    let mut house = House::new("");
    house.start_under_nohup();
    kill("HUP", house.daemon_pid());
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    assert_eq!(house.stop("TERM"), Some(0));
}

#[test]
fn the_log_says_when() {
    let house = House::started("");
    let log = house.until("a line", || Some(house.log()).filter(|log| log.contains('\n')));
    let line = log.lines().next().expect("a line");
    let time = line.split_whitespace().next().expect("a word");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
}

#[test]
fn a_daemon_that_finds_another_one_hands_no_job_over() {
    let house = House::started("");
    fs::write(house.path("mine.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    assert_eq!(house.zimaged(&["run", "mine.toml"]).status.code(), Some(75));
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    assert_eq!(house.value("SELECT group_concat(file_name) FROM jobs"), "fox.toml");
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_the_job_queued_and_says_so() {
    let house = House::new("");
    fs::write(house.path("mine.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    fs::write(house.path("model/load.txt"), "invalid").expect("a writable folder");
    let output = house.zimaged(&["run", "--until-idle", "mine.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stays in the queue"), "{said}");
    fs::write(house.path("model/load.txt"), "").expect("a writable folder");
    assert_eq!(house.zimaged(&["run", "--until-idle"]).status.code(), Some(0));
    assert_eq!(house.value(STATES), "done 1");
}

// chaos 10
#[test]
fn a_name_that_ten_thousand_pictures_bear_is_numbered_on() {
    let mut house = House::new("");
    fs::create_dir(house.path("outputs")).expect("a writable folder");
    fs::write(house.path("outputs/fox.png"), "mine").expect("a writable folder");
    for number in (2..=10_005).filter(|number| *number != 9_000) {
        let name = house.path(&format!("outputs/fox-{number}.png"));
        fs::write(name, "mine").expect("a writable folder");
    }
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = 'fox'\nnum_images = 2\n");
    house.start();
    house.until_sql(STATES, "done 2");
    let names = house.rows("SELECT path FROM history ORDER BY picture");
    assert_eq!(names, [["fox-9000.png"], ["fox-10006.png"]]);
}

// chaos 3
#[test]
fn reads_of_the_database_that_fail_while_the_daemon_runs_cost_no_render() {
    let mut house = House::new("");
    let failing = house.path("failing");
    let [library, fault] = fault::environment("pread", "-wal", libc::EIO, 0, u32::MAX >> 1);
    let until = ("FAULT_WHILE", failing.display().to_string());
    let environment = [library, fault, until];
    house.start_with(&environment.each_ref().map(|(name, value)| (*name, value.as_str())));
    fs::write(&failing, "").expect("a writable folder");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_logged("the database's disk fails");
    fs::remove_file(failing).expect("our own file");
    house.until_sql(STATES, "done 1");
    assert!(!house.log().contains("damaged"), "{}", house.log());
    assert_eq!(house.stop("TERM"), Some(0));
    house.assert_invariants();
}
