//! Moments and durations for people, in the machine's time zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::clock::{Clock, SystemClock, local};

/// `2026-11-24 22:05`, of a moment in milliseconds since the epoch.
pub(super) fn date_and_time(at_ms: i64) -> String {
    local(at_ms).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `22:05 CET` today, `2026-11-24 22:05 CET` on another day.
pub(super) fn soon(at_ms: i64) -> String {
    let at = local(at_ms);
    let form = if at.date() == local(SystemClock.now_ms()).date() { "%H:%M %Z" } else { DATED };
    at.strftime(form).to_string()
}

const DATED: &str = "%Y-%m-%d %H:%M %Z";

/// `waits until 22:05 CET`, where that is still to come.
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

/// As [`duration`], with a tenth below ten seconds: `0.2 s`.
pub(super) fn estimated(ms: u64) -> String {
    match ms {
        ..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => duration(i64::try_from(ms).unwrap_or(i64::MAX)),
    }
}

/// `about 3 min`, and that nobody measured it, where that is so.
pub(super) fn expected(work_ms: i64, is_estimate: bool) -> String {
    let mark = if is_estimate { " (estimated, before any was rendered)" } else { "" };
    format!("about {}{mark}", estimated(work_ms.unsigned_abs()))
}

/// The moment that a user names, in milliseconds since the epoch: `2h`, `3d` ago, or a date, with
/// or without a time of day, in the machine's time zone.
pub(super) fn since(text: &str) -> Result<i64, String> {
    since_by(text, SystemClock.now_ms(), &TimeZone::system())
        .ok_or_else(|| format!("'{text}' is neither like 2h, 3d nor like 2026-11-24T22:00"))
}

fn since_by(text: &str, now_ms: i64, zone: &TimeZone) -> Option<i64> {
    if let Ok(span) = text.parse::<Span>() {
        let now = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?);
        let then = now.checked_sub(span.abs()).ok()?;
        return Some(zone.to_timestamp(then).ok()?.as_millisecond());
    }
    let date_and_time: DateTime = text.parse().ok()?;
    Some(zone.to_timestamp(date_and_time).ok()?.as_millisecond())
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

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    // newcomer 36
    #[test]
    fn a_moment_is_named_by_its_distance_or_by_its_date() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let since = |text| since_by(text, 10 * DAY_MS, &zone);
        assert_eq!(since("2h"), Some(10 * DAY_MS - 7_200_000));
        assert_eq!(since("3d"), Some(7 * DAY_MS));
        assert_eq!(since("1970-01-02"), Some(DAY_MS - 3_600_000));
        assert_eq!(since("1970-01-02T01:00"), Some(DAY_MS));
        assert_eq!(since("yesterday evening"), None);
    }

    #[test]
    // newcomer 2: a time of day alone was read as today's.
    fn only_a_moment_of_today_needs_no_date_and_one_that_has_passed_is_not_waited_for() {
        let now_ms = SystemClock.now_ms();
        let zone = local(now_ms).strftime("%Z").to_string();
        let today = soon(now_ms);
        assert!(today.len() == format!("22:05 {zone}").len() && today.ends_with(&zone), "{today}");
        for another_day in [now_ms - DAY_MS, now_ms + DAY_MS] {
            assert!(soon(another_day).starts_with("20"), "{}", soon(another_day));
        }
        assert_eq!(waits_until(now_ms - 1), None);
        assert!(waits_until(now_ms + 60_000).is_some_and(|text| text.starts_with("waits until ")));
    }
}
