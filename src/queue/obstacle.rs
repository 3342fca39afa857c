//! What keeps every render from being started.

use std::fmt;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::Queue;
use super::agreement::daemon_zone;
use crate::clock::{self, Clock, SystemClock};
use crate::instance::InstanceLock;
use crate::job::quiet::QuietHours;
use crate::spelling::distance;
use crate::status;
use crate::store::{Pause, Result, Store};

/// Why no render is started. For people, its text also says what ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Obstacle {
    NoDaemon,
    Paused(Pause),
    /// Every queued render has its time, and the first one is still to come.
    NotBefore {
        /// UTC, milliseconds since the epoch.
        at_ms: i64,
    },
    /// daemon.toml wants quiet.
    Quiet {
        /// UTC, milliseconds since the epoch.
        until_ms: i64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoDaemon => write!(f, "no daemon is running; start it with: zimaged run"),
            Obstacle::Paused(pause) => write!(f, "nothing is started: {pause}"),
            Obstacle::NotBefore { at_ms } => {
                let before = before(*at_ms);
                write!(f, "{before}: every render that waits has its time (not_before or window)")
            }
            Obstacle::Quiet { until_ms } => {
                write!(f, "{}: quiet hours ([power] quiet_hours)", before(*until_ms))
            }
        }
    }
}

fn before(at_ms: i64) -> String {
    let at = clock::local(at_ms).strftime("%Y-%m-%d %H:%M:%S %Z");
    let away = distance((at_ms - SystemClock.now_ms()).max(0));
    format!("nothing is started before {at}, {away}")
}

/// Why a daemon that runs and keeps `quiet` hours by the clock of `zone` starts no render at
/// `now_ms`, if it does not.
pub async fn obstacle(
    store: &Store,
    (quiet, zone): (&QuietHours, &TimeZone),
    now_ms: i64,
) -> Result<Option<Obstacle>> {
    if let Some(pause) = store.paused().await? {
        return Ok(Some(Obstacle::Paused(pause)));
    }
    let earliest_ms = store.earliest_ms(now_ms).await?;
    let quiet_ms = quiet.until_ms(now_ms, zone);
    Ok(match (earliest_ms.filter(|at_ms| *at_ms > now_ms), quiet_ms) {
        (Some(at_ms), quiet_ms) if quiet_ms.is_none_or(|until_ms| at_ms >= until_ms) => {
            Some(Obstacle::NotBefore { at_ms })
        }
        (_, quiet_ms) => quiet_ms.map(|until_ms| Obstacle::Quiet { until_ms }),
    })
}

impl Queue<'_> {
    /// Why no render is started, if none is.
    pub async fn obstacle(&self) -> Result<Option<Obstacle>> {
        if !InstanceLock::is_held(&self.config.state) {
            return Ok(Some(Obstacle::NoDaemon));
        }
        let (quiet, zone) = (&self.config.power.quiet, daemon_zone(self.config));
        obstacle(&self.store, (quiet, &zone), self.clock.now_ms()).await
    }

    /// Why nothing at all is started although a daemon runs, for nobody knows how long: a pause, a
    /// disk that takes nothing, a hot card. When quiet hours end is known.
    pub(super) async fn stopped(&self) -> Option<String> {
        if let Ok(Some(pause)) = self.store.paused().await {
            return Some(Obstacle::Paused(pause).to_string());
        }
        let quiet = &self.config.power.quiet;
        if quiet.until_ms(self.clock.now_ms(), &daemon_zone(self.config)).is_some() {
            return None;
        }
        let hold = status::read(&self.config.state)?.hold?;
        let has_daemon = InstanceLock::is_held(&self.config.state);
        has_daemon.then(|| format!("nothing is started for a while: {hold}"))
    }
}
