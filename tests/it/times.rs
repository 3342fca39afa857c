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

/// The machine's time zone, unless another is named.
fn local(at_ms: i64, zone: &TimeZone, form: &str) -> String {
    let at = Timestamp::from_millisecond(at_ms).expect("in range");
    at.to_zoned_datetime(zone.clone()).strftime(form).to_string()
}

/// A time zone in which noon has just passed, so that twenty-three hours later is the next day
/// whenever the test runs.
fn noon() -> String {
    let hour = Timestamp::now().to_zoned_datetime(TimeZone::UTC).hour();
    // By the rules of POSIX, what is west of Greenwich is positive.
    format!("NOON{:+}", hour - 12)
}

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

/// What was expected at a moment between two.
struct Asked {
    expected: Value,
    before_ms: i64,
    after_ms: i64,
}

impl Asked {
    fn of(house: &House, name: &str) -> Asked {
        let before_ms = now_ms();
        let expected = house.json(&["check", name])["expected"].clone();
        Asked { expected, before_ms, after_ms: now_ms() }
    }

    /// The moment `key` must be so long after the question, give or take.
    fn assert_in(&self, key: &str, ms: i64) {
        let at_ms = self.expected[key].as_i64().unwrap_or_else(|| panic!("{}", self.expected));
        let about = (self.before_ms + ms - NEAR_MS)..(self.after_ms + ms + NEAR_MS);
        assert!(about.contains(&at_ms), "{key}: {at_ms}, not in {about:?}");
    }
}

/// More than a picture takes.
const NEAR_MS: i64 = 2500;

// newcomer 2
#[test]
fn a_time_of_day_that_has_just_passed_is_told_with_tomorrows_date_and_hours() {
    let mut house = House::new("");
    let zone = noon();
    house.start_with(&[("TZ", &zone)]);
    let tell = |house: &House, arguments: &[&str]| {
        said(&house.command(arguments).env("TZ", &zone).output().expect("the binary starts"))
    };
    // Twenty-three hours from now, and a while for this test.
    let at_ms = now_ms() + 23 * 60 * MINUTE_MS + 10 * MINUTE_MS;
    let there = TimeZone::posix(&zone).expect("a zone");
    let (time, date) = (local(at_ms, &there, "%H:%M"), local(at_ms, &there, "%Y-%m-%d %H:%M"));
    write(&house, "late.toml", &format!("prompt = 'a'\nnot_before = '{time}'\n"));
    let warned =
        "its begin is more than 12 hours away: a time of day that has passed is tomorrow's";
    let told = format!("starts on {date}");
    let check = tell(&house, &["check", "late.toml"]);
    assert!(check.contains(&told) && check.contains("in 23 hours"), "{check}");
    assert!(check.contains(warned), "{check}");
    let submit = tell(&house, &["submit", "late.toml"]);
    assert!(submit.contains(&told) && submit.contains(warned), "{submit}");
    assert!(submit.contains("late.toml is job 1, 1 picture"), "{submit}");
    let wish = ["submit", "--prompt", "b", "--not-before", &time];
    let wish = tell(&house, &wish);
    assert!(wish.contains(&told) && wish.contains(warned), "{wish}");
    let list = tell(&house, &["list"]);
    assert!(list.contains(&format!("from {date}, in 23 hours")), "{list}");
    let show = tell(&house, &["show", "1"]);
    assert!(show.contains(&told) && show.contains("in 23 hours"), "{show}");
    let status = tell(&house, &["status"]);
    assert!(status.contains(&told) && status.contains("in 23 hours"), "{status}");
    let wait = tell(&house, &["wait", "1", "--timeout", "1"]);
    assert!(wait.contains(&date) && wait.contains("in 23 hours"), "{wait}");
    house.stop("TERM");
    let waiting = tell(&house, &["submit", "late.toml"]);
    assert!(waiting.contains(&told) && waiting.contains("waits in the jobs folder"), "{waiting}");
    write(&house, "soon.toml", &format!("prompt = 'a'\nnot_after = '{time}'\n"));
    // newcomer 2's brother: an end of tomorrow, where today's was meant.
    for command in ["check", "submit"] {
        let end = tell(&house, &[command, "soon.toml"]);
        assert!(end.contains(&format!("nothing is started after {date}")), "{end}");
        assert!(end.contains("its end is more than 12 hours away: a time of day"), "{end}");
        assert!(!end.contains("starts on"), "{end}");
    }
}

/// Two steps a picture, which can be held.
fn job(pictures: u32, more: &str) -> String {
    format!("prompt = 'hold, steps of 200 ms'\nseed = 1\nnum_images = {pictures}\n{more}\n")
}

#[test]
fn done_when_counts_what_is_queued_before_by_priority_and_time() {
    let house = House::started("");
    write(&house, "new.toml", &job(10, ""));
    let check = |name: &str| house.json(&["check", name]);
    assert!(check("new.toml")["expected"].is_null(), "nothing is known of the time yet");
    house.drop_job("first.toml", &job(1, ""));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let picture_ms: i64 = house.value("SELECT total_ms FROM attempts").parse().expect("ms");
    let work_ms = 10 * picture_ms;
    let alone = Asked::of(&house, "new.toml");
    alone.assert_in("done_at_ms", work_ms);
    let told_ms = alone.expected["work_ms"].as_i64().expect("known");
    assert!((told_ms - work_ms).abs() < NEAR_MS, "{told_ms} ms, not {work_ms} ms");
    // None of them is made while this looks, so that the pace stays that of the first picture.
    house.hold_renders();
    house.drop_job("long.toml", &job(40, ""));
    house.until_sql("SELECT count(*) FROM renders WHERE state IN ('queued', 'running')", "40");
    let after = Asked::of(&house, "new.toml");
    after.assert_in("starts_at_ms", 40 * picture_ms);
    after.assert_in("done_at_ms", 50 * picture_ms);
    write(&house, "urgent.toml", &job(10, "priority = 1"));
    Asked::of(&house, "urgent.toml").assert_in("done_at_ms", 11 * picture_ms);
    let later_ms = now_ms() + 60 * MINUTE_MS;
    let later =
        format!("not_before = '{}'", Timestamp::from_millisecond(later_ms).expect("in range"));
    write(&house, "later.toml", &job(10, &later));
    let later = check("later.toml")["expected"]["done_at_ms"].as_i64().expect("known");
    assert!((later - later_ms - work_ms).abs() < NEAR_MS, "{later}, not {work_ms} later");
    // evening F13: its begin is said once.
    let said_once = said(&house.zimaged(&["check", "later.toml"]));
    let (begun, starts) = (said_once.contains("begun at about"), said_once.contains("starts on"));
    assert!(begun && !starts, "{said_once}");
    // Of these forty are before, and the time is over after some forty-five.
    let end_ms = now_ms() + 42 * picture_ms;
    let end = format!("not_after = '{}'", Timestamp::from_millisecond(end_ms).expect("in range"));
    write(&house, "end.toml", &job(100, &end));
    let too_late = check("end.toml")["expected"]["too_late"].as_u64().expect("known");
    assert!((80..=100).contains(&too_late), "{too_late}");
    let text = said(&house.zimaged(&["check", "end.toml"]));
    assert!(text.contains("pictures too late for their time"), "{text}");
    // While nothing is started nobody knows when.
    house.zimaged(&["pause"]);
    let paused = check("new.toml");
    assert!(paused["expected"]["done_at_ms"].is_null(), "{paused}");
    let submit = said(&house.zimaged(&["submit", "new.toml"]));
    assert!(submit.contains("is job 3, 10 pictures of 64x64 by fake, about "), "{submit}");
    assert!(!submit.contains("done at"), "{submit}");
    // evening F6
    for command in ["check", "submit"] {
        let told = said(&house.zimaged(&[command, "new.toml"]));
        assert!(told.contains("nothing is started: paused (by the user)"), "{told}");
    }
}
