//! newcomer 2: a job that waits for a time says so with date and hours; and whoever hands one over
//! hears how many pictures it has, how long they take, and when they are done after what is queued.

use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::support::{House, said};

const MINUTE_MS: i64 = 60 * 1000;

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// In the machine's time zone.
fn local(at_ms: i64, form: &str) -> String {
    let at = Timestamp::from_millisecond(at_ms).expect("in range");
    at.to_zoned_datetime(TimeZone::system()).strftime(form).to_string()
}

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

/// In milliseconds after now.
fn from_now(answer: &Value, key: &str) -> i64 {
    answer["expected"][key].as_i64().unwrap_or_else(|| panic!("{key}: {answer}")) - now_ms()
}

// newcomer 2
#[test]
fn a_time_of_day_that_has_just_passed_is_told_with_tomorrows_date_and_hours() {
    let mut house = House::started("");
    // Twenty-three hours from now, and a while for this test.
    let at_ms = now_ms() + 23 * 60 * MINUTE_MS + 10 * MINUTE_MS;
    let (time, date) = (local(at_ms, "%H:%M"), local(at_ms, "%Y-%m-%d %H:%M"));
    write(&house, "late.toml", &format!("prompt = 'a'\nnot_before = '{time}'\n"));
    let warned =
        "its begin is more than 12 hours away: a time of day that has passed is tomorrow's";
    let told = format!("starts on {date}");
    let check = said(&house.zimaged(&["check", "late.toml"]));
    assert!(check.contains(&told) && check.contains("in 23 hours"), "{check}");
    assert!(check.contains(warned), "{check}");
    let submit = said(&house.zimaged(&["submit", "late.toml"]));
    assert!(submit.contains(&told) && submit.contains(warned), "{submit}");
    assert!(submit.contains("late.toml is job 1, 1 picture"), "{submit}");
    let wish = ["submit", "--prompt", "b", "--not-before", &time];
    let wish = said(&house.zimaged(&wish));
    assert!(wish.contains(&told) && wish.contains(warned), "{wish}");
    let list = said(&house.zimaged(&["list"]));
    assert!(list.contains(&format!("from {date}, in 23 hours")), "{list}");
    let show = said(&house.zimaged(&["show", "1"]));
    assert!(show.contains(&told) && show.contains("in 23 hours"), "{show}");
    let status = said(&house.zimaged(&["status"]));
    assert!(status.contains(&told) && status.contains("in 23 hours"), "{status}");
    let wait = said(&house.zimaged(&["wait", "1", "--timeout", "1"]));
    assert!(wait.contains(&date) && wait.contains("in 23 hours"), "{wait}");
    house.stop("TERM");
    let waiting = said(&house.zimaged(&["submit", "late.toml"]));
    assert!(waiting.contains(&told) && waiting.contains("waits in the jobs folder"), "{waiting}");
    write(&house, "soon.toml", &format!("prompt = 'a'\nnot_after = '{time}'\n"));
    // newcomer 2's brother: an end of tomorrow, where today's was meant.
    for command in ["check", "submit"] {
        let end = said(&house.zimaged(&[command, "soon.toml"]));
        assert!(end.contains(&format!("nothing is started after {date}")), "{end}");
        assert!(end.contains("its end is more than 12 hours away: a time of day"), "{end}");
        assert!(!end.contains("starts on"), "{end}");
    }
}

/// Two steps a picture.
fn job(pictures: u32, step_ms: u32, more: &str) -> String {
    format!("prompt = 'steps of {step_ms} ms'\nseed = 1\nnum_images = {pictures}\n{more}\n")
}

#[test]
fn done_when_counts_what_is_queued_before_by_priority_and_time() {
    let house = House::started("");
    write(&house, "new.toml", &job(10, 200, ""));
    let check = |name: &str| house.json(&["check", name]);
    assert!(check("new.toml")["expected"].is_null(), "nothing is known of the time yet");
    house.drop_job("first.toml", &job(1, 200, ""));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let picture_ms: i64 = house.value("SELECT total_ms FROM attempts").parse().expect("ms");
    let work_ms = 10 * picture_ms;
    let near = |found_ms: i64, expected_ms: i64| {
        // Calls of the program take their time.
        assert!((expected_ms - found_ms).abs() < 2500, "{found_ms} ms, not {expected_ms} ms");
    };
    near(from_now(&check("new.toml"), "done_at_ms"), work_ms);
    near(check("new.toml")["expected"]["work_ms"].as_i64().expect("known"), work_ms);
    // As long as forty pictures that take 200 ms a step by the pace of the first.
    house.drop_job("long.toml", &job(40, 200, ""));
    house.until_sql("SELECT count(*) FROM renders WHERE state IN ('queued', 'running')", "40");
    let after = check("new.toml");
    near(from_now(&after, "starts_at_ms"), 40 * picture_ms);
    near(from_now(&after, "done_at_ms"), 50 * picture_ms);
    write(&house, "urgent.toml", &job(10, 200, "priority = 1"));
    near(from_now(&check("urgent.toml"), "done_at_ms"), 11 * picture_ms);
    let later_ms = now_ms() + 60 * MINUTE_MS;
    let later =
        format!("not_before = '{}'", Timestamp::from_millisecond(later_ms).expect("in range"));
    write(&house, "later.toml", &job(10, 200, &later));
    near(from_now(&check("later.toml"), "done_at_ms"), 60 * MINUTE_MS + work_ms);
    // evening F13: its begin is said once.
    let said_once = said(&house.zimaged(&["check", "later.toml"]));
    let (begun, starts) = (said_once.contains("begun at about"), said_once.contains("starts on"));
    assert!(begun && !starts, "{said_once}");
    // Of these forty are before, and the time is over after some forty-five.
    let end_ms = now_ms() + 42 * picture_ms;
    let end = format!("not_after = '{}'", Timestamp::from_millisecond(end_ms).expect("in range"));
    write(&house, "end.toml", &job(100, 200, &end));
    let too_late = check("end.toml")["expected"]["too_late"].as_u64().expect("known");
    assert!((80..100).contains(&too_late), "{too_late}");
    let text = said(&house.zimaged(&["check", "end.toml"]));
    assert!(text.contains("pictures too late for their time"), "{text}");
    // While nothing is started nobody knows when.
    house.zimaged(&["pause"]);
    let paused = check("new.toml");
    assert!(paused["expected"]["done_at_ms"].is_null(), "{paused}");
    let submit = said(&house.zimaged(&["submit", "new.toml"]));
    assert!(submit.contains("is job 3, 10 pictures, about "), "{submit}");
    assert!(!submit.contains("done at"), "{submit}");
    // evening F6
    for command in ["check", "submit"] {
        let told = said(&house.zimaged(&[command, "new.toml"]));
        assert!(told.contains("nothing is started: paused (paused by the user)"), "{told}");
    }
}
