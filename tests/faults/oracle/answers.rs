//! Invariants of what the daemon says and does.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Daemon, Scene};
use crate::asking::ask;
use crate::support::House;

/// All codes that docs/commands.md names for `zimaged run`.
const CODES: [i32; 6] = [0, 1, 64, 75, 78, 130];

const POLL: Duration = Duration::from_millis(10);

/// I10.
pub fn it_serves_or_has_ended(scene: &Scene) -> Vec<String> {
    let wrong = match scene.daemon {
        Daemon::Killed => None,
        Daemon::Ended(code) => (!code.is_some_and(|code| CODES.contains(&code)))
            .then(|| format!("it has ended with {code:?}")),
        Daemon::Alive => serves(scene.house, scene.patience),
    };
    wrong.into_iter().collect()
}

/// Why it does not serve, if so. It may have started this very moment, on a loaded machine: that
/// each answer comes within ten seconds is held by who asks.
fn serves(house: &House, limit: Duration) -> Option<String> {
    let deadline = Instant::now() + limit;
    loop {
        let wrong = untruth(house)?;
        if Instant::now() > deadline {
            return Some(wrong);
        }
        sleep(POLL);
    }
}

fn untruth(house: &House) -> Option<String> {
    let Some(health) = ask(house, "GET /health", &[], b"") else {
        return Some("nobody answers".to_owned());
    };
    let Some(ready) = ask(house, "GET /ready", &[], b"") else {
        return Some("nobody says whether it is ready".to_owned());
    };
    let status = fs::read(house.path("state/status.json")).unwrap_or_default();
    let status: Value = serde_json::from_slice(&status).unwrap_or_default();
    let is_at_work = status["hold"].is_null() && status["worker"]["state"] != "down";
    match (health.status, ready.status) {
        (200, 200) if is_at_work => None,
        (_, 503) if !is_at_work => None,
        (health, ready) => Some(format!("health {health}, ready {ready}, status {status}")),
    }
}

/// I11.
pub fn a_good_job_is_done(scene: &Scene) -> Vec<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    if scene.daemon != Daemon::Alive {
        return Vec::new();
    }
    let name = format!("good-{}.toml", NUMBER.fetch_add(1, Ordering::Relaxed));
    let job = "prompt = 'a good job'\nwidth = 64\nheight = 64\nmin_side = 64\npriority = 100\n";
    scene.house.drop_job(&name, job);
    let sql = format!(
        "SELECT group_concat(r.state) FROM renders r JOIN jobs j ON j.id = r.job_id \
         WHERE j.file_name = '{name}'"
    );
    let deadline = Instant::now() + scene.patience;
    while scene.house.value(&sql) != "done" {
        if Instant::now() > deadline {
            return vec![format!("{name} is {:?}", scene.house.value(&sql))];
        }
        sleep(POLL);
    }
    // The row is written before the file is moved, and both before anybody else looks.
    let moved = || !scene.house.path("jobs").join(&name).exists();
    while !moved() && Instant::now() < deadline {
        sleep(POLL);
    }
    Vec::new()
}

/// I13.
pub fn words_are_clean(scene: &Scene) -> Vec<String> {
    let house = scene.house;
    let secret = fs::read_to_string(house.path("state/http-token")).unwrap_or_default();
    let mut texts = vec![("the log".to_owned(), house.log())];
    for row in house.rows("SELECT file_name, reason FROM rejections") {
        texts.push((row[0].clone(), row[1].clone()));
    }
    for row in house.rows("SELECT id, error FROM renders WHERE state = 'failed'") {
        texts.push((format!("render {}", row[0]), row[1].clone()));
    }
    let mut wrong: Vec<String> = house
        .rows("SELECT file_name FROM rejections WHERE instr(reason, file_name) = 0")
        .iter()
        .map(|row| format!("the reason does not name {}", row[0]))
        .collect();
    for (what, text) in texts {
        let is_raw = |c: char| c.is_control() && !['\n', '\t'].contains(&c);
        if text.contains(is_raw) {
            wrong.push(format!("{what} holds a control character"));
        }
        if !secret.trim().is_empty() && text.contains(secret.trim()) {
            wrong.push(format!("{what} tells the token"));
        }
    }
    wrong
}
