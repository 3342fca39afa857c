//! What users change: cancel, retry, pause, resume. Marks in the database that the dispatcher acts
//! on.

use super::Queue;
use crate::store::{Cancelled, Result, Retried, Selection};

impl Queue<'_> {
    /// Cancels what of the selection has not ended; what runs stops at its next step.
    pub async fn cancel(&self, what: Selection) -> Result<Cancelled> {
        self.store.cancel(what, self.clock.now_ms()).await
    }

    /// Makes a new job of what of the selection failed or was cancelled and is not being rendered
    /// again already.
    pub async fn retry(&self, what: Selection) -> Result<Retried> {
        self.store.retry(what, self.clock.now_ms()).await
    }

    /// Starts no further render until [`Queue::resume`], also after a restart of the daemon.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        self.store.pause(reason, self.clock.now_ms()).await
    }

    /// Ends a pause, if there is one.
    pub async fn resume(&self) -> Result<()> {
        self.store.resume(self.clock.now_ms()).await
    }
}
