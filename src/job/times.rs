//! When the renders of a job may be started: from a moment, until a moment, in a part of each day.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// What a job says of its times. Moments are UTC, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub not_before_ms: Option<i64>,
    pub not_after_ms: Option<i64>,
    pub window: Option<OpenHours>,
}

/// A stretch of time in which renders may be started: from its begin until just before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub from_ms: i64,
    /// `None` where it has no end.
    pub until_ms: Option<i64>,
}

impl Times {
    /// The first opening that has not ended at `now_ms`; `None` where none comes any more.
    /// Times of day are in `zone`. Without a word on its begin, an opening begins with the epoch.
    pub fn opening(&self, now_ms: i64, zone: &TimeZone) -> Option<Opening> {
        let from_ms = self.not_before_ms.unwrap_or(0);
        let opening = match self.window {
            Some(window) => window.next(now_ms.max(from_ms), zone)?,
            None => Opening { from_ms, until_ms: None },
        };
        let ends = opening.until_ms.into_iter().chain(self.not_after_ms);
        let until_ms = ends.min();
        let is_to_come = until_ms.is_none_or(|until_ms| until_ms > now_ms.max(opening.from_ms));
        is_to_come.then_some(Opening { until_ms, ..opening })
    }

    /// As [`Times::opening`]; where none comes any more, one that is over, so that the next look at
    /// the times cancels what waits for it.
    pub fn opening_or_over(&self, now_ms: i64, zone: &TimeZone) -> Opening {
        let over = Opening { from_ms: 0, until_ms: Some(now_ms) };
        self.opening(now_ms, zone).unwrap_or(over)
    }
}

/// A part of each day, by the clock on the wall; over midnight where it closes before it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHours {
    opens: Time,
    closes: Time,
}

/// `22:00-07:00`, also `18:00-24:00`: the end of a day is the beginning of the next one. An error
/// for anything else, and for a window that closes when it opens.
impl FromStr for OpenHours {
    type Err = NoWindow;

    fn from_str(text: &str) -> Result<OpenHours, NoWindow> {
        let (opens, closes) = text.split_once('-').ok_or(NoWindow)?;
        let time = |text| time_of_day(text).ok_or(NoWindow);
        let closes = if closes.trim() == "24:00" { "00:00" } else { closes };
        let window = OpenHours { opens: time(opens)?, closes: time(closes)? };
        if window.opens == window.closes { Err(NoWindow) } else { Ok(window) }
    }
}

/// The text is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use two different times of day, like \"22:00-07:00\"")]
pub struct NoWindow;

/// `22:00`, with seconds where they are said; also `7:00`, as people write it. No leap second:
/// hardly any day has one.
pub fn time_of_day(text: &str) -> Option<Time> {
    let text = text.trim();
    let is_plain = text.contains(':')
        && text.chars().all(|c| c.is_ascii_digit() || c == ':')
        && !text.ends_with(":60");
    let hour_has_one_digit = text.find(':') == Some(1);
    let zero = if hour_has_one_digit { "0" } else { "" };
    is_plain.then(|| format!("{zero}{text}").parse().ok()).flatten()
}

impl fmt::Display for OpenHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = |time: Time| match time.second() {
            0 => time.strftime("%H:%M").to_string(),
            _ => time.strftime("%H:%M:%S").to_string(),
        };
        write!(f, "{}-{}", form(self.opens), form(self.closes))
    }
}

impl OpenHours {
    /// The first opening that has not ended at `at_ms`, cut to what is left of it. A time that the
    /// day's change of the clocks skips is moved on by the hour that was skipped; of one that comes
    /// twice the first is meant.
    fn next(&self, at_ms: i64, zone: &TimeZone) -> Option<Opening> {
        let today = zone.to_datetime(Timestamp::from_millisecond(at_ms).ok()?).date();
        // The opening of yesterday may last over midnight; that of today may be over.
        let days = (-1..=2).filter_map(|days: i64| today.checked_add(days.days()).ok());
        let openings = days.filter_map(|day| self.opening(day, zone));
        openings
            .map(|(opens_ms, closes_ms)| (opens_ms.max(at_ms), closes_ms))
            .find(|(from_ms, closes_ms)| closes_ms > from_ms)
            .map(|(from_ms, closes_ms)| Opening { from_ms, until_ms: Some(closes_ms) })
    }

    /// The opening that begins on `day`.
    pub(super) fn opening(&self, day: Date, zone: &TimeZone) -> Option<(i64, i64)> {
        let last_day = if self.closes > self.opens { day } else { day.tomorrow().ok()? };
        let at = |day: Date, time: Time| {
            zone.to_timestamp(day.to_datetime(time)).ok().map(|moment| moment.as_millisecond())
        };
        Some((at(day, self.opens)?, at(last_day, self.closes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule")
    }

    fn at(text: &str) -> i64 {
        let time: jiff::civil::DateTime = text.parse().expect("a date and a time");
        berlin().to_timestamp(time).expect("in range").as_millisecond()
    }

    fn night() -> Times {
        Times { window: Some("22:00-07:00".parse().expect("a window")), ..Times::default() }
    }

    fn opening(times: Times, now: &str) -> Option<(i64, Option<i64>)> {
        times.opening(at(now), &berlin()).map(|opening| (opening.from_ms, opening.until_ms))
    }

    #[test]
    fn a_window_is_written_as_it_is_read() {
        for text in ["22:00-07:00", "08:30-12:15", "00:00-23:59:30"] {
            assert_eq!(text.parse::<OpenHours>().expect(text).to_string(), text);
        }
        assert_eq!("22:00-7:00".parse::<OpenHours>().expect("a window").to_string(), "22:00-07:00");
        assert_eq!("18:00-24:00".parse::<OpenHours>().expect("one").to_string(), "18:00-00:00");
        for text in [
            "00:00-24:00",
            "24:00-07:00",
            "22:00-23:59:60",
            "22:00",
            "22-07",
            "22:00-:00",
            "22:00-7",
            "22:00-22:00",
            "22:00-25:00",
            "22:00-07:00+01:00",
            "a-b",
        ] {
            assert!(text.parse::<OpenHours>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_over_midnight_is_open_on_both_sides_of_it() {
        let open = |from: &str, until: &str| Some((at(from), Some(at(until))));
        let (evening, morning) = ("2026-11-24T22:00", "2026-11-25T07:00");
        assert_eq!(opening(night(), "2026-11-24T15:00"), open(evening, morning));
        assert_eq!(opening(night(), "2026-11-24T23:00"), open("2026-11-24T23:00", morning));
        assert_eq!(opening(night(), "2026-11-25T06:59"), open("2026-11-25T06:59", morning));
        let next = open("2026-11-25T22:00", "2026-11-26T07:00");
        assert_eq!(opening(night(), "2026-11-25T07:00"), next);
    }

    /// The clocks of Berlin go forward at 02:00 on 2026-03-29, and back at 03:00 on 2026-10-25.
    #[test]
    fn a_night_in_which_the_clocks_change_is_an_hour_shorter_or_longer() {
        let hours = |now: &str| {
            let (from_ms, until_ms) = opening(night(), now).expect("it opens every night");
            (until_ms.expect("it closes") - from_ms) / HOUR_MS
        };
        assert_eq!(hours("2026-03-27T12:00"), 9);
        assert_eq!(hours("2026-03-28T12:00"), 8);
        assert_eq!(hours("2026-10-24T12:00"), 10);
        let skipped = Times { window: "02:10-02:50".parse().ok(), ..Times::default() };
        let moved = (at("2026-03-29T03:10"), Some(at("2026-03-29T03:50")));
        assert_eq!(opening(skipped, "2026-03-29T00:00"), Some(moved));
    }

    #[test]
    fn a_window_opens_no_earlier_than_the_job_and_no_later_than_its_end() {
        let times = |before: &str, after: &str| Times {
            not_before_ms: Some(at(before)),
            not_after_ms: Some(at(after)),
            ..night()
        };
        let later = times("2026-11-26T01:00", "2026-11-27T03:00");
        let first = (at("2026-11-26T01:00"), Some(at("2026-11-26T07:00")));
        assert_eq!(opening(later, "2026-11-24T12:00"), Some(first));
        let last = (at("2026-11-26T22:00"), Some(at("2026-11-27T03:00")));
        assert_eq!(opening(later, "2026-11-26T07:00"), Some(last));
        assert_eq!(opening(later, "2026-11-27T03:00"), None);
        assert_eq!(
            opening(times("2026-11-24T08:00", "2026-11-24T20:00"), "2026-11-24T00:00"),
            None
        );
    }

    #[test]
    fn a_job_without_times_may_always_start_and_one_with_an_end_until_then() {
        assert_eq!(opening(Times::default(), "2026-11-24T12:00"), Some((0, None)));
        let end = Times { not_after_ms: Some(at("2026-11-24T12:00")), ..Times::default() };
        assert_eq!(opening(end, "2026-11-24T11:59"), Some((0, Some(at("2026-11-24T12:00")))));
        assert_eq!(opening(end, "2026-11-24T12:00"), None);
    }
}
