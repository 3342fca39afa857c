//! The instance lock: one daemon for a state folder and its job folder. Locks die with their
//! process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held for the daemon's life.
#[derive(Debug)]
pub struct InstanceLock {
    _files: Vec<File>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{folder} is in use by another zimaged (process {pid})")]
    Taken { folder: String, pid: String },
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
}

/// The lock file's name, in each locked folder.
const LOCK_NAME: &str = ".zimaged.lock";

impl InstanceLock {
    /// Locks all `folders`, which must exist.
    pub fn take(folders: &[&Path]) -> Result<InstanceLock, LockError> {
        let files = folders.iter().map(|folder| lock(folder)).collect::<Result<_, _>>()?;
        Ok(InstanceLock { _files: files })
    }

    /// True while a daemon holds the lock of `folder`.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = File::open(folder.join(LOCK_NAME)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }
}

fn lock(folder: &Path) -> Result<File, LockError> {
    let path = folder.join(LOCK_NAME);
    let io_error = |source| LockError::Io { path: path.display().to_string(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(io_error)?;
        return Err(LockError::Taken {
            folder: folder.display().to_string(),
            pid: pid.trim().to_owned(),
        });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
    writeln!(file, "{}", std::process::id()).map_err(io_error)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!InstanceLock::is_held(folder.path()));
        let held = InstanceLock::take(&[folder.path()]).expect("the first one gets it");
        assert!(InstanceLock::is_held(folder.path()));
        let error = InstanceLock::take(&[folder.path()]).expect_err("the second one does not");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        assert!(InstanceLock::take(&[folder.path()]).is_ok(), "the lock died with its holder");
    }
}
