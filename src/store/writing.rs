//! How this program comes to write, and lets others write in between.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::MutexGuard;
use tokio::time::sleep;
use tracing::warn;

use super::barrier::disk;
use super::log_index::{IndexFit, LogIndex};
use super::{Access, Result, Store, StoreError};
use crate::access::no_access;
use crate::files;

/// A transaction that may write. Always commit it, or roll it back and wait for that: a dropped one
/// keeps its lock until its connection is used again.
pub(super) struct Writing {
    transaction: Transaction<'static, Sqlite>,
    index: Option<Arc<LogIndex>>,
}

impl Writing {
    /// What was read by an index that was overwritten meanwhile is no reason to write anything.
    pub(super) async fn commit(self) -> Result<()> {
        let why = match self.index.as_ref().map_or(Ok(true), |index| index.is_as_known()) {
            Ok(true) => return Ok(self.transaction.commit().await?),
            Ok(false) => OTHER_INDEX.to_owned(),
            Err(error) => disk(error).to_string(),
        };
        self.rollback().await?;
        Err(StoreError::Starved(why))
    }

    pub(super) async fn rollback(self) -> Result<()> {
        Ok(self.transaction.rollback().await?)
    }
}

impl Deref for Writing {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

/// So often an index is made anew before one transaction begins.
const MENDS_MAX: u32 = 3;

const OTHER_INDEX: &str = "the index of its log (its name with -shm behind) was overwritten; the \
                           daemon makes it anew within seconds";

const OTHER_LOG: &str = "its log (its name with -wal behind) was overwritten";

impl Store {
    /// Takes the write lock at once, so that nothing that is read inside can be out of date. Gives
    /// up with `Busy` after the busy time-out. SQLite itself says only that the database is
    /// read-only, not which and why.
    pub(super) async fn begin(&self) -> Result<Writing> {
        if let Some(why) = no_access(&self.path) {
            return Err(StoreError::Unusable(why));
        }
        for _ in 0..MENDS_MAX {
            let begun = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::from);
            let is_in_doubt = matches!(begun, Ok(_) | Err(StoreError::Suspect(_)));
            let fit = if is_in_doubt { self.index_fit().await } else { Ok(IndexFit::Fits) };
            if let Ok(IndexFit::Fits) = fit {
                return Ok(Writing { transaction: begun?, index: self.log_index.clone() });
            }
            if let Ok(transaction) = begun {
                transaction.rollback().await?;
            }
            // Nothing was written where the disk did not give the log to read.
            self.mend_index(fit.map_err(|error| StoreError::Starved(error.to_string()))?)?;
        }
        Err(StoreError::Starved(OTHER_INDEX.to_owned()))
    }

    /// How the index of the log fits to it, while nobody writes.
    pub(super) async fn index_fit(&self) -> Result<IndexFit> {
        let Some(index) = self.log_index.clone() else { return Ok(IndexFit::Fits) };
        let looked = tokio::task::spawn_blocking(move || index.look()).await;
        looked.map_err(|error| disk(io::Error::other(error)))?.map_err(disk)
    }

    /// Has SQLite make an index anew that does not `fit`. Only the daemon knows what the log was
    /// like before.
    fn mend_index(&self, fit: IndexFit) -> Result<()> {
        match (fit, self.access) {
            (IndexFit::LogWrong, _) => Err(StoreError::Suspect(OTHER_LOG.to_owned())),
            (_, Access::Client) => Err(StoreError::Starved(OTHER_INDEX.to_owned())),
            (_, Access::Daemon) => {
                warn!("the index of the database's log was overwritten; it is made anew");
                self.distrust_log().map_err(disk)
            }
        }
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
