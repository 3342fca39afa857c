//! File descriptors: how many this process may have, and how many of them its own work leaves to
//! those who ask over HTTP. Each picture, each connection and each program that is started takes
//! some; where none is left, nothing can be opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// More are of no use here.
const WANTED: u64 = 4096;

/// For the queue: its databases, folders, pictures, its worker and its hooks. A daemon at work has
/// about forty; a model's files and a backup come and go.
const OF_QUEUE: u64 = 128;

/// Takes as many as are allowed and of use: usual limits leave room to those who know that they
/// can do with many.
pub fn raise() {
    let (wanted, maximum) = (attainable(), getrlimit(Resource::Nofile).maximum);
    if allowed() < wanted {
        let more = Rlimit { current: Some(wanted), maximum };
        if let Err(error) = setrlimit(Resource::Nofile, more) {
            warn!(%error, "no more files can be open at once");
        }
    }
}

/// How many this process would have after [`raise`].
pub fn attainable() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    allowed().max(maximum.min(WANTED))
}

/// How many this process may have.
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many of `allowed` are left to whoever asks.
pub fn left_of(allowed: u64) -> u64 {
    allowed.saturating_sub(OF_QUEUE)
}

/// So many must be allowed that so many are left.
pub fn needed_for(left: u64) -> u64 {
    left + OF_QUEUE
}
