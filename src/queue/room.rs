//! The room on the disks that are written to.

use std::path::PathBuf;

use super::Queue;
use crate::files;

/// A folder that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRoom {
    /// What it is called in daemon.toml.
    pub name: &'static str,
    pub path: PathBuf,
    /// What its disk has left for this user; `None` where nobody can say.
    pub free_bytes: Option<u64>,
}

impl Queue<'_> {
    /// The folders of the queue. Asks the disks, which may take a while.
    pub fn rooms(&self) -> [FolderRoom; 3] {
        let config = self.config;
        let folders =
            [("jobs", &config.jobs), ("outputs", &config.outputs), ("state", &config.state)];
        folders.map(|(name, path)| {
            let free_bytes = files::free_bytes(path).ok();
            FolderRoom { name, path: path.clone(), free_bytes }
        })
    }
}
