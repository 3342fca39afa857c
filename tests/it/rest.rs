//! Times in which daemon.toml wants nothing started: quiet hours, and a card above its ceiling.
//! What waits is told why, and goes on by itself.

use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::support::nvml::{self, Card};
use crate::support::{House, kill, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";
const HOLDS: &str = "SELECT group_concat(kind, ' ') FROM events WHERE kind LIKE 'h%'";

pub fn time_of_day(seconds_from_now: i64) -> String {
    let at_ms = Timestamp::now().as_millisecond() + 1000 * seconds_from_now;
    let at = Timestamp::from_millisecond(at_ms).expect("in range");
    at.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

#[test]
fn in_quiet_hours_nothing_is_started_and_everybody_is_told_until_when() {
    let quiet = format!("{}-{}", time_of_day(-3600), time_of_day(3600));
    let mut house = House::new(&format!("[power]\nquiet_hours = [\"{quiet}\"]\n"));
    house.start();
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let submit = house.json(&["submit", "fox.toml"]);
    assert!(submit["stopped"].is_null(), "its end is known: {submit}");
    let held = || house.json(&["status"])["daemon"]["hold"].as_str().map(str::to_owned);
    let why = house.until("it is held", held);
    assert!(why.starts_with("quiet hours until "), "{why}");
    assert_eq!(house.json(&["status"])["daemon"]["hold_is_wanted"], true);
    assert!(said(&house.zimaged(&["status"])).contains("held: quiet hours until"));
    let wait = said(&house.zimaged(&["wait", "1", "--timeout", "1"]));
    assert!(wait.contains("quiet hours ([power] quiet_hours)"), "{wait}");
    let doctor = house.json(&["doctor"]);
    let findings = doctor["findings"].as_array().expect("a list");
    let told = findings.iter().find(|it| it["told"].to_string().contains("quiet hours"));
    assert_eq!(told.expect("a finding")["verdict"], "ok", "{doctor}");
    house.until_sql(HOLDS, "held");
    house.until_sql("SELECT count(*) FROM attempts", "0");
    // Who watches the machine is not called for what its owner wants.
    house.until("it is ready", || (house.get("/ready").status == 200).then_some(()));
    assert!(house.get("/metrics").text().contains("zimaged_hold 0"));
}

#[test]
fn when_quiet_hours_end_what_waits_is_rendered() {
    let quiet = format!("{}-{}", time_of_day(-3600), time_of_day(3600));
    let mut house = House::new(&format!("[power]\nquiet_hours = \"{quiet}\"\n"));
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.start_as_service(&[]);
    house.until_sql(HOLDS, "held");
    // They end soon only now, however slow the start was.
    let path = house.path("daemon.toml");
    let config = fs::read_to_string(&path).expect("ours");
    let soon = format!("{}-{}", time_of_day(-3600), time_of_day(2));
    fs::write(&path, config.replace(&quiet, &soon)).expect("a writable folder");
    kill("HUP", house.daemon_pid());
    house.until_sql(DONE, "1");
    // Another end of them is another reason.
    house.until_sql(HOLDS, "held held hold_ended");
    // The status is written a moment after the row.
    let is_over = || house.json(&["status"])["daemon"]["hold"].is_null().then_some(());
    house.until("nothing is held", is_over);
}

#[test]
fn above_its_ceiling_a_card_is_left_alone_until_it_has_cooled() {
    let hot = Card { celsius: 84, watts: 90, mhz: 1000, slowed: 0 };
    let mut house = House::new("[power]\ntemperature_max_c = 80\npower_max_w = 200\n");
    hot.is_in(&house);
    let environment = nvml::environment(&house);
    house.start_with(&environment.each_ref().map(|(name, value)| (*name, value.as_str())));
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(HOLDS, "held");
    let held = || house.json(&["status"])["daemon"]["hold"].as_str().map(str::to_owned);
    let why = house.until("it is held", held);
    assert!(why.contains("84 °C") && why.contains("down to 75 °C"), "{why}");
    house.until_sql("SELECT count(*) FROM attempts", "0");
    Card { celsius: 75, ..hot }.is_in(&house);
    house.until_sql(DONE, "1");
    house.until_sql(HOLDS, "held hold_ended");
}

#[test]
fn a_ceiling_that_no_card_tells_of_holds_nothing_and_is_told() {
    let mut house = House::new("[power]\ntemperature_max_c = 80\n");
    house.start();
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(DONE, "1");
    house.until_logged("[power] temperature_max_c has no effect");
    let doctor = said(&house.zimaged(&["doctor"]));
    assert!(doctor.contains("[power] temperature_max_c has no effect"), "{doctor}");
}

#[test]
fn what_is_no_quiet_time_is_refused_with_what_would_be_right() {
    for (line, right) in [
        ("quiet_hours = '23-7'", "\"23:00-07:00\", \"mon-fri 09:00-17:00\""),
        ("quiet_hours = ['mon-fri', 'sat,sun']", "leave some time out"),
        ("quiet_hours = ['mon-fry 09:00-17:00', '25:00-26:00']", "\"25:00-26:00\" is no"),
        ("quiet_hours = ['mon-fry 09:00-17:00', '25:00-26:00']", "\"mon-fry 09:00-17:00\" is no"),
        ("temperature_max_c = 5", "use a whole number from 30 to 120"),
    ] {
        let house = House::new(&format!("[power]\n{line}\n"));
        let refused = house.zimaged(&["run", "--until-idle"]);
        let told = said(&refused);
        assert_eq!(refused.status.code(), Some(78), "{told}");
        assert!(told.contains("daemon.toml") && told.contains(right), "{line}: {told}");
    }
}
