//! What is counted against a render: the deaths of its worker, and nothing that happens to the
//! daemon.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{House, kill};

/// How the pictures stand, all together: "done 3" or "done 1 failed 1".
const STATES: &str = "SELECT group_concat(state || ' ' || n, ' ') FROM \
                      (SELECT state, count(*) AS n FROM renders GROUP BY state ORDER BY state)";

const OUTCOMES: &str = "SELECT group_concat(outcome, ' ') FROM attempts";

/// One death fails the render, so that each test needs one.
const STRICT: &str = "deaths_max = 1\n";

/// Held in its first step; what comes after that takes two seconds, in which it can be stopped.
const SLOW: &str = "prompt = 'hold, steps of 200 ms'\nsteps = 10\n";

/// A daemon in the middle of a slow render's first step.
fn rendering(config: &str) -> House {
    let house = House::started(config);
    house.hold_renders();
    house.drop_job("slow.toml", SLOW);
    until_rendering(&house, 1);
    house
}

/// A worker hears that it is to stop when it comes to its next step.
fn stop_in_the_next_step(house: &mut House) -> Option<i32> {
    kill("TERM", house.daemon_pid());
    house.until_logged("stopping");
    house.release_renders();
    // Told to stop already: this waits for the end.
    house.stop("CONT")
}

/// Waits until the worker is in the first step of this attempt.
fn until_rendering(house: &House, attempt: u32) {
    let said =
        format!("{{\"attempt_id\":{attempt},\"reached\":{{\"stage\":\"denoise\",\"step\":0}}}}\n");
    let last_word = house.path("state/last-word");
    house.until("the render is denoised", || {
        fs::read_to_string(&last_word).ok().filter(|text| text.ends_with(&said))
    });
}

/// After the daemon's end: the render is made in the end, and the first attempt was not counted.
fn assert_not_counted(mut house: House) {
    // Released by some before.
    let _ = fs::remove_file(house.path("model/hold"));
    house.start();
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    assert_eq!(house.value(OUTCOMES), "interrupted done");
    assert_eq!(house.value("SELECT attempts FROM history"), "1");
}

#[test]
fn the_log_says_once_how_a_worker_ended() {
    let house = House::started(STRICT);
    house.drop_job("a.toml", "prompt = 'die at step 1'\n");
    house.until_logged("the worker is down");
    let log = house.log();
    let line = log.lines().find(|line| line.contains("the worker is down")).expect("a line");
    assert_eq!(line.matches("signal 9").count(), 1, "{line}");
}

// chaos 1
#[test]
fn a_killed_daemon_is_not_the_renders_fault() {
    let mut house = rendering(STRICT);
    let worker = house.worker_pid();
    house.stop("KILL");
    house.until("the worker ends with its supervisor", || {
        (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
    });
    assert_not_counted(house);
}

// chaos 1
#[test]
fn a_second_signal_is_not_the_renders_fault() {
    let mut house = rendering(STRICT);
    kill("TERM", house.daemon_pid());
    house.until_logged("stopping");
    assert_eq!(house.stop("TERM"), Some(130));
    assert_not_counted(house);
}

// chaos 1
#[test]
fn a_stop_while_the_database_is_locked_is_not_the_renders_fault() {
    let mut house = rendering(STRICT);
    assert_eq!(house.while_locked_mut(stop_in_the_next_step), Some(0));
    assert_not_counted(house);
}

// chaos 1
#[test]
fn a_stop_waits_a_while_for_a_database_that_is_locked() {
    let mut house = rendering(STRICT);
    house.while_locked(|| {
        kill("TERM", house.daemon_pid());
        house.until_logged("stopping");
        house.release_renders();
        house.until_logged("is locked");
    });
    // Told to stop already: this waits for the end.
    assert_eq!(house.stop("CONT"), Some(0));
    assert_eq!(house.value(OUTCOMES), "interrupted", "recorded before the end");
    assert_not_counted(house);
}

// chaos 1
#[test]
fn a_stop_while_the_disk_is_full_is_not_the_renders_fault() {
    let mut house = rendering(STRICT);
    let daemon = Pid::from_raw(house.daemon_pid().cast_signed()).expect("not 0");
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(daemon), Resource::Fsize, Rlimit { current: Some(64 << 10), maximum })
        .expect("our own child");
    stop_in_the_next_step(&mut house);
    assert_not_counted(house);
}

/// The daemon and its worker die at once, so that neither can say anything of the other.
fn kill_both(house: &mut House) {
    let worker = house.worker_pid();
    kill("STOP", house.daemon_pid());
    kill("KILL", worker);
    house.stop("KILL");
}

// chaos 1
#[test]
fn a_render_that_takes_the_daemon_down_again_and_again_ends_at_last_and_not_soon() {
    let mut house = rendering(STRICT);
    for death in 1..=3 {
        kill_both(&mut house);
        house.start();
        until_rendering(&house, death + 1);
        assert_eq!(house.value(STATES), "running 1", "after {death} deaths");
    }
    kill_both(&mut house);
    house.start();
    house.until_sql(STATES, "failed 1");
    let error = house.value("SELECT error FROM history");
    assert!(error.contains("lost 4 times in denoising"), "{error}");
    assert_eq!(
        house.value("SELECT group_concat(stage || ' ' || lost_step) FROM attempts"),
        "denoise 0,denoise 0,denoise 0,denoise 0"
    );
}

// chaos 1
#[test]
fn a_worker_that_dies_while_nothing_is_rendered_counts_against_nobody() {
    let house = House::started(STRICT);
    let worker = house.worker_pid();
    // The daemon learns of the death only when it sends the next render.
    kill("STOP", house.daemon_pid());
    kill("KILL", worker);
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    kill("CONT", house.daemon_pid());
    house.until_sql(STATES, "done 1");
    let crashed = house.value("SELECT count(*) FROM attempts WHERE outcome = 'crashed'");
    assert_eq!(crashed, "0");
}

// chaos 8, case D
#[test]
fn a_frozen_daemon_charges_its_worker_with_nothing() {
    let mut house = House::impatient(STRICT);
    house.start();
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\n");
    until_rendering(&house, 1);
    let (daemon, worker) = (house.daemon_pid(), house.worker_pid());
    // Longer than `step_timeout`, which is 3 s: first both, then the daemon alone.
    for frozen in [&[daemon, worker][..], &[daemon]] {
        frozen.iter().for_each(|pid| kill("STOP", *pid));
        sleep(Duration::from_millis(4500));
        // The step ends while the daemon alone is frozen.
        if frozen.len() == 1 {
            house.release_renders();
        }
        frozen.iter().for_each(|pid| kill("CONT", *pid));
    }
    house.until_sql(STATES, "done 1");
    assert_eq!(house.value(OUTCOMES), "done");
}

// chaos 8: the model's load has a time-out of its own
#[test]
fn a_daemon_frozen_while_its_model_loads_waits_for_it_all_the_same() {
    let mut house = House::new("load_timeout = '4s'\n");
    fs::write(house.path("model/load.txt"), "hold").expect("a writable folder");
    house.hold_renders();
    house.start();
    house.until("the worker is started", || house.path("state/last-word").exists().then_some(()));
    kill("STOP", house.daemon_pid());
    sleep(Duration::from_millis(4500));
    house.release_renders();
    kill("CONT", house.daemon_pid());
    house.worker_pid();
    assert!(!house.log().contains("the worker is down"), "{}", house.log());
}

// newcomer 37
#[test]
fn a_cancelled_attempt_says_so() {
    let house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 200 ms'\nsteps = 100\n");
    house.until_sql(STATES, "running 1");
    house.json(&["cancel", "1"]);
    house.until_sql(STATES, "cancelled 1");
    assert_eq!(
        house.value("SELECT outcome || ': ' || message FROM attempts"),
        "cancelled: cancelled"
    );
}

// case D
#[test]
fn a_worker_that_is_refused_memory_is_tried_on_a_lower_rung() {
    let house = House::started(STRICT);
    let job = "prompt = 'hoard at decode above 100 px'\nwidth = 256\nheight = 256\nmin_side = 64\n";
    house.drop_job("big.toml", job);
    house.until_sql(STATES, "done 1");
    house.assert_invariants();
    let sql = "SELECT outcome, stage, message, rung_text FROM attempts ORDER BY number";
    let attempts = house.rows(sql);
    let rungs: Vec<&String> = attempts.iter().map(|row| &row[3]).collect();
    let again = rungs.windows(2).any(|rungs| rungs[0] == rungs[1]);
    assert!(!again, "no rung is repeated: {rungs:?}");
    let reason = "the system refused it memory";
    assert_eq!(attempts[0][..3], ["out_of_memory", "vae_decode", reason]);
    assert_eq!(house.value("SELECT max(worker_died) FROM attempts"), "1");
}

/// As under `ulimit -v`.
fn limit_addresses(command: &mut Command, bytes: u64) {
    let limit = move || {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        Ok(rustix::process::setrlimit(Resource::As, limit)?)
    };
    // SAFETY: between fork and exec only `setrlimit` is called, which is safe there.
    unsafe { command.pre_exec(limit) };
}

// case D
#[test]
fn memory_is_planned_by_the_least_limit() {
    let house = House::with_config("[device]\nkind = 'cpu'\n");
    let job = "prompt = 'a red circle'\nwidth = 2048\nheight = 2048\nsteps = 1\nmin_steps = 1\n";
    fs::write(house.path("a.toml"), job).expect("a writable folder");
    let mut command = house.command(&["run", "--until-idle", "a.toml"]);
    limit_addresses(&mut command, 1_550_000 << 10);
    let output = command.output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(house.value(STATES), "done 1", "{said}");
    let attempts = house.rows("SELECT outcome, rung_text FROM attempts");
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert!(attempts[0][1].contains("/full/stripes"), "{attempts:?}");
    assert_eq!(house.value("SELECT degraded FROM history"), "0");
}

/// The process that keeps others from taking themselves for the last one with the database open:
/// who closes it as the last one removes its log.
/// Source: SQLite's os_unix.c, SHARED_FIRST and SHARED_SIZE.
fn holder(database: &Path) -> Option<i32> {
    let file = fs::File::options().read(true).write(true).open(database).expect("a database");
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0x4000_0002,
        l_len: 510,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the lock is what F_GETLK reads and writes.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) }, 0);
    (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
}

/// The face looked at the database's file beside SQLite, and closing it dropped the daemon's locks:
/// `sqlite3` then removed the log that the daemon went on writing, with all new jobs in it.
#[test]
fn a_daemon_that_starts_after_a_death_keeps_its_lock_on_the_database() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("fox.toml", "prompt = 'hold'\n");
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome = 'running'", "1");
    house.stop("KILL");
    house.start();
    let listens = "HTTP on http://";
    house.until("it listens again", || (house.log().matches(listens).count() == 2).then_some(()));
    let database = house.path("state/zimaged.sqlite");
    assert_eq!(holder(&database), i32::try_from(house.daemon_pid()).ok());
}

/// What is written into a log without a name would be lost with the process.
#[test]
fn a_log_that_is_removed_under_the_daemon_is_noticed_and_nothing_is_lost() {
    let mut house = House::started("");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    fs::remove_file(house.path("state/zimaged.sqlite-wal")).expect("an open database");
    house.drop_job("owl.toml", "prompt = 'an owl'\n");
    house.until_logged("stopped");
    // It has ended already: this waits for its end.
    assert_eq!(house.stop("CONT"), Some(75), "{}", house.log());
    assert!(
        house.log().contains("the database's log, or the index of it, was removed"),
        "{}",
        house.log()
    );
    house.start();
    house.until_sql(STATES, "done 2");
    house.assert_invariants();
}
