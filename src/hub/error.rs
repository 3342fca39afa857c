//! Why a model was not fetched.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::instance::LockError;

/// What ended a fetch, in words that name the file and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It was not said well enough what is wanted.
    #[error("{0}")]
    Unclear(String),
    /// For the user to mend: no such repository, no right to it, a file in the way.
    #[error("{0}")]
    Refused(String),
    /// The same command may succeed later: the network, the hub or the disk is at fault.
    #[error("{0}")]
    Passing(String),
    /// What came is not what the hub promised, twice.
    #[error("{0}")]
    Wrong(String),
    /// Somebody asked for the end.
    #[error("stopped; the same command goes on from here")]
    Stopped,
    /// A file or a folder here cannot be used.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Another zimaged fetches into the same folder.
    #[error("{0}: it fetches this model; wait for its end")]
    Lock(LockError),
}

impl HubError {
    /// For the file `path`, with which the system did not do what was asked.
    pub fn of_io(path: &Path, source: io::Error) -> HubError {
        HubError::File { path: path.to_owned(), source }
    }

    /// Whether the very same command may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            HubError::Passing(_) | HubError::Stopped => true,
            HubError::File { source, .. } => files::may_pass(source),
            HubError::Lock(error) => matches!(error, LockError::Taken { .. }),
            HubError::Unclear(_) | HubError::Refused(_) | HubError::Wrong(_) => false,
        }
    }
}
