//! How this program comes to write, and lets others write in between.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sqlx::{Sqlite, Transaction};
use tokio::sync::MutexGuard;
use tokio::time::sleep;

use super::{Access, Result, Store, StoreError};
use crate::access::no_access;
use crate::files;

/// A transaction that may write. Always commit it, or roll it back and wait for that: a dropped one
/// keeps its lock until its connection is used again.
pub(super) type Writing = Transaction<'static, Sqlite>;

impl Store {
    /// Takes the write lock at once, so that nothing that is read inside can be out of date. Gives
    /// up with `Busy` after the busy time-out. SQLite itself says only that the database is
    /// read-only, not which and why.
    pub(super) async fn begin(&self) -> Result<Writing> {
        if let Some(why) = no_access(&self.path) {
            return Err(StoreError::Unusable(why));
        }
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Long changes go on for so long before others are let in.
const WORK: Duration = Duration::from_millis(100);

/// Who waits for SQLite's write lock is not told that it is free, but looks again and again: in the
/// first quarter of a second each 50 ms at the latest.
const REST: Duration = Duration::from_millis(50);

/// Between two looks whether another program's turn is over, and for how long it is looked: one
/// that was stopped in its turn holds nobody up for ever.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 200;

/// How the long changes of this store went on lately.
#[derive(Debug)]
pub(super) struct Turns {
    /// They have worked since then without a rest.
    since: Instant,
    /// The last turn ended then.
    ended: Instant,
}

/// The turn of one long change, for one transaction.
pub(super) struct WriteTurn<'s> {
    turns: MutexGuard<'s, Turns>,
    _folder: Option<File>,
}

impl Store {
    /// Before each transaction of a change that has many, or a large one, and held until that is
    /// committed. Several such changes, of this program and of others, go on by turns, and rest
    /// together: while each rests for itself the others go on, and the daemon never finds the
    /// write lock free. The daemon's own changes wait for none of them.
    pub(super) async fn turn(&self) -> Option<WriteTurn<'_>> {
        if self.access == Access::Daemon {
            return None;
        }
        let (mut turns, is_contended) = match self.turns.try_lock() {
            Ok(turns) => (turns, false),
            Err(_) => (self.turns.lock().await, true),
        };
        if turns.ended.elapsed() >= REST {
            turns.since = Instant::now();
        } else if is_contended || turns.since.elapsed() >= WORK {
            sleep(REST).await;
            turns.since = Instant::now();
        }
        let (folder, has_waited) = self.lock_folder().await;
        if has_waited {
            sleep(REST).await;
            turns.since = Instant::now();
        }
        Some(WriteTurn { turns, _folder: folder })
    }

    /// Keeps long changes of other programs out, and says whether one had to be waited for. Where
    /// the file system has no such locks, the write lock alone orders them.
    async fn lock_folder(&self) -> (Option<File>, bool) {
        let folder = self.path.parent().and_then(|folder| files::open_folder(folder).ok());
        let Some(folder) = folder.map(File::from) else { return (None, false) };
        for looks in 0..LOOKS_MAX {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return (Some(folder), looks > 0),
                Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOOK).await,
                Err(_) => return (None, false),
            }
        }
        (None, true)
    }
}

impl Turns {
    /// Before the first one.
    pub(super) fn new() -> Turns {
        let now = Instant::now();
        Turns { since: now, ended: now }
    }
}

impl Drop for WriteTurn<'_> {
    fn drop(&mut self) {
        self.turns.ended = Instant::now();
    }
}
