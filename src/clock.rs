//! The wall clock, one of the two seams where tests put a fake.

use std::env;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Tells the time of day. Durations are measured with `Instant`, never with this.
pub trait Clock: Send + Sync {
    /// UTC, milliseconds since the epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }
}

/// The moment, in milliseconds since the epoch, in the machine's time zone. One that is out of
/// range is no moment of ours, and is the epoch.
pub fn local(at_ms: i64) -> ZonedDateTime {
    within(at_ms, TimeZone::system())
}

/// As [`local`], in another time zone.
pub fn within(at_ms: i64, zone: TimeZone) -> ZonedDateTime {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(zone)
}

/// What this process's time zone is called, for [`zone_called`] of another one; `None` where it has
/// no name, because /etc/localtime is a copy.
pub fn zone_name() -> Option<String> {
    DateTimePrinter::new().time_zone_to_string(&TimeZone::system()).ok()
}

/// The time zone of this name, where the machine knows it.
pub fn zone_called(name: &str) -> Option<TimeZone> {
    DateTimeParser::new().parse_time_zone(name).ok()
}

/// What is wrong with the machine's time zone, for people: jiff takes UTC for one that is unknown.
pub fn time_zone_problem() -> Option<String> {
    let error = TimeZone::try_system().err()?;
    let cause = match env::var("TZ") {
        Ok(zone) => format!("TZ is {zone:?}, which is no time zone that this machine knows"),
        Err(_) => format!("the machine's time zone is unknown ({error})"),
    };
    Some(format!("{cause}: times are in UTC"))
}

/// A clock that tests set by hand.
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Stands at `now_ms` until [`ManualClock::set`].
    pub fn new(now_ms: i64) -> Self {
        ManualClock(AtomicI64::new(now_ms))
    }

    /// Jumps to `now_ms`, forwards or backwards.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
