//! What the daemon is doing, and what is to be done.

use std::path::PathBuf;

use serde::Serialize;

use super::Queue;
use crate::instance::InstanceLock;
use crate::job::state::State;
use crate::status::{self, Status};
use crate::store::{JobRow, Outlook, Pause, Result, WorkerRow};

/// Of so many jobs that were begun the status says how far they are.
const BEGUN_MAX: u32 = 5;

/// The queue and its daemon at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStatus {
    /// The folder of the database: which queue this is.
    pub state_folder: PathBuf,
    /// The configuration that names it; `None` where all is default.
    pub config: Option<PathBuf>,
    /// Whether a daemon runs.
    pub running: bool,
    /// What it says of itself; nothing yet where it has just been started.
    pub daemon: Option<Status>,
    /// The newest jobs of which something was begun.
    pub begun: Vec<JobRow>,
    /// Renders.
    pub queued: u64,
    pub outlook: Outlook,
    pub paused: Option<Pause>,
    /// The model that was loaded last.
    pub model: Option<WorkerRow>,
}

impl Queue<'_> {
    /// How it stands now.
    pub async fn status(&self) -> Result<QueueStatus> {
        let running = InstanceLock::is_held(&self.config.state);
        let store = &self.store;
        Ok(QueueStatus {
            state_folder: self.config.state.clone(),
            config: self.config.file.clone(),
            running,
            // A file without a lock is what a killed daemon left.
            daemon: status::read(&self.config.state).filter(|_| running),
            begun: store.jobs(Some(State::Running), None, BEGUN_MAX).await?,
            queued: store.queued().await?,
            outlook: store.outlook(self.clock.now_ms()).await?,
            paused: store.paused().await?,
            model: store.last_worker().await?,
        })
    }
}
