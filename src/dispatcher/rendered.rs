//! An attempt between its rendering and its row.

use super::watcher::AttemptWatch;
use crate::attempt::{Candidate, Planned};

/// An attempt whose picture is made, and not yet in its place.
pub(super) struct Rendered {
    pub(super) candidate: Candidate,
    pub(super) planned: Planned,
    pub(super) attempt_id: i64,
    /// The picture's name, relative to the output folder.
    pub(super) path: String,
    pub(super) watch: AttemptWatch,
}
