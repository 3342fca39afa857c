//! The worker's way to its supervisor: a private copy of standard output.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdout, stderr, stdout};

use super::{EXIT_NO_SUPERVISOR, exit};
use crate::worker::protocol::WorkerEvent;

/// Writes events, each at once and whole, from any thread.
pub struct Events(Mutex<File>);

impl Events {
    /// Takes standard output for the events; what libraries print there goes to standard error from
    /// now on.
    pub fn take_stdout() -> io::Result<Events> {
        let private = fcntl_dupfd_cloexec(stdout(), 3)?;
        dup2_stdout(stderr())?;
        Ok(Events(Mutex::new(File::from(private))))
    }

    /// Sends `event`. Without a supervisor that reads, there is nothing to go on for: the process
    /// ends.
    pub fn send(&self, event: &WorkerEvent) {
        let line = serde_json::to_string(event).map_err(io::Error::from);
        let sent = line.and_then(|line| self.file().write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = sent {
            tracing::error!("the supervisor cannot be told {event:?}: {error}");
            exit(EXIT_NO_SUPERVISOR);
        }
    }

    /// The descriptor itself, for an engine that is to spoil the protocol.
    pub fn raw(&self) -> io::Result<File> {
        self.file().try_clone()
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
