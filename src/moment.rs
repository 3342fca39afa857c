//! Moments and durations for people, in the machine's time zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::clock::{Clock, SystemClock, local, within};
use crate::spelling::distance;

/// `2026-11-24 22:05`, of a moment in milliseconds since the epoch.
pub fn date_and_time(at_ms: i64) -> String {
    local(at_ms).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `2026-11-24`, as [`date_and_time`].
pub fn date(at_ms: i64) -> String {
    local(at_ms).strftime("%Y-%m-%d").to_string()
}

/// `22:05 CET` today, `2026-11-24 22:05 CET` on another day.
pub fn soon(at_ms: i64) -> String {
    let at = local(at_ms);
    let form = if at.date() == local(SystemClock.now_ms()).date() { "%H:%M %Z" } else { DATED };
    at.strftime(form).to_string()
}

const DATED: &str = "%Y-%m-%d %H:%M %Z";

/// `2026-11-24 22:05 CET`.
pub fn dated(at_ms: i64) -> String {
    local(at_ms).strftime(DATED).to_string()
}

/// What the clock is called that shows these moments: `CET`, or `CEST and CET` where it is put back
/// between them; empty where there is none.
pub fn zones(moments: impl IntoIterator<Item = i64>) -> String {
    zones_in(moments, &TimeZone::system())
}

fn zones_in(moments: impl IntoIterator<Item = i64>, zone: &TimeZone) -> String {
    let mut names: Vec<String> = Vec::new();
    for at_ms in moments {
        let name = within(at_ms, zone.clone()).strftime("%Z").to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    names.join(" and ")
}

/// `starts on 2026-11-24 22:05 CET, in 23 hours`, where that is still to come.
pub fn starts(at_ms: i64) -> Option<String> {
    let away = away(at_ms)?;
    Some(format!("starts on {}, {away}", dated(at_ms)))
}

/// `nothing is started after 2026-11-24 07:00 CET`, without the date where that is today.
pub(super) fn ends(at_ms: i64) -> String {
    format!("nothing is started after {}", soon(at_ms))
}

/// As [`starts`], for a column: `from 2026-11-24 22:05, in 23 hours`.
pub fn from(at_ms: i64) -> Option<String> {
    let away = away(at_ms)?;
    Some(format!("from {}, {away}", date_and_time(at_ms)))
}

/// As [`from`], where there is little room: `from 22:05`, `from 11-24 22:05`.
pub fn from_short(at_ms: i64) -> Option<String> {
    away(at_ms)?;
    Some(format!("from {}", short(at_ms)))
}

/// `22:05` today, `11-24 22:05` on another day of this year, `2025-11-24` in another year.
pub fn short(at_ms: i64) -> String {
    let (at, now) = (local(at_ms), local(SystemClock.now_ms()));
    let form = match (at.date() == now.date(), at.year() == now.year()) {
        (true, _) => "%H:%M",
        (false, true) => "%m-%d %H:%M",
        (false, false) => "%Y-%m-%d",
    };
    at.strftime(form).to_string()
}

/// Whether a moment is so far away that people care.
pub fn is_later(at_ms: i64) -> bool {
    at_ms - SystemClock.now_ms() > LATER_MS
}

/// More than a look at the clock.
const LATER_MS: i64 = 60_000;

/// Whether a moment is still to come.
pub fn is_to_come(at_ms: i64) -> bool {
    at_ms > SystemClock.now_ms()
}

/// How far away a moment is that is still to come.
fn away(at_ms: i64) -> Option<String> {
    let wait_ms = at_ms - SystemClock.now_ms();
    (wait_ms > 0).then(|| distance(wait_ms))
}

/// What a language writes behind numbers of hours, minutes and seconds.
pub struct TimeUnits {
    pub hours: &'static str,
    pub minutes: &'static str,
    pub seconds: &'static str,
}

impl TimeUnits {
    /// The international symbols.
    pub const SYMBOLS: TimeUnits = TimeUnits { hours: "h", minutes: "min", seconds: "s" };

    /// `40 s`, `12 min`, `2 h 10 min`.
    pub fn duration(&self, ms: i64) -> String {
        let TimeUnits { hours, minutes, .. } = self;
        match ms / 1000 {
            seconds @ ..120 => format!("{seconds} {}", self.seconds),
            seconds @ ..7200 => format!("{} {minutes}", seconds / 60),
            seconds => format!("{} {hours} {} {minutes}", seconds / 3600, seconds % 3600 / 60),
        }
    }

    /// As [`TimeUnits::duration`], of the time that is left while something is done; `None` below
    /// a second, which would be told as 0 s.
    pub fn left(&self, ms: i64) -> Option<String> {
        (ms >= 1000).then(|| self.duration(ms))
    }

    /// As [`TimeUnits::duration`], with a tenth below ten seconds: `0.2 s`.
    pub fn estimated(&self, ms: u64) -> String {
        match ms {
            ..10_000 => format!("{:.1} {}", ms as f64 / 1000.0, self.seconds),
            _ => self.duration(i64::try_from(ms).unwrap_or(i64::MAX)),
        }
    }
}

/// See [`TimeUnits::duration`].
pub fn duration(ms: i64) -> String {
    TimeUnits::SYMBOLS.duration(ms)
}

/// See [`TimeUnits::left`].
pub fn left(ms: i64) -> Option<String> {
    TimeUnits::SYMBOLS.left(ms)
}

/// See [`TimeUnits::estimated`].
pub fn estimated(ms: u64) -> String {
    TimeUnits::SYMBOLS.estimated(ms)
}

/// As [`estimated`], how far away a moment is that is still to come.
pub fn until(at_ms: i64) -> String {
    estimated((at_ms - SystemClock.now_ms()).max(0).unsigned_abs())
}

/// `about 3 min`, and that nobody measured it, where that is so.
pub fn expected(work_ms: i64, is_estimate: bool) -> String {
    let mark = if is_estimate { " (estimated, before any was rendered)" } else { "" };
    format!("about {}{mark}", estimated(work_ms.unsigned_abs()))
}

/// The moment that a user names, in milliseconds since the epoch: `2h`, `3d` ago, or a date, with
/// or without a time of day, in the machine's time zone.
pub fn since(text: &str) -> Result<i64, String> {
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

/// The end of the day that a user names like 2026-11-24, in milliseconds since the epoch; `None`
/// where it is no day.
pub fn end_of_day(text: &str) -> Option<i64> {
    end_of_day_in(text, TimeZone::system())
}

fn end_of_day_in(text: &str, zone: TimeZone) -> Option<i64> {
    let day: Date = text.trim().parse().ok()?;
    let end = day.tomorrow().ok()?.at(0, 0, 0, 0);
    Some(zone.to_timestamp(end).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_when_the_next_one_begins_also_where_clocks_are_changed() {
        let zone = || TimeZone::get("Europe/Berlin").expect("a zone");
        let hours = |day: &str, before: &str| {
            let end = |day| end_of_day_in(day, zone()).expect("a day");
            (end(day) - end(before)) / (DAY_MS / 24)
        };
        assert_eq!(hours("2026-11-24", "2026-11-23"), 24);
        assert_eq!(hours("2026-10-25", "2026-10-24"), 25);
        for text in ["", "2026-13-01", "tomorrow", "2026"] {
            assert_eq!(end_of_day_in(text, zone()), None, "{text}");
        }
    }

    // newcomer 15
    #[test]
    fn moments_of_summer_and_winter_have_a_zone_each_and_it_is_told_once() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let (summer, winter) = (1_782_000_000_000, 1_795_000_000_000);
        assert_eq!(zones_in([winter, winter], &zone), "CET");
        assert_eq!(zones_in([winter, summer, winter], &zone), "CEST and CET");
        assert_eq!(zones_in([], &zone), "");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(
            [0, 119_999, 120_000, 7_199_999].map(duration),
            ["0 s", "119 s", "2 min", "119 min"]
        );
        assert_eq!(duration(7_860_000), "2 h 11 min");
        let chinese = TimeUnits { hours: "小时", minutes: "分钟", seconds: "秒" };
        assert_eq!(chinese.duration(7_860_000), "2 小时 11 分钟");
        assert_eq!(chinese.estimated(200), "0.2 秒");
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
        assert_eq!((starts(now_ms - 1), from(now_ms - 1)), (None, None));
        assert_eq!(short(now_ms).len(), "22:05".len());
        let years = now_ms + 800 * DAY_MS;
        assert_eq!(short(years), date(years));
        let at_ms = now_ms + 23 * 60 * 60 * 1000 + 5_000;
        let at = date_and_time(at_ms);
        assert_eq!(starts(at_ms), Some(format!("starts on {at} {zone}, in 23 hours")));
        assert_eq!(from(at_ms), Some(format!("from {at}, in 23 hours")));
    }
}
