//! Jobs that are started by night only, with a daemon that runs.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::support::{House, said};

/// Half a day from one zone to the other, so that the one's night is the other's day.
const EAST: &str = "EAST-6";
const WEST: &str = "WEST+6";

/// The first opening was by the clock of the command, and the later ones by the daemon's.
#[test]
fn a_window_is_in_the_daemon_s_zone_whoever_hands_the_job_over() {
    let mut house = House::new("");
    house.start_with(&[("TZ", EAST)]);
    let in_the_west = |house: &House, arguments: &[&str]| {
        let output = house.command(arguments).env("TZ", WEST).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    };
    house.json(&["pause", "no picture is wanted"]);
    const NIGHT: &str = "20:00-08:00";
    house.drop_job("a.toml", &format!("prompt = 'a'\nwindow = '{NIGHT}'\n"));
    house.until_sql("SELECT count(*) FROM renders WHERE run_until_ms > 0", "1");
    house.json(&["submit", "--prompt", "b"]);
    in_the_west(&house, &["edit", "2", "--window", NIGHT]);
    in_the_west(&house, &["submit", "--prompt", "c", "--window", NIGHT]);
    house.stop("TERM");
    in_the_west(&house, &["submit", "--prompt", "d", "--window", NIGHT]);
    house.start_with(&[("TZ", EAST)]);
    house.until_sql("SELECT count(*) FROM renders WHERE run_until_ms > 0", "4");
    assert_eq!(house.value("SELECT count(DISTINCT run_until_ms) FROM renders"), "1");
}

/// Files were kept to the daemon's clock, and promised by the command's.
#[test]
fn a_time_of_day_is_by_the_daemon_s_clock_whoever_says_it_and_is_promised_so() {
    let mut house = House::new("");
    house.start_with(&[("TZ", EAST)]);
    house.json(&["pause", "no picture is wanted"]);
    let zone = TimeZone::posix(EAST).expect("a rule");
    let in_six_hours = after(6 * HOUR_MS).to_zoned_datetime(zone).strftime("%H:%M").to_string();
    fs::write(house.path("a.toml"), format!("prompt = 'a'\nnot_before = '{in_six_hours}'\n"))
        .expect("a writable folder");
    let by_options = ["--prompt", "b", "--not-before", &in_six_hours];
    let edit = ["edit", "1", "--not-before", &in_six_hours];
    let promises = [
        ("/not_before_ms", [&["check"], &["a.toml"][..]].concat()),
        ("/not_before_ms", [&["check"], &by_options[..]].concat()),
        ("/starts/0/not_before_ms", vec!["submit", "a.toml"]),
        ("/starts/0/not_before_ms", [&["submit"], &by_options[..]].concat()),
        ("/not_before_ms", edit.to_vec()),
    ];
    let from_the_west = |arguments: &[&str]| {
        let mut command = house.command(&[arguments, &["--json"]].concat());
        let output = command.env("TZ", WEST).output().expect("it starts");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(answer.to_string().contains("\"kind\":\"other_clock\""), "{answer}");
        answer
    };
    let promised = promises.map(|(place, arguments)| {
        from_the_west(&arguments).pointer(place).and_then(Value::as_i64).expect(place)
    });
    let kept = house.rows("SELECT DISTINCT not_before_ms FROM jobs");
    assert_eq!(kept, [[promised[0].to_string()]]);
    assert_eq!(promised, [promised[0]; 5]);
}

const HOUR_MS: i64 = 60 * 60 * 1000;

/// So long from now.
fn after(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond() + ms).expect("in range")
}

/// A daemon that has begun with more pictures than are made before their night ends.
fn at_night() -> House {
    let house = House::started("");
    house.worker_pid();
    let job = "prompt = 'steps of 500 ms'\nsteps = 4\nseed = 1\nnum_images = 30\n";
    house.drop_job("night.toml", job);
    house.until_sql("SELECT count(*) > 0 FROM attempts", "1");
    house
}

/// Lets the night end in three seconds by `option`, of which `value` gives the value. On a busy
/// machine that may come too late, and is said again.
fn end_night(house: &House, option: &str, value: impl Fn() -> String) {
    house.until("the night is over", || {
        house.zimaged(&["edit", "1", option, &value()]);
        (0..60).find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            house.log().contains("nothing is due now").then_some(())
        })
    });
}

/// A window that began two hours ago.
fn hours_until(ms: i64) -> String {
    let form =
        |ms| after(ms).to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S").to_string();
    format!("{}-{}", form(-2 * HOUR_MS), form(ms))
}

const STATES: &str =
    "SELECT group_concat(state, ' ') FROM (SELECT DISTINCT state FROM renders ORDER BY state DESC)";

/// What was begun in time is finished, the rest waits for the next night, and the card is free.
#[test]
fn when_a_window_closes_the_model_leaves_the_device_until_the_next_night() {
    let mut house = at_night();
    let pid = house.worker_pid();
    end_night(&house, "--window", || hours_until(3000));
    assert_eq!(house.value(STATES), "queued done");
    let tomorrow_ms = after(20 * HOUR_MS).as_millisecond();
    let waits =
        format!("SELECT min(run_after_ms) > {tomorrow_ms} FROM renders WHERE state = 'queued'");
    assert_eq!(house.value(&waits), "1");
    house.until("the worker has ended", || (!process_exists(pid)).then_some(()));
    house.until_released();
    // What may be started by day is.
    house.drop_job("day.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM jobs_state WHERE job = 2 AND state = 'done'", "1");
    house.stop("TERM");
    let loaded = house.value("SELECT count(*) FROM workers");
    house.start();
    house.until_released();
    assert_eq!(house.value("SELECT count(*) FROM workers"), loaded);
}

/// What may be started a little later is waited for, and not forgotten for the rest of the day.
#[test]
fn the_model_leaves_after_what_may_still_be_started_soon() {
    let house = at_night();
    let soon = after(8000);
    house.drop_job("soon.toml", &format!("prompt = 'a fox'\nnot_before = {soon}\n"));
    house.until_sql("SELECT count(*) FROM jobs", "2");
    end_night(&house, "--window", || hours_until(3000));
    assert_eq!(house.value("SELECT state FROM renders WHERE job_id = 2"), "done");
    house.until_released();
}

#[test]
fn when_not_after_has_come_the_rest_is_cancelled_and_the_model_leaves_the_device() {
    let house = at_night();
    end_night(&house, "--not-after", || after(3000).to_string());
    assert_eq!(house.value(STATES), "done cancelled");
    house.until_released();
    let rest = "SELECT DISTINCT cancel_reason FROM renders WHERE state <> 'done'";
    let reason = "not started before not_after; zimaged retry renders it all the same";
    assert_eq!(house.rows(rest), [[reason]]);
    let cancelled = house.value("SELECT count(*) FROM renders WHERE state = 'cancelled'");
    house.until_logged(&format!(
        "cancelled: not started before not_after job=1 renders={cancelled}"
    ));
    assert_eq!(house.log().matches("not started before not_after").count(), 1, "told once");
    let status = said(&house.zimaged(&["status"]));
    assert!(status.contains(&format!("job 1: {cancelled} renders cancelled")), "{status}");
    assert!(said(&house.zimaged(&["show", "1"])).contains(&format!("cancelled: {reason}")));
}

fn process_exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
