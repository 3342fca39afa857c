//! The time of day jumps while a daemon works and jobs wait for their times; what measures
//! durations goes on as ever.

use std::ffi::OsString;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

use crate::beside;
use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::trap::ShiftedClock;

const EXPECTED: &str = "what runs goes on, what waits is started when its time has come by the new time of \
                        day, and no duration is absurd";

/// A second of work, which can be held.
const SLOW: &str =
    "prompt = 'hold, steps of 200 ms'\nsteps = 5\nwidth = 64\nheight = 64\nmin_side = 64\n";

/// A loaded machine may stand still for a while, and clocks jump by hours.
const AWHILE_MS: i64 = 30 * 60 * 1000;
const QUICK: &str = "prompt = 'a fox'\nwidth = 64\nheight = 64\nmin_side = 64\n";

const HOUR_S: i64 = 3600;

struct Site {
    clock: ShiftedClock,
    it: Harried,
}

impl Site {
    /// A daemon at this many seconds from now.
    fn at(shift_s: i64) -> Site {
        let clock = ShiftedClock::new(shift_s);
        let mut it = Harried::new("deaths_max = 1\n");
        let environment = clock.environment().map(|(name, value)| (name, OsString::from(value)));
        it.environment.extend(environment);
        it.environment.push(("TZ", "Europe/Berlin".into()));
        it.launch(&[]);
        it.until_listening();
        Site { clock, it }
    }

    /// As [`Site::at`], so shortly before a moment that it comes when the jobs are taken in.
    fn before(moment: &str) -> Site {
        let moment: Timestamp = moment.parse().unwrap();
        Site::at(moment.as_second() - Timestamp::now().as_second() - 3)
    }

    fn until(&mut self, sql: &str) {
        let is_so = |house: &crate::support::House| (house.value(sql) == "1").then_some(());
        let found = self.it.while_alive(PATIENCE, is_so);
        assert!(found.is_some(), "never: {sql}\n{}", self.it.house.log());
    }

    /// Everything is made, in one attempt each that took seconds at the most.
    fn assert_made(mut self, fault: &str) {
        self.it.until_settled();
        let odd = format!(
            "SELECT count(*) FROM attempts WHERE outcome <> 'done' OR total_ms < 0 \
             OR total_ms > {AWHILE_MS}"
        );
        assert_eq!(self.it.house.value(&odd), "0", "{fault}\n{}", self.it.house.log());
        self.it.assert_holds();
        record::note(fault, EXPECTED, 1, "goes on");
    }
}

/// When the first picture of a job was begun.
fn begun_ms(it: &Harried, file: &str) -> i64 {
    let sql = format!(
        "SELECT min(a.started_at_ms) FROM attempts a JOIN renders r ON r.id = a.render_id \
         JOIN jobs j ON j.id = r.job_id WHERE j.file_name = '{file}'"
    );
    it.house.value(&sql).parse().unwrap_or(0)
}

fn ms(moment: &str) -> i64 {
    moment.parse::<Timestamp>().unwrap().as_millisecond()
}

const RUNS: &str = "SELECT count(*) FROM attempts WHERE outcome = 'running'";
const WAITS: &str = "SELECT count(*) = 1 FROM renders WHERE state = 'queued'";

/// A job in the middle of its picture, and one for an hour from now.
fn at_work() -> Site {
    let mut site = Site::at(0);
    site.it.house.hold_renders();
    let later = Timestamp::from_second(Timestamp::now().as_second() + HOUR_S).unwrap();
    site.it.drop_file(SLOW, 1);
    site.it.drop_file(&format!("{QUICK}not_before = '{later}'\n"), 1);
    site.until(RUNS);
    site.until(WAITS);
    site
}

fn a_clock_that_jumps_forward_starts_what_is_due() {
    let site = at_work();
    site.clock.jump_to(5 * HOUR_S);
    site.it.house.release_renders();
    site.assert_made("the clock jumps five hours forward");
}

fn a_clock_that_jumps_back_starts_nothing_before_its_time() {
    let mut site = at_work();
    site.clock.jump_to(-5 * HOUR_S);
    site.it.house.release_renders();
    site.until("SELECT count(*) FROM renders WHERE state = 'done'");
    // Some looks at what is due.
    sleep(Duration::from_secs(2));
    site.until(WAITS);
    site.clock.jump_to(2 * HOUR_S);
    site.assert_made("the clock jumps five hours back");
}

/// The hour after two o'clock is left out.
fn a_window_that_opens_in_the_hour_of_summer_opens() {
    const SPRING: &str = "2026-03-29T01:00:00Z";
    let mut site = Site::before(SPRING);
    site.it.drop_file(&format!("{QUICK}window = '03:00-05:00'\n"), 1);
    site.it.until_settled();
    let late_ms = begun_ms(&site.it, "drop-00000.toml") - ms(SPRING);
    assert!((0..AWHILE_MS).contains(&late_ms), "begun {late_ms} ms after it opened");
    site.assert_made("summer time begins");
}

/// The hour after two o'clock comes twice.
fn a_window_in_the_hour_that_comes_twice_stays_open_and_the_next_one_waits() {
    const AUTUMN: &str = "2026-10-25T01:00:00Z";
    let mut site = Site::before(AUTUMN);
    site.it.drop_file(&format!("{SLOW}num_images = 5\nwindow = '02:00-03:00'\n"), 5);
    site.it.drop_file(&format!("{QUICK}window = '03:00-04:00'\n"), 1);
    site.until("SELECT count(*) = 5 FROM renders WHERE state = 'done'");
    site.until(WAITS);
    let now_s = |clock: &ShiftedClock| Timestamp::now().as_second() + clock.shift_s();
    let passed_s = now_s(&site.clock) - ms(AUTUMN) / 1000;
    assert!(
        (1..AWHILE_MS / 1000).contains(&passed_s),
        "five pictures take longer than till then: {passed_s}"
    );
    site.clock.jump_to(site.clock.shift_s() + HOUR_S);
    site.it.until_settled();
    let late_ms = begun_ms(&site.it, "drop-00001.toml") - ms("2026-10-25T02:00:00Z");
    assert!((0..AWHILE_MS).contains(&late_ms), "begun {late_ms} ms after it opened");
    site.assert_made("summer time ends");
}

#[test]
fn a_clock_that_jumps_neither_hurts_what_runs_nor_starts_what_has_its_time() {
    let cases = [
        a_clock_that_jumps_forward_starts_what_is_due,
        a_clock_that_jumps_back_starts_nothing_before_its_time,
        a_window_that_opens_in_the_hour_of_summer_opens,
        a_window_in_the_hour_that_comes_twice_stays_open_and_the_next_one_waits,
    ];
    beside::try_all(cases, |case| case());
}
