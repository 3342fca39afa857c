//! Moments and durations for people, in the machine's time zone.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::{Clock, SystemClock};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `2026-11-24 22:05`, of a moment in milliseconds since the epoch.
pub(super) fn date_and_time(at_ms: i64) -> String {
    local(at_ms).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `22:05` where it comes within a day, else with its date.
pub(super) fn soon(at_ms: i64) -> String {
    match (0..DAY_MS).contains(&(at_ms - SystemClock.now_ms())) {
        true => local(at_ms).strftime("%H:%M").to_string(),
        false => date_and_time(at_ms),
    }
}

/// `waits until 22:05`, where that is still to come.
pub(super) fn waits_until(at_ms: i64) -> Option<String> {
    (at_ms > SystemClock.now_ms()).then(|| format!("waits until {}", soon(at_ms)))
}

/// `40 s`, `12 min`, `2 h 10 min`.
pub(super) fn duration(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A moment that is out of range is no moment of ours, and is shown as the epoch.
fn local(at_ms: i64) -> DateTime {
    TimeZone::system().to_datetime(Timestamp::from_millisecond(at_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(
            [0, 119_999, 120_000, 7_199_999].map(duration),
            ["0 s", "119 s", "2 min", "119 min"]
        );
        assert_eq!(duration(7_860_000), "2 h 11 min");
    }

    #[test]
    fn a_moment_within_a_day_needs_no_date_and_one_that_has_passed_is_not_waited_for() {
        let now_ms = SystemClock.now_ms();
        assert_eq!(soon(now_ms + DAY_MS / 2).len(), "22:05".len());
        assert_eq!(soon(now_ms + 2 * DAY_MS).len(), "2026-11-24 22:05".len());
        assert_eq!(waits_until(now_ms - 1), None);
        assert!(waits_until(now_ms + 60_000).is_some_and(|text| text.starts_with("waits until ")));
    }
}
