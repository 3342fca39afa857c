//! What lies in `jobs/` and is left alone: told once in the log, and by `zimaged status`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::warn;

use super::kind::Why;
use super::name::clean;

/// How long something must have been there to be told of: editors and copying programs make files
/// that are gone in a moment.
const LASTING: Duration = Duration::from_secs(5);

/// At most so many are told one by one; of more at once, their number.
const TOLD_MAX: usize = 5;

/// What is left alone, with when it was first seen. Bounded by what lies in the folder.
#[derive(Default)]
pub struct Alone {
    seen: HashMap<OsString, Seen>,
    was_listed: bool,
}

struct Seen {
    since: Instant,
    is_told: bool,
}

impl Alone {
    /// Notes what a scan found, and tells of what is new and stays. What was there before the start
    /// is told at once.
    pub fn see(&mut self, folder: &Path, found: Vec<(OsString, Why)>, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        let lasting = if self.was_listed { LASTING } else { Duration::ZERO };
        let mut new = Vec::new();
        for (name, why) in found {
            let mut seen = before.remove(&name).unwrap_or(Seen { since: now, is_told: false });
            let lasts = now.saturating_duration_since(seen.since) >= lasting;
            // Its writer is to rename it: nobody needs to be told.
            if lasts && !seen.is_told && why != Why::Unfinished {
                seen.is_told = true;
                new.push((clean(&name), why));
            }
            self.seen.insert(name, seen);
        }
        self.was_listed = true;
        tell(folder, new);
    }
}

fn tell(folder: &Path, mut new: Vec<(String, Why)>) {
    new.sort();
    for (name, why) in new.iter().take(TOLD_MAX) {
        warn!("{} is left alone: {why}", folder.join(name).display());
    }
    if new.len() > TOLD_MAX {
        warn!("and {} more are left alone, see zimaged status", new.len() - TOLD_MAX);
    }
}
