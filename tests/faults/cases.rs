//! Disks that fill or fail, one system call at a time: the daemon goes on by itself, or ends with
//! 75 and goes on at the next start. No render fails by it.

use crate::beside;
use crate::house::Harried;
use crate::trap::{Action, Rule};
use crate::trouble;

struct Case {
    fault: &'static str,
    role: &'static str,
    calls: &'static str,
    path: &'static str,
    /// The first such call that fails, and how many do.
    first: u64,
    count: u64,
    action: Action,
}

impl Case {
    fn rule(&self) -> Rule {
        let Case { role, calls, path, first, count, ref action, .. } = *self;
        Rule { role, calls, path, first, count, action: action.clone() }
    }
}

const FULL: Action = Action::Errno(libc::ENOSPC);
const FAILS: Action = Action::Errno(libc::EIO);
const QUOTA: Action = Action::Errno(libc::EDQUOT);
const READ_ONLY: Action = Action::Errno(libc::EROFS);
const REFUSED: Action = Action::Errno(libc::EACCES);

const fn case(
    fault: &'static str,
    (role, calls, path): (&'static str, &'static str, &'static str),
    (first, count): (u64, u64),
    action: Action,
) -> Case {
    Case { fault, role, calls, path, first, count, action }
}

const DATABASE: (&str, &str, &str) = ("supervisor", "write", "-wal");
const PICTURE: (&str, &str, &str) = ("worker", "write", "outputs/.zimaged");

/// Counted from the start of a daemon whose database was made before.
static CASES: [Case; 22] = [
    case("the database's disk is full", DATABASE, (30, 4), FULL),
    case("a quota on the database", DATABASE, (30, 4), QUOTA),
    case("the database's disk fails to write", DATABASE, (40, 1), FAILS),
    case("the database cannot be flushed", ("supervisor", "sync", "-wal"), (6, 1), FAILS),
    case(
        "each flush of the database takes a second",
        ("supervisor", "sync", "-wal"),
        (4, 9),
        Action::DelayMs(1000),
    ),
    case("the database cannot be read", ("supervisor", "read", "-wal"), (3, 4), FAILS),
    case("a job file cannot be read", ("supervisor", "read", "jobs/drop-"), (1, 2), FAILS),
    case("the disk is full in a picture", PICTURE, (1, 2), FULL),
    case("a quota in a picture", PICTURE, (1, 2), QUOTA),
    case("the disk fails in a picture", PICTURE, (1, 1), FAILS),
    case("a picture cannot be flushed", ("worker", "sync", "outputs/.zimaged"), (1, 1), FAILS),
    case(
        "the outputs are read-only when a picture gets its name",
        ("supervisor", "rename", "outputs/.zimaged"),
        (1, 2),
        READ_ONLY,
    ),
    case(
        "the disk is full when a picture gets its name",
        ("supervisor", "rename", "outputs/.zimaged"),
        (1, 2),
        FULL,
    ),
    case("the outputs cannot be flushed", ("supervisor", "sync", "outputs"), (1, 1), FAILS),
    case("no job file may be renamed", ("supervisor", "rename", "jobs/drop-"), (1, 2), REFUSED),
    case("no job file may be moved away", ("supervisor", "rename", ".taken-"), (1, 2), REFUSED),
    case("the jobs folder cannot be flushed", ("supervisor", "sync", "jobs"), (3, 2), FAILS),
    case(
        "no room for the report of a refused file",
        ("supervisor", "write", ".error.txt"),
        (1, 1),
        FULL,
    ),
    case("no room for latents", ("worker", "write", "latents"), (1, 3), FULL),
    case("no room for the last word", ("worker", "write", "last-word"), (1, 99), FULL),
    case("no room for the status", ("supervisor", "write", "status.json"), (1, 3), FULL),
    case("no room for thumbnails", ("worker", "write", "thumbnails"), (1, 9), FULL),
];

const JOB: &str = "prompt = 'steps of 5 ms'\nsteps = 3\nwidth = 64\nheight = 64\nmin_side = 64\n\
                   num_images = 2\n";

/// How many calls a job takes is not the same each time: there are more jobs until the fault has
/// happened.
const ROUNDS_MAX: usize = 5;

/// Two jobs, until all has ended or the daemon has.
fn one_round(it: &mut Harried) {
    it.drop_file(JOB, 2);
    it.drop_file(JOB, 2);
    trouble::until_settled_or_ended(it);
}

fn try_case(case: &Case) {
    let fault = case.fault;
    let mut it = Harried::new("deaths_max = 1\n");
    it.launch(&[]);
    it.settle();
    assert_eq!(it.stop().code(), Some(0), "{fault}");
    it.launch(&[case.rule()]);
    it.drop_file("steps = 'many'\n", 0);
    let rounds = (0..ROUNDS_MAX).take_while(|_| {
        one_round(&mut it);
        it.told().is_empty()
    });
    assert!(rounds.count() < ROUNDS_MAX, "{fault}: it never happened");
    trouble::assert_goes_on(&mut it, fault);
}

#[test]
fn disks_that_fill_or_fail_cost_no_render() {
    beside::try_all(&CASES, try_case);
}
