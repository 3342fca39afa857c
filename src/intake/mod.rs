//! The watched folder: the scan is the truth, notify is a hint.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::spec::Rules;
use crate::store::Store;

/// Takes job files from a folder into the store.
pub struct Intake {}

impl Intake {
    /// Makes `jobs/`, `jobs/accepted/` and `jobs/rejected/` where they are missing and starts watching. `accepted` is
    /// notified after each transaction that took jobs in.
    pub fn open(
        _folder: PathBuf,
        _rules: Rules,
        _store: Arc<Store>,
        _clock: Arc<dyn Clock>,
        _accepted: Arc<Notify>,
    ) -> io::Result<Intake> {
        todo!()
    }

    /// One look at the folder: takes in or rejects what is ready; the number of job files that still wait to be whole.
    pub async fn scan(&mut self) -> io::Result<usize> {
        todo!()
    }

    /// Scans on every hint and at intervals, until `stop`.
    pub async fn run(self, _stop: CancellationToken) {
        todo!()
    }
}
