//! What keeps renders from being started: it is told in the log, and may end a daemon that is to end
//! when no work is left.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Daemon, PartEnd};
use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::queue::{self, Obstacle};
use crate::spelling::count;
use crate::store::{Pause, Store, StoreError};

/// How often a daemon that ends when idle looks whether it is.
const IDLE_POLL: Duration = Duration::from_millis(50);

/// The pause between two queries for what keeps all renders waiting.
const OBSTACLE_POLL: Duration = Duration::from_secs(1);

/// Why a daemon that was to end when no work is left has ended with some. Whoever paused the queue
/// before may be asleep: nobody would end the wait.
#[derive(Debug, thiserror::Error)]
#[error("nothing was started, {}: the queue is {pause}", waiting(*.renders))]
pub struct NothingStarted {
    renders: u64,
    pause: Pause,
}

fn waiting(renders: u64) -> String {
    let verb = if renders == 1 { "waits" } else { "wait" };
    format!("{} {verb}", count(renders, "render"))
}

/// Says in the log why nothing is started, once each time that this begins. Of quiet hours the hold
/// tells.
pub(super) async fn tell_obstacles(
    config: LiveConfig,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> PartEnd {
    let mut told = None;
    loop {
        let now = config.now();
        let quiet = (&now.power.quiet, &TimeZone::system());
        let obstacle = match queue::obstacle(&store, quiet, clock.now_ms()).await {
            Err(error) if error.may_pass_for_a_read() => None,
            known => known?,
        };
        let is_told = matches!(obstacle, Some(Obstacle::Quiet { .. })) || obstacle == told;
        if let Some(obstacle) = obstacle.as_ref().filter(|_| !is_told) {
            info!("{obstacle}");
        }
        told = obstacle;
        tokio::select! {
            () = sleep(OBSTACLE_POLL) => (),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

impl Daemon {
    /// Returns when no job file waits and no render is queued or running. An error where the queue
    /// was paused before the daemon began, and still is: a pause that comes later is waited for.
    pub(super) async fn until_idle(&self, waiting: watch::Receiver<usize>) -> anyhow::Result<()> {
        let paused_before = self.paused().await?;
        loop {
            // In this order: a file that is taken in between the two looks is then in the store.
            let files = *waiting.borrow();
            if files == 0 && self.is_idle().await? {
                return Ok(());
            }
            if files == 0
                && let Some(pause) = &paused_before
                && self.paused().await?.as_ref() == Some(pause)
            {
                let renders = self.store.to_do().await?;
                return Err(NothingStarted { renders, pause: pause.clone() }.into());
            }
            sleep(IDLE_POLL).await;
        }
    }

    /// The pause; while the database cannot be read there is none that anybody knows.
    async fn paused(&self) -> Result<Option<Pause>, StoreError> {
        match self.store.paused().await {
            Err(error) if error.may_pass_for_a_read() => Ok(None),
            known => known,
        }
    }

    /// Whether no render is queued or running and nothing is to be told of one now. While the
    /// database cannot be read nobody knows, and the daemon goes on.
    async fn is_idle(&self) -> Result<bool, StoreError> {
        let config = self.config.now();
        let models: Vec<&str> = config.model_names().collect();
        let idle = match self.store.is_idle(&models).await {
            Ok(true) => self.store.has_due(self.clock.now_ms()).await.map(|has_due| !has_due),
            other => other,
        };
        match idle {
            Err(error) if error.may_pass_for_a_read() => Ok(false),
            known => known,
        }
    }
}
