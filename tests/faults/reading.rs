//! A job file whose reading kills the daemon: it is not read for ever, and the files after it are.

use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::trap::{Action, Rule};

const JOB: &str = "prompt = 'a fox'\nwidth = 64\nheight = 64\nmin_side = 64\n";

/// The note of what is being read is emptied before a file is read, and again after it: the second
/// time of a daemon's life the kernel kills it, as if the reading had.
fn dies_reading() -> Rule {
    let (calls, path) = ("truncate", "state/reading");
    Rule { role: "supervisor", calls, path, first: 2, count: 1, action: Action::Kill }
}

#[test]
fn a_file_whose_reading_kills_the_daemon_is_set_aside() {
    let mut it = Harried::new("");
    // What the harness expects of it: it holds no job.
    it.drop_file(JOB, 0);
    for death in 1..=2 {
        it.launch(&[dies_reading()]);
        it.while_alive(PATIENCE, |_| None::<()>);
        let status = it.ended().unwrap_or_else(|| panic!("alive: {death}\n{}", it.house.log()));
        assert_eq!(status.code(), None, "killed: {death}");
    }
    it.drop_file(JOB, 1);
    it.settle();
    it.assert_holds();
    let report = it.house.until_refused("drop-00000.toml");
    assert!(report.contains("died each time it read this file"), "{report}");
    let expected =
        "after the second death it is set aside with that reason, and others are taken in";
    record::note("the reading of a job file kills the daemon", expected, 1, "set aside, goes on");
}

/// A kill by hand, or the kernel's for memory, may strike at any moment.
#[test]
fn one_death_at_a_file_is_held_against_nobody() {
    let mut it = Harried::new("");
    it.drop_file(JOB, 1);
    it.launch(&[dies_reading()]);
    it.while_alive(PATIENCE, |_| None::<()>);
    it.settle();
    it.assert_holds();
}
