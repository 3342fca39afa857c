//! What the queue's log of events tells of.

use serde::{Deserialize, Serialize};

use crate::spelling::spelled_by_serde;

/// The kind of an entry in the table `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A job was taken into the queue.
    Accepted,
    /// A job file was set aside.
    Rejected,
    /// Renders of an earlier job are rendered again.
    Retried,
    Paused,
    Resumed,
    /// Nothing is started for a while, because daemon.toml wants it so: quiet hours, or a card
    /// above a ceiling.
    Held,
    /// That is over.
    HoldEnded,
    /// The user changed the priority, the times or the tags of what has not ended.
    Edited,
    /// A worker has loaded its model.
    Loaded,
    /// An attempt begins.
    Attempt,
    /// The user cancelled a render that runs; it stops at its next step.
    CancelWanted,
    /// A render was found running at start.
    Orphaned,
    /// A job's row was removed by a hand while renders of it waited.
    Removed,
    // The other kinds are the outcomes of attempts.
    Done,
    OutOfMemory,
    Crashed,
    Interrupted,
    Cancelled,
    Failed,
}

spelled_by_serde!(EventKind);
