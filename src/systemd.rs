//! What systemd is told: READY, RELOADING, STATUS, STOPPING, that a long start goes on, and
//! WATCHDOG after proof of progress; and what it has opened for us. Silent where there is no
//! systemd.

use std::io;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::at_work::AtWork;
use crate::config::LiveConfig;
use crate::heartbeat::Heartbeat;
use crate::status::Status;
use crate::store::Store;

/// How often more time is asked for while a start goes on, and how much: an old database that is
/// changed to a new schema, or one with much to mend, takes longer than systemd gives to a start.
const START_LOOK: Duration = Duration::from_secs(10);
const START_EXTENSION_US: u32 = 60_000_000;

/// So often more time is asked for: a start that takes an hour hangs.
const START_LOOKS_MAX: u32 = 360;

/// Between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The first socket that systemd has opened for this process, if it has.
///
/// # Errors
/// Where its variables say something that cannot be.
pub fn inherited() -> io::Result<Option<RawFd>> {
    Ok(sd_notify::listen_fds()?.next())
}

/// Does what comes before [`ready`], and has systemd wait for it.
pub async fn start<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    for _ in 0..START_LOOKS_MAX {
        notify(&[NotifyState::ExtendTimeoutUsec(START_EXTENSION_US)]);
        if let Ok(done) = timeout(START_LOOK, work.as_mut()).await {
            return done;
        }
    }
    work.await
}

/// Tells systemd that the database is open. Jobs are taken in as soon as the model's folder can be
/// read, while the model is still being loaded; STATUS says how far that is.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the configuration is read anew, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // What Type=notify-reload knows the answer to its signal by.
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Tells systemd that the shutdown has begun.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog while the dispatcher's heartbeat is young, until `stop`. It waits for nothing
/// else: no database and no disk may keep it from its time.
pub async fn feed_watchdog(heartbeat: Heartbeat, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return stop.cancelled().await };
    let mut looked_at = Instant::now();
    loop {
        let gap = looked_at.elapsed();
        looked_at = Instant::now();
        if is_alive(heartbeat.age(), limit, gap) {
            notify(&[NotifyState::Watchdog]);
        }
        if stop.run_until_cancelled(sleep(limit / 3)).await.is_none() {
            return;
        }
    }
}

/// Keeps the status line true until `stop`.
pub async fn tell_status(
    config: LiveConfig,
    store: Arc<Store>,
    mut status: watch::Receiver<Status>,
    stop: CancellationToken,
) {
    // Without a service manager nothing is looked up for it.
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return stop.cancelled().await;
    }
    let mut at_work = AtWork::default();
    loop {
        let now = status.borrow_and_update().clone();
        let line = at_work.line(&config.now(), &store, &now, None).await;
        notify(&[NotifyState::Status(&line)]);
        if stop.run_until_cancelled(sleep(STATUS_INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// Whether the watchdog is fed, by the age of the last heartbeat and the time since the last look.
/// After a look that came late the whole process had stood still: then an old heartbeat says
/// nothing, and the next one would come too late for a watchdog of `limit`.
fn is_alive(beat_age: Duration, limit: Duration, gap: Duration) -> bool {
    beat_age < limit / 2 || gap > limit / 2
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // chaos 8
    #[test]
    fn a_frozen_process_is_not_taken_for_a_dispatcher_that_hangs() {
        let seconds = Duration::from_secs;
        let limit = seconds(60);
        assert!(is_alive(seconds(29), limit, seconds(20)));
        assert!(!is_alive(seconds(31), limit, seconds(20)), "it hangs");
        assert!(is_alive(seconds(50), limit, seconds(50)), "nobody ran");
    }
}
