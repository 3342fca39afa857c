//! What lies in `jobs/` and is left alone: told once in the log, and by `zimaged status`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// Notes what a scan of `folder` found, and tells of what is new and stays. What was there
    /// before the start is told at once, unless it has lain there since the start `before`, which
    /// told it.
    pub fn see(
        &mut self,
        (folder, before): (&Path, Option<SystemTime>),
        found: Vec<(OsString, Why)>,
        now: Instant,
    ) {
        let is_start = !mem::replace(&mut self.was_listed, true);
        let lasting = if is_start { Duration::ZERO } else { LASTING };
        let mut earlier = mem::take(&mut self.seen);
        let mut new = Vec::new();
        for (name, why) in found {
            let mut seen = earlier.remove(&name).unwrap_or_else(|| {
                let is_told = is_start && is_older(&folder.join(&name), before);
                Seen { since: now, is_told }
            });
            let lasts = now.saturating_duration_since(seen.since) >= lasting;
            // Its writer is to rename it: nobody needs to be told.
            if lasts && !seen.is_told && why != Why::Unfinished {
                seen.is_told = true;
                new.push((clean(&name), why));
            }
            self.seen.insert(name, seen);
        }
        tell(folder, new);
    }
}

/// Whether what lies there got its name or its content last before that time.
fn is_older(path: &Path, time: Option<SystemTime>) -> bool {
    let (Ok(facts), Some(time)) = (path.symlink_metadata(), time) else { return false };
    let Ok(time) = time.duration_since(UNIX_EPOCH) else { return false };
    let changed = Duration::new(facts.ctime().unsigned_abs(), facts.ctime_nsec() as u32);
    changed < time
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
