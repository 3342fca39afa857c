//! The wall clock, one of the two seams where tests put a fake.

use std::env;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(TimeZone::system())
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
