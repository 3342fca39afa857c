//! How this program comes to write, and lets others write in between.

use std::time::{Duration, Instant};

use sqlx::{Sqlite, Transaction};
use tokio::time::sleep;

use super::{Result, Store, StoreError};
use crate::access::no_access;

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

/// A change of many transactions goes on for so long before others are let in.
const WORK: Duration = Duration::from_millis(100);

/// Who waits for SQLite's write lock is not told that it is free, but looks again and again: in the
/// first quarter of a second each 50 ms at the latest.
const PAUSE: Duration = Duration::from_millis(50);

/// The pauses in a change of many transactions: if each began right after the one before, another
/// process, the daemon for instance, would never find the lock free.
#[derive(Debug)]
pub struct Pauses {
    since: Instant,
}

impl Pauses {
    /// With the beginning of the change.
    pub fn begin() -> Pauses {
        Pauses { since: Instant::now() }
    }

    /// Before each of its transactions: lets others write, if the work has gone on for a while.
    pub async fn keep(&mut self) {
        if self.since.elapsed() >= WORK {
            sleep(PAUSE).await;
            self.since = Instant::now();
        }
    }
}
