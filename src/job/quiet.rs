//! Quiet hours: the parts of each week in which nothing new is started.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::times::OpenHours;

/// None, where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuietHours(Vec<QuietTime>);

/// A part of some days of the week, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietTime {
    /// From Monday: whether it begins on that day.
    days: [bool; 7],
    /// Over midnight where they close before they open; `None` is the whole day.
    hours: Option<OpenHours>,
}

/// From its begin until just before its end, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    pub from_ms: i64,
    pub until_ms: i64,
}

/// The text is no quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use times of day, with days of the week before them where not every day is meant: \
     \"23:00-07:00\", \"mon-fri 09:00-17:00\", \"sat,sun\""
)]
pub struct NoQuietTime;

const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

impl FromStr for QuietTime {
    type Err = NoQuietTime;

    fn from_str(text: &str) -> Result<QuietTime, NoQuietTime> {
        let text = text.trim().to_lowercase();
        let (days, hours) = match text.rsplit_once(' ') {
            Some((days, hours)) if hours.contains(':') => (Some(days.trim()), Some(hours)),
            None if text.contains(':') => (None, Some(text.as_str())),
            _ => (Some(text.as_str()), None),
        };
        Ok(QuietTime {
            days: days.map_or(Ok([true; 7]), days_of)?,
            hours: hours.map_or(Ok(None), hours_of)?,
        })
    }
}

fn hours_of(text: &str) -> Result<Option<OpenHours>, NoQuietTime> {
    match text {
        "00:00-24:00" => Ok(None),
        hours => hours.parse().map(Some).map_err(|_| NoQuietTime),
    }
}

/// `mon-fri`, `sat,sun`.
fn days_of(text: &str) -> Result<[bool; 7], NoQuietTime> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day_of(first)?, day_of(last)?);
        // From Friday to Monday goes over the week's end.
        for day in first..=(if last < first { last + 7 } else { last }) {
            days[day % 7] = true;
        }
    }
    Ok(days)
}

fn day_of(text: &str) -> Result<usize, NoQuietTime> {
    let text = text.trim();
    DAYS.iter().position(|(short, long)| text == *short || text == *long).ok_or(NoQuietTime)
}

impl QuietTime {
    /// The part that begins on `day`.
    fn on(&self, day: Date, zone: &TimeZone) -> Option<Silence> {
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        if !self.days[weekday] {
            return None;
        }
        let (from_ms, until_ms) = match &self.hours {
            Some(hours) => hours.opening(day, zone)?,
            None => (midnight_ms(day, zone)?, midnight_ms(day.tomorrow().ok()?, zone)?),
        };
        Some(Silence { from_ms, until_ms })
    }
}

fn midnight_ms(day: Date, zone: &TimeZone) -> Option<i64> {
    Some(zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?.as_millisecond())
}

impl QuietHours {
    /// `None` where that would be the whole week.
    pub fn new(times: Vec<QuietTime>) -> Option<QuietHours> {
        let quiet = QuietHours(times);
        let any_day = Date::constant(2026, 1, 5);
        let silence = midnight_ms(any_day, &TimeZone::UTC)
            .and_then(|at_ms| quiet.next(at_ms, &TimeZone::UTC));
        let is_whole = silence.is_some_and(|it| it.until_ms - it.from_ms >= WEEK_MS);
        (!is_whole).then_some(quiet)
    }

    /// The silence that there is at `at_ms`, or else the next one, as long as it lasts: what
    /// follows without a break belongs to it. Days and times are in `zone`.
    pub fn next(&self, at_ms: i64, zone: &TimeZone) -> Option<Silence> {
        if self.0.is_empty() {
            return None;
        }
        let today = zone.to_datetime(Timestamp::from_millisecond(at_ms).ok()?).date();
        // That of yesterday may last over midnight, and one of a weekday comes within eight days.
        let days = (-1..=8).filter_map(|days: i64| today.checked_add(days.days()).ok());
        let all = days.flat_map(|day| self.0.iter().filter_map(move |time| time.on(day, zone)));
        let mut all: Vec<Silence> = all.filter(|silence| silence.until_ms > at_ms).collect();
        all.sort_by_key(|silence| silence.from_ms);
        all.into_iter().reduce(|first, next| match next.from_ms <= first.until_ms {
            true => Silence { until_ms: first.until_ms.max(next.until_ms), ..first },
            false => first,
        })
    }

    /// Until when it is quiet at `at_ms`; `None` where it is not.
    pub fn until_ms(&self, at_ms: i64, zone: &TimeZone) -> Option<i64> {
        self.next(at_ms, zone).filter(|it| it.from_ms <= at_ms).map(|it| it.until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(times: &[&str]) -> Option<QuietHours> {
        QuietHours::new(times.iter().map(|time| time.parse().expect(time)).collect())
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule")
    }

    fn at(text: &str) -> i64 {
        let time: jiff::civil::DateTime = text.parse().expect("a date and a time");
        berlin().to_timestamp(time).expect("in range").as_millisecond()
    }

    /// Beginning and end of the silence.
    fn silence(times: &[&str], now: &str) -> (String, String) {
        let quiet = quiet(times).expect("not the whole week");
        let Silence { from_ms, until_ms } = quiet.next(at(now), &berlin()).expect("a silence");
        let told = |ms| {
            let at = Timestamp::from_millisecond(ms).expect("in range");
            berlin().to_datetime(at).strftime("%a %H:%M").to_string()
        };
        (told(from_ms), told(until_ms))
    }

    fn pair(from: &str, until: &str) -> (String, String) {
        (from.to_owned(), until.to_owned())
    }

    /// 2026-11-25 is a Wednesday.
    #[test]
    fn nights_days_and_the_week_s_end_are_quiet_and_joined() {
        let night = ["23:00-07:00"];
        let of_wednesday = pair("Wed 23:00", "Thu 07:00");
        assert_eq!(silence(&night, "2026-11-25T12:00"), of_wednesday);
        assert_eq!(silence(&night, "2026-11-26T06:59"), of_wednesday);
        assert_eq!(silence(&night, "2026-11-26T07:00"), pair("Thu 23:00", "Fri 07:00"));
        let with_mornings = ["23:00-07:00", "sat,sun 00:00-10:00"];
        assert_eq!(silence(&with_mornings, "2026-11-27T12:00"), pair("Fri 23:00", "Sat 10:00"));
        assert_eq!(silence(&["Sat-Sun"], "2026-11-25T12:00"), pair("Sat 00:00", "Mon 00:00"));
        let office = ["mon-fri 09:00-17:00"];
        assert_eq!(silence(&office, "2026-11-27T17:00"), pair("Mon 09:00", "Mon 17:00"));
        assert_eq!(
            silence(&["fri-mon 20:00-24:00"], "2026-11-24T00:00"),
            pair("Fri 20:00", "Sat 00:00")
        );
        let quiet = quiet(&night).expect("nights");
        let until = |now: &str| quiet.until_ms(at(now), &berlin());
        assert_eq!(until("2026-11-25T22:59"), None);
        assert_eq!(until("2026-11-25T23:00"), Some(at("2026-11-26T07:00")));
        assert_eq!(QuietHours::default().until_ms(at("2026-11-25T23:00"), &berlin()), None);
    }

    #[test]
    fn what_is_no_quiet_time_is_refused_and_so_is_a_week_of_them() {
        for text in [
            "",
            "23",
            "23:00",
            "23:00-23:00",
            "someday 23:00-07:00",
            "mon 7-9",
            "mon-",
            "25:00-26:00",
        ] {
            assert_eq!(text.parse::<QuietTime>(), Err(NoQuietTime), "{text}");
        }
        for week in
            [&["mon-sun"][..], &["00:00-12:00", "12:00-24:00"], &["mon-fri 00:00-24:00", "sat,sun"]]
        {
            assert_eq!(quiet(week), None, "{week:?}");
        }
        assert!(quiet(&["mon-sun 00:00-23:59"]).is_some());
    }
}
