//! What systemd is told: READY, STATUS, STOPPING, and WATCHDOG after proof of progress; and what it
//! has opened for us. Silent where there is no systemd.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

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

/// The first socket that systemd has opened for this process, if it has.
///
/// # Errors
/// Where its variables say something that cannot be.
pub fn inherited() -> io::Result<Option<RawFd>> {
    Ok(sd_notify::listen_fds()?.next())
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
    let mut looked_at = Instant::now();
    loop {
        let line = status.borrow_and_update().line();
        notify(&[NotifyState::Status(&line)]);
        let gap = looked_at.elapsed();
        looked_at = Instant::now();
        if watchdog.is_some_and(|limit| is_alive(heartbeat.age(), limit, gap)) {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = tokio::time::sleep(period) => (),
            () = stop.cancelled() => return,
        }
    }
}

/// Whether the watchdog is fed, by the age of the last heartbeat and the time since the last look.
/// After a look that came late the whole process had stood still: then an old heartbeat says nothing,
/// and the next one would come too late for a watchdog of `limit`.
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
