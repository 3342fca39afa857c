//! The hold: nothing is started for a while, because the disk would not take a picture or a row. It
//! is told once, and ends by itself.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::heartbeat::Heartbeat;
use crate::status::Status;
use crate::store::StoreError;

/// How long nothing is started after a picture could not be written: each try costs a decode.
const PAUSE: Duration = Duration::from_secs(15);

/// Between two tries to write a row.
const ROW_PAUSE: Duration = Duration::from_secs(1);

/// Whether something may be started.
pub(super) struct Hold {
    status: watch::Sender<Status>,
    heartbeat: Heartbeat,
    /// What people were told last; until a picture is done.
    reason: Option<String>,
    until: Instant,
}

impl Hold {
    pub(super) fn new(status: watch::Sender<Status>, heartbeat: Heartbeat) -> Hold {
        Hold { status, heartbeat, reason: None, until: Instant::now() }
    }

    /// Nothing is to be started for a while.
    pub(super) fn pause(&mut self, reason: String) {
        self.tell(reason);
        self.until = Instant::now() + PAUSE;
    }

    /// Whether the pause lasts.
    pub(super) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Says why nothing is started, unless that was the last thing said.
    pub(super) fn tell(&mut self, reason: String) {
        if self.reason.as_ref() != Some(&reason) {
            warn!(%reason, "nothing is started for a while");
        }
        self.show(Some(reason.clone()));
        self.reason = Some(reason);
    }

    /// Nothing waits for it, or a render is started to see whether it can be finished by now.
    pub(super) fn lift(&self) {
        self.show(None);
    }

    /// Wakes nobody where nothing changes: this is said at every look at the folder.
    fn show(&self, reason: Option<String>) {
        self.status.send_if_modified(|status| {
            let changed = status.hold != reason;
            status.hold = reason;
            changed
        });
    }

    /// A picture is done: whatever held the queue is over.
    pub(super) fn over(&mut self) {
        if self.reason.take().is_some() {
            info!("pictures are made again");
        }
        self.lift();
    }

    /// Carries out a write to the database. Where it has no room or is locked by another program,
    /// the write is repeated until it succeeds or the daemon is told to `stop`: what has happened
    /// must become a row.
    pub(super) async fn record<T, F>(
        &mut self,
        stop: &CancellationToken,
        write: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut waited = false;
        loop {
            match write().await {
                Err(error) if error.may_pass() && !stop.is_cancelled() => {
                    self.tell(error.to_string())
                }
                written => {
                    if waited {
                        self.lift();
                    }
                    return written;
                }
            }
            waited = true;
            self.heartbeat.beat();
            stop.run_until_cancelled(sleep(ROW_PAUSE)).await;
        }
    }
}
