//! The hold: nothing is started for a while, because the disk would not take a picture or a row, or
//! because daemon.toml wants it so.
//! People are told of it once, and it ends by itself.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::spelling::without_codes;
use crate::status::{HoldKind, Status};

/// How long nothing is started after a picture could not be written: each try costs a decode.
const PAUSE: Duration = Duration::from_secs(15);

/// Whether something may be started.
pub(super) struct Hold {
    status: watch::Sender<Status>,
    /// The reason that people were told last; it is kept until a picture is done.
    reason: Option<String>,
    until: Instant,
}

impl Hold {
    pub(super) fn new(status: watch::Sender<Status>) -> Hold {
        Hold { status, reason: None, until: Instant::now() }
    }

    /// Starts nothing for a while.
    pub(super) fn pause(&mut self, reason: String) {
        self.tell(HoldKind::Outputs, reason);
        self.until = Instant::now() + PAUSE;
    }

    /// Whether the pause is still going on.
    pub(super) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Says why nothing is started, unless that was the last thing said.
    pub(super) fn tell(&mut self, kind: HoldKind, reason: String) {
        let reason = without_codes(&reason).into_owned();
        if self.reason.as_ref() != Some(&reason) {
            match kind.is_wanted() {
                true => info!(%reason, "nothing is started for a while"),
                false => warn!(%reason, "nothing is started for a while"),
            }
        }
        self.show(Some((kind, reason.clone())));
        self.reason = Some(reason);
    }

    /// Clears the shown reason: nothing waits for it, or a render is started to see whether it can
    /// be finished by now.
    pub(super) fn lift(&self) {
        self.show(None);
    }

    /// Notifies watchers only of a change: this is called at every look at the queue.
    fn show(&self, hold: Option<(HoldKind, String)>) {
        let (kind, reason) = hold.unzip();
        self.status.send_if_modified(|status| {
            let changed = status.hold != reason;
            status.hold_is_wanted = kind.is_some_and(HoldKind::is_wanted);
            (status.hold, status.hold_kind) = (reason, kind);
            changed
        });
    }

    /// Ends the hold: a picture is done, so whatever held the queue is over.
    pub(super) fn end(&mut self) {
        if self.reason.take().is_some() {
            info!("pictures are made again");
        }
        self.lift();
    }
}
