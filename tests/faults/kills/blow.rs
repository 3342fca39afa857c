//! Where a kill strikes.

use super::random::Random;
use crate::trap::{Action, Rule};

/// Who is killed at a moment.
#[derive(Clone, Copy, Debug)]
pub enum Victim {
    Supervisor,
    Worker,
    Both,
}

pub enum Blow {
    /// So many milliseconds after the start.
    Moment { ms: u64, victim: Victim },
    /// At a system call.
    Call(Rule),
}

/// The longest life that ends at a random moment.
const MOMENT_MS_MAX: u64 = 300;

/// Calls of a kind, on files whose paths have this part, and how many of them a life may see.
type Point = (&'static str, &'static str, u64);

/// What the daemon does to files, from its start to its end.
const DAEMONS: [Point; 22] = [
    ("any", "*", 300),
    ("any", "*", 60),
    // It starts: what an earlier life has left, the database's number, the log folded in.
    ("unlink", "outputs/.zimaged", 2),
    ("write", "-starts", 2),
    ("rename", "-starts", 2),
    ("truncate", "zimaged.sqlite", 4),
    ("write", "zimaged.sqlite", 60),
    ("sync", "zimaged.sqlite", 30),
    ("write", "status.json", 6),
    // It takes files in, or refuses them.
    ("rename", "jobs/drop-", 3),
    ("rename", "jobs/drop-", 3),
    ("rename", ".taken-", 3),
    ("rename", ".taken-", 3),
    ("sync", "jobs", 12),
    ("sync", "accepted", 3),
    ("write", ".error.txt", 1),
    ("sync", "rejected", 3),
    // Each transaction.
    ("write", "-wal", 200),
    ("sync", "-wal", 20),
    // A picture gets its name.
    ("rename", "outputs/.zimaged", 4),
    ("sync", "outputs", 4),
    ("unlink", "latents", 4),
];

/// What the worker does to files, render by render.
const WORKERS: [Point; 12] = [
    ("any", "*", 60),
    ("any", "*", 20),
    ("truncate", "last-word", 4),
    ("write", "last-word", 24),
    ("write", "latents", 3),
    ("rename", "latents", 3),
    ("sync", "latents", 6),
    ("unlink", "outputs", 3),
    ("write", ".part", 8),
    ("sync", ".part", 3),
    ("write", "thumbnails", 3),
    ("rename", "thumbnails", 3),
];

pub fn daemon_at_a_moment(random: &mut Random) -> Blow {
    let victim = [Victim::Supervisor, Victim::Both][random.index(2)];
    Blow::Moment { ms: random.below(MOMENT_MS_MAX), victim }
}

pub fn worker_at_a_moment(random: &mut Random) -> Blow {
    Blow::Moment { ms: random.below(MOMENT_MS_MAX / 4), victim: Victim::Worker }
}

pub fn daemon_at_a_call(random: &mut Random) -> Blow {
    let action = [Action::Kill, Action::KillAll][random.index(2)].clone();
    Blow::Call(rule("supervisor", &DAEMONS, action, random))
}

pub fn worker_at_a_call(random: &mut Random) -> Blow {
    Blow::Call(rule("worker", &WORKERS, Action::Kill, random))
}

fn rule(role: &'static str, points: &[Point], action: Action, random: &mut Random) -> Rule {
    let (calls, path, most) = points[random.index(points.len())];
    Rule { role, calls, path, first: 1 + random.below(most), count: 1, action }
}

/// What was being done: `supervisor sync the database's log`.
pub fn place(told: &str) -> String {
    let words: Vec<&str> = told.split(' ').collect();
    let [role, call, path, ..] = words[..] else { return told.to_owned() };
    let known = [
        ("-wal", "the database's log"),
        ("-shm", "the database's index"),
        ("-starts", "the note of starts"),
        ("zimaged.sqlite", "the database"),
        (".taken-", "a job file"),
        ("jobs/accepted", "an accepted job file"),
        ("jobs/rejected", "a refused job file"),
        ("jobs", "the jobs folder"),
        ("status.json", "the status"),
        ("last-word", "the last word"),
        ("latents", "latents"),
        ("embeddings", "embeddings"),
        ("outputs", "a picture"),
        ("/log", "the program's log"),
    ];
    let name = known.iter().find(|(part, _)| path.contains(part)).map_or("a small file", |it| it.1);
    format!("{role} at {call} of {name}")
}
