//! Limits of the system that are reached: descriptors, watches, the queue of a watch, memory.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::beside;
use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::support::{House, kill};
use crate::trap::{Action, Rule};
use crate::trouble::{Trouble, assert_lives_on, drop_job};

/// Sets how many files a process may have open; those that are open stay so.
fn limit_descriptors(pid: u32, count: u64) {
    let process = Pid::from_raw(pid.cast_signed()).expect("not 0");
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(count), maximum };
    prlimit(Some(process), Resource::Nofile, limit).expect("our own child's child");
}

/// Fewer than are open, and more than any process here needs.
const NONE: u64 = 3;
const PLENTY: u64 = 512;

fn lacks_descriptors(house: &House) -> bool {
    house.log().contains("nothing is started") && house.log().contains("Too many open files")
}

// chaos 2
pub const CASES: [Trouble; 2] = [
    Trouble {
        fault: "the daemon has no descriptors",
        feed: drop_job,
        begin: |it| limit_descriptors(it.pid(), NONE),
        is_felt: lacks_descriptors,
        lift: |it| limit_descriptors(it.pid(), PLENTY),
    },
    Trouble {
        fault: "the worker has no descriptors",
        feed: drop_job,
        begin: |it| limit_descriptors(it.house.worker_pid(), NONE),
        is_felt: lacks_descriptors,
        lift: |it| limit_descriptors(it.house.worker_pid(), PLENTY),
    },
];

/// A limit, the file of the call that meets it, its error, and the sysctl that is told.
const WATCHES: [(&str, &str, i32, &str); 2] = [
    ("all inotify instances are in use", "inotify", libc::EMFILE, "max_user_instances"),
    ("all inotify watches are in use", "/jobs", libc::ENOSPC, "max_user_watches"),
];

#[test]
fn without_watches_files_are_found_by_looking() {
    beside::try_all(WATCHES, |(fault, path, errno, sysctl)| {
        let mut it = Harried::new("deaths_max = 1\n");
        let (count, action) = (u64::from(u32::MAX), Action::Errno(errno));
        it.launch(&[Rule { role: "supervisor", calls: "watch", path, first: 1, count, action }]);
        it.until_listening();
        drop_job(&mut it);
        assert_lives_on(&mut it, fault);
        let log = it.house.log();
        assert!(log.contains("every two seconds") && log.contains(sysctl), "{log}");
    });
}

/// More than the kernel keeps for who does not read them: two events each.
const RENAMES: usize = 10_000;

/// What is dropped then has no event.
#[test]
fn files_whose_events_are_lost_are_found() {
    let mut it = Harried::new("deaths_max = 1\n");
    it.launch(&[]);
    it.until_listening();
    kill("STOP", it.pid());
    let names = ["a.part", "b.part"].map(|name| it.house.path("jobs").join(name));
    fs::write(&names[0], "").unwrap();
    for round in 0..RENAMES {
        fs::rename(&names[round % 2], &names[(round + 1) % 2]).unwrap();
    }
    for _ in 0..5 {
        drop_job(&mut it);
    }
    fs::remove_file(&names[RENAMES % 2]).unwrap();
    kill("CONT", it.pid());
    assert_lives_on(&mut it, "the queue of inotify events overflows");
}

/// Where memory is short the kernel ends the worker, and the daemon queues the render again.
#[test]
fn the_worker_is_offered_to_the_kernel_before_its_daemon() {
    let mut it = Harried::new("");
    it.house.hold_renders();
    it.launch(&[]);
    it.drop_file("prompt = 'hold'\nwidth = 64\nheight = 64\nmin_side = 64\nnum_images = 2\n", 2);
    let score = |pid: u32| -> i32 {
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives");
        score.trim().parse().expect("a number")
    };
    let (worker, daemon) = (score(it.house.worker_pid()), score(it.pid()));
    assert!(worker >= 500 && worker > daemon, "{worker}, {daemon}");
    let running = "SELECT count(*) FROM attempts WHERE outcome = 'running'";
    it.while_alive(PATIENCE, |house| (house.value(running) != "0").then_some(())).expect("it runs");
    assert!(it.kill_worker(), "as the kernel does");
    it.house.release_renders();
    it.until_settled();
    it.assert_holds();
    let expected =
        "the kernel ends the worker and not the daemon, and the render is made all the same";
    let seen = format!("a score of {worker} for the worker, {daemon} for the daemon; goes on");
    record::note("memory is short", expected, 1, &seen);
}
