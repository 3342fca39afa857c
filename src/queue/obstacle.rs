//! What keeps every render from being started.

use std::fmt;

use serde::Serialize;

use super::Queue;
use crate::clock::{self, Clock, SystemClock};
use crate::instance::InstanceLock;
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
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoDaemon => write!(f, "no daemon is running; start it with: zimaged run"),
            Obstacle::Paused(pause) => write!(f, "nothing is started: {pause}"),
            Obstacle::NotBefore { at_ms } => {
                let at = clock::local(*at_ms).strftime("%Y-%m-%d %H:%M:%S %Z");
                let away = distance((at_ms - SystemClock.now_ms()).max(0));
                write!(f, "nothing is started before {at}, {away}: every render that waits has ")?;
                write!(f, "its time (not_before or window)")
            }
        }
    }
}

/// Why a daemon that runs starts no render at `now_ms`, if it does not.
pub async fn obstacle(store: &Store, now_ms: i64) -> Result<Option<Obstacle>> {
    if let Some(pause) = store.paused().await? {
        return Ok(Some(Obstacle::Paused(pause)));
    }
    let earliest_ms = store.earliest_ms(now_ms).await?;
    Ok(earliest_ms.filter(|at_ms| *at_ms > now_ms).map(|at_ms| Obstacle::NotBefore { at_ms }))
}

impl Queue<'_> {
    /// Why no render is started, if none is.
    pub async fn obstacle(&self) -> Result<Option<Obstacle>> {
        if !InstanceLock::is_held(&self.config.state) {
            return Ok(Some(Obstacle::NoDaemon));
        }
        obstacle(&self.store, self.clock.now_ms()).await
    }

    /// Why nothing at all is started although a daemon runs: a pause, or a disk that takes nothing.
    pub(super) async fn stopped(&self) -> Option<String> {
        if let Ok(Some(pause)) = self.store.paused().await {
            return Some(Obstacle::Paused(pause).to_string());
        }
        let hold = status::read(&self.config.state)?.hold?;
        let has_daemon = InstanceLock::is_held(&self.config.state);
        has_daemon.then(|| format!("nothing is started for a while: {hold}"))
    }
}
