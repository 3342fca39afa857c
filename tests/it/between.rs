//! Between two pictures: one is written while the device makes the next. Whatever happens to
//! either, each picture appears once and whole, and its row says so after that.

use std::fs;
use std::path::Path;

use crate::support::fault::Gate;
use crate::support::{House, kill};

/// How the pictures stand, all together: "done 3" or "done 1 failed 1".
const STATES: &str = "SELECT group_concat(state || ' ' || n, ' ') FROM \
                      (SELECT state, count(*) AS n FROM renders GROUP BY state ORDER BY state)";

const OUTCOMES: &str = "SELECT group_concat(outcome, ' ') FROM attempts";

/// Attempt 1's temporary file.
const FIRST: &str = "-1.part";

const QUICK: &str = "prompt = 'a fox'\nsteps = 1\nseed = 1\n";

/// Held in its first step, until a test lets it go on for two seconds.
const LONG: &str = "prompt = 'hold, steps of 20 ms'\nsteps = 100\nmin_steps = 100\nseed = 2\n";

/// A daemon whose first picture is held while it is written, and the worker is in the steps of the
/// second one. `more` is set beside.
fn held(config: &str, second: &str, more: &[(&str, &str)]) -> (House, Gate) {
    let mut house = House::new(config);
    let gate = Gate::new(house.path("gate"), FIRST);
    house.drop_job("1.toml", QUICK);
    house.drop_job("2.toml", second);
    house.hold_renders();
    house.start_with(&[&gate.environment()[..], more].concat());
    until_reached(&house, 2, "denoise");
    assert!(house.pictures().iter().all(|path| path.to_string_lossy().ends_with(FIRST)));
    (house, gate)
}

/// Waits until the worker says that it has come there with an attempt.
fn until_reached(house: &House, attempt: u32, stage: &str) {
    let said = format!("{{\"attempt_id\":{attempt},\"reached\":{{\"stage\":\"{stage}\"");
    let last_word = house.path("state/last-word");
    house.until(&format!("attempt {attempt} reaches {stage}"), || {
        fs::read_to_string(&last_word).ok().filter(|text| text.contains(&said))
    });
}

#[test]
fn one_picture_is_written_beside_the_next_and_no_third_is_begun() {
    let second = &format!("{QUICK}num_images = 3\n");
    let (house, gate) = held("", second, &[]);
    until_reached(&house, 2, "picture_encode");
    assert_eq!(house.value(OUTCOMES), "running running");
    assert_eq!(house.value(STATES), "queued 2 running 2");
    gate.open();
    house.until_sql(STATES, "done 4");
    house.assert_invariants();
    assert_eq!(house.value(OUTCOMES), "done done done done");
    let told = || {
        let log = house.log();
        let done = log.lines().filter_map(|line| line.split_once("INFO done 00000"));
        Some(done.map(|(_, rest)| rest.to_owned()).collect::<Vec<_>>())
    };
    let done = house.until("four lines of done", || told().filter(|done| done.len() == 4));
    assert!(done.is_sorted(), "in the order in which they began: {done:?}");
}

#[test]
fn the_writing_is_told_apart_from_the_time_that_the_device_took() {
    let (house, gate) = held("", QUICK, &[]);
    let held_for = std::time::Duration::from_millis(100);
    std::thread::sleep(held_for);
    gate.open();
    house.until_sql(STATES, "done 2");
    let begun = "lead(started_at_ms) OVER (ORDER BY id)";
    let sql = format!(
        "SELECT picture_encode_ms >= 100, total_ms <= {begun} - started_at_ms + 5 FROM attempts"
    );
    assert_eq!(house.rows(&sql)[0], ["1", "1"], "{:?}", house.rows("SELECT * FROM attempts"));
}

#[test]
fn a_kill_of_both_in_the_middle_loses_and_doubles_nothing() {
    let (mut house, gate) = held("deaths_max = 1\n", LONG, &[]);
    let worker = house.worker_pid();
    kill("STOP", house.daemon_pid());
    kill("KILL", worker);
    house.stop("KILL");
    gate.open();
    house.release_renders();
    house.start();
    house.until_sql(STATES, "done 2");
    house.assert_invariants();
    assert_eq!(house.value(OUTCOMES), "interrupted interrupted done done");
    let kept = "SELECT denoise_ms FROM attempts WHERE render_id = 1 AND outcome = 'done'";
    assert_eq!(house.value(kept), "0", "the first one's latents were kept");
    assert_eq!(house.pictures().len(), 2);
}

#[test]
fn a_dead_worker_is_the_fault_of_what_was_rendered_and_not_of_what_was_written() {
    let (house, gate) =
        held("", "prompt = 'steps of 500 ms, die at step 3 once'\nsteps = 3\n", &[]);
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome <> 'running'", "2");
    assert_eq!(
        house.value(OUTCOMES).split(' ').take(2).collect::<Vec<_>>(),
        ["interrupted", "crashed"]
    );
    gate.open();
    house.until_sql(STATES, "done 2");
    house.assert_invariants();
}

#[test]
fn a_disk_that_is_full_at_one_picture_fails_none() {
    let full = format!("fsync {FIRST} {} 0 1", libc::ENOSPC);
    let (house, gate) = held("", LONG, &[("FAULT", &full)]);
    gate.open();
    house.until_logged("No space left");
    house.release_renders();
    house.until_sql(STATES, "done 2");
    house.assert_invariants();
    assert_eq!(house.value(OUTCOMES).split(' ').next(), Some("interrupted"));
    let again = "SELECT count(*) FROM attempts WHERE render_id = 2";
    assert_eq!(house.value(again), "1", "the one beside went on");
}

#[test]
fn a_cancelled_picture_leaves_the_one_that_is_written_alone() {
    let (house, gate) = held("", LONG, &[]);
    assert!(house.zimaged(&["cancel", "2"]).status.success());
    house.release_renders();
    house.until_sql("SELECT state FROM renders WHERE id = 2", "cancelled");
    assert_eq!(house.value("SELECT outcome FROM attempts WHERE id = 1"), "running");
    gate.open();
    house.until_sql(STATES, "cancelled 1 done 1");
    house.assert_invariants();
}

#[test]
fn an_out_of_memory_error_leaves_the_one_that_is_written_alone() {
    let second = "prompt = 'steps of 20 ms, oom at step 2 once'\nsteps = 100\nmin_steps = 100\n";
    let (house, gate) = held("", second, &[]);
    house.until_sql("SELECT outcome FROM attempts WHERE id = 2", "out_of_memory");
    assert_eq!(house.value("SELECT outcome FROM attempts WHERE id = 1"), "running");
    gate.open();
    house.until_sql(STATES, "done 2");
    house.assert_invariants();
}

#[test]
fn a_stop_waits_for_the_picture_that_is_written() {
    let (mut house, gate) = held("", LONG, &[]);
    kill("TERM", house.daemon_pid());
    house.until_logged("stopping");
    house.release_renders();
    house.until_sql("SELECT outcome FROM attempts WHERE id = 2", "interrupted");
    gate.open();
    // Told to stop already: this waits for the end.
    assert_eq!(house.stop("CONT"), Some(0));
    assert_eq!(house.value(OUTCOMES), "done interrupted");
    assert!(Path::new(&house.path("outputs")).read_dir().unwrap().count() == 1);
}
