//! The supervisor's side of a worker: start it, send requests, receive events, learn how it died.

use std::path::Path;
use std::time::Duration;

use super::protocol::{Event, Load, Request};

/// A running worker child.
pub struct Worker {}

/// How a worker ended, in words: "killed by signal 9 (SIGKILL)", "exit status 1", "protocol error: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker died: {0}")]
pub struct Death(pub String);

impl Worker {
    /// Starts `exe worker` and sends it the load request.
    pub async fn spawn(_exe: &Path, _load: &Load) -> Result<Worker, Death> {
        todo!()
    }

    /// The operating system's process id.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Sends a request. Never blocks for long: a worker that does not read is dead.
    pub async fn send(&mut self, _request: &Request) -> Result<(), Death> {
        todo!()
    }

    /// The next event. Cancel safe. A line that is too long, not UTF-8 or no event is a protocol error: the worker is
    /// killed and the death says so.
    pub async fn event(&mut self) -> Result<Event, Death> {
        todo!()
    }

    /// Closes its input and waits up to `grace`, then kills it; never waits without a limit.
    pub async fn stop(self, _grace: Duration) {
        todo!()
    }

    /// Kills it at once (a hang, a fatal failure) and says how it ended.
    pub async fn kill(self) -> Death {
        todo!()
    }
}
