//! When a job may be started: `not_before`, `not_after` and `window`.

use std::cmp::Reverse;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use toml::de::{DeTable, DeValue};

use crate::job::times::{NoWindow, OpenHours, Times, time_of_day};
use crate::table::{Check, Mistake, Table, check};

/// Seconds.
const DAY_S: u32 = 24 * 60 * 60;

/// The times of a job that is taken in at `now_ms`. Notes where nothing of it could be started.
pub(super) fn read(top: &mut Table, zone: &TimeZone, now_ms: i64) -> Times {
    let not_before_ms = top.read("not_before", |value| time_ms(value, zone, now_ms));
    let begin_ms = now_ms.max(not_before_ms.unwrap_or(now_ms));
    // A time of day is the first one after the begin: from 22:00, not after 07:00, is one night.
    let not_after_ms = top.read("not_after", |value| time_ms(value, zone, begin_ms));
    let window = top.read("window", window);
    let times = Times { not_before_ms, not_after_ms, window };
    if times.opening(now_ms, zone).is_none() {
        let message = match not_after_ms.is_some_and(|end_ms| end_ms <= begin_ms) {
            true if begin_ms > now_ms => "is no later than not_before: nothing would be started",
            true => "lies in the past: nothing would be started",
            false => "comes before the window opens: nothing would be started",
        };
        let key = if top.has("not_after") { "not_after" } else { "window" };
        top.mistake(key, Mistake::new(message).help("use a later time"));
    }
    times
}

pub(super) fn window(value: &DeValue) -> Check<OpenHours> {
    let right = NoWindow.to_string();
    let text = check::text(value).map_err(|mistake| mistake.help(right.as_str()))?;
    let wrong = |_| Mistake::new(format!("{} is no window", check::quoted(text))).help(right);
    text.parse().map_err(wrong)
}

/// A moment, in milliseconds since the epoch: a TOML date and time, or a time of day, which means
/// the next such moment after `now_ms`; or the same as a string. One without an offset is in
/// `zone`.
pub fn time_ms(value: &DeValue, zone: &TimeZone, now_ms: i64) -> Check<i64> {
    let right =
        "use a time of day, like \"22:00\", or a date and a time, like 2026-11-24T22:00:00+01:00";
    let Some(written) = written(value) else {
        return Err(Mistake::expected("a time", value).help(right));
    };
    let time = match time_of_day(&written) {
        Some(time) => next_time_of_day(time, zone, now_ms),
        None => moment(&written, zone),
    };
    let no_time = || {
        let mistake = Mistake::new(format!("{} is no time", check::shortened(&written)));
        mistake.help(time_hint(&written).unwrap_or_else(|| right.to_owned()))
    };
    Ok(time.ok_or_else(no_time)?.as_millisecond())
}

fn written(value: &DeValue) -> Option<String> {
    match value {
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The keys of a job's text whose moment is a time of day alone: whoever reads it later may find
/// another day in it.
pub fn times_of_day(text: &str) -> Vec<&'static str> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let is_one = |key: &&str| {
        let value = document.get_ref().get(*key);
        let written = value.and_then(|value| written(value.get_ref()));
        written.is_some_and(|written| time_of_day(&written).is_some())
    };
    ["not_before", "not_after"].into_iter().filter(is_one).collect()
}

/// The text of a job with date, time and offset in place of moments that it leaves to its reader's
/// clock, so that they are the same ones whenever and wherever it is taken in. They are those of
/// `times`, which were read from it.
pub fn with_moments(text: &str, times: &Times, zone: &TimeZone) -> String {
    let Ok(document) = DeTable::parse(text) else { return text.to_owned() };
    let moments = [("not_before", times.not_before_ms), ("not_after", times.not_after_ms)];
    let open = moments.into_iter().filter_map(|(key, at_ms)| {
        let value = document.get_ref().get(key)?;
        let is_open = written(value.get_ref())?.parse::<Timestamp>().is_err();
        let at = Timestamp::from_millisecond(at_ms?).ok()?;
        let at = at.to_zoned_datetime(zone.clone());
        is_open.then(|| (value.span(), at.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()))
    });
    let mut open: Vec<_> = open.collect();
    // From the end, so that the places in front stay where they are.
    open.sort_by_key(|(place, _)| Reverse(place.start));
    let mut fixed = text.to_owned();
    for (place, moment) in open {
        fixed.replace_range(place, &moment);
    }
    fixed
}

/// What is meant by times that people write elsewhere: `10 pm`, `7:5`, `22.30`, `24:00`, `+2h`.
fn time_hint(written: &str) -> Option<String> {
    let written = written.trim();
    let lower = written.to_lowercase();
    let is_distance = lower.starts_with('+') || lower.starts_with("in ");
    if is_distance {
        return Some(
            "a time is said as such, and not how far away it is: like \"22:00\"".to_owned(),
        );
    }
    let right = match lower.as_str() {
        "noon" | "midday" => Some("12:00".to_owned()),
        "midnight" => Some("00:00".to_owned()),
        clock => of_half_a_day(clock).or_else(|| carried(clock)),
    };
    Some(format!("use {} for {written}", right?))
}

/// A time of a clock with twelve hours, as one of a day.
fn of_half_a_day(clock: &str) -> Option<String> {
    let halves = [("am", 0), ("a.m.", 0), ("pm", 12), ("p.m.", 12)];
    let (clock, more) =
        halves.iter().find_map(|(name, more)| Some((clock.strip_suffix(name)?.trim(), more)))?;
    let digits = clock.find(|c: char| !c.is_ascii_digit()).unwrap_or(clock.len());
    let (hour, rest) = clock.split_at(digits);
    let hour: u32 = hour.parse().ok().filter(|hour| (1..=12).contains(hour))?;
    carried(&format!("{}{rest}", hour % 12 + more))
}

/// Hours, minutes and seconds, whatever stands between them, as a time of day: 60 seconds are a
/// minute, and 24 hours are midnight. `None` for what is none.
fn carried(clock: &str) -> Option<String> {
    let number = |part: &str| match part {
        "" => Some(0),
        digits => digits.parse().ok().filter(|number: &u32| *number <= 60),
    };
    let parts = clock.split([':', '：', '.', 'h']).map(str::trim);
    let mut numbers = [0; 3];
    for (at, part) in parts.enumerate() {
        *numbers.get_mut(at)? = number(part)?;
    }
    let [hours, minutes, seconds] = numbers;
    let all_s = (hours * 60 + minutes) * 60 + seconds;
    let (minute, second) = (all_s % DAY_S / 60, all_s % 60);
    let more = if second > 0 { format!(":{second:02}") } else { String::new() };
    let is_time = all_s <= DAY_S && clock.starts_with(|c: char| c.is_ascii_digit());
    is_time.then(|| format!("{:02}:{:02}{more}", minute / 60, minute % 60))
}

/// Today, or tomorrow where that moment has passed.
fn next_time_of_day(time: Time, zone: &TimeZone, now_ms: i64) -> Option<Timestamp> {
    let now = Timestamp::from_millisecond(now_ms).ok()?;
    let today = zone.to_datetime(now).date();
    let on = |day: Date| zone.to_timestamp(day.to_datetime(time)).ok();
    on(today).filter(|moment| *moment > now).or_else(|| on(today.checked_add(1.day()).ok()?))
}

fn moment(written: &str, zone: &TimeZone) -> Option<Timestamp> {
    // A date alone would parse as midnight; whether its begin or its end is meant is anybody's
    // guess.
    if !written.contains(':') {
        return None;
    }
    let with_offset = written.parse::<Timestamp>();
    with_offset.or_else(|_| zone.to_timestamp(written.parse::<DateTime>()?)).ok()
}
