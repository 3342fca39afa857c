//! What systemd is told: READY, STATUS, STOPPING, and WATCHDOG after proof of progress. Silent
//! where there is no systemd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Heartbeat;
use crate::status::Status;

/// Tells systemd that the database is open. Jobs are taken in as soon as the model's folder can be
/// read, while the model is still being loaded; STATUS says how far that is.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the shutdown has begun.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Keeps the status line true, and feeds the watchdog while the dispatcher's heartbeat is young,
/// until `stop`.
pub async fn watch(
    mut status: watch::Receiver<Status>,
    heartbeat: Heartbeat,
    stop: CancellationToken,
) {
    let watchdog = sd_notify::watchdog_enabled();
    let period = watchdog.map_or(Duration::from_secs(5), |limit| limit / 3);
    loop {
        let line = status.borrow_and_update().line();
        notify(&[NotifyState::Status(&line)]);
        if watchdog.is_some_and(|limit| heartbeat.age() < limit / 2) {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = tokio::time::sleep(period) => (),
            () = stop.cancelled() => return,
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
