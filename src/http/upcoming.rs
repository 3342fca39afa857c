//! What comes next, found out only as often as that is worth: of half a million renders that wait
//! it takes the better part of a second, and open pages ask once a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::queue::{Queue, Upcoming};
use crate::store::Result;

/// A page shows the first jobs and counts the others.
pub const JOBS_MAX: u32 = 100;

/// While the queue changes, what took long is not asked for again before this many times as long.
const SHARE: u32 = 25;

/// And then at the latest.
const CHANGED_AFTER: Duration = Duration::from_secs(10);

/// Where nothing has changed only the clock has gone on.
const UNCHANGED_AFTER: Duration = Duration::from_secs(60);

/// What was found out last.
#[derive(Default)]
pub struct UpcomingCache {
    known: Option<Known>,
}

struct Known {
    upcoming: Arc<Upcoming>,
    /// The newest event of then: each change of the queue is one.
    last_event: i64,
    at: Instant,
    took: Duration,
}

impl Known {
    fn is_good(&self, last_event: i64, now: Instant) -> bool {
        let good_for = match self.last_event == last_event {
            true => UNCHANGED_AFTER,
            // Whoever has just sent the first job would be told that nothing waits.
            false if self.upcoming.outlook.renders == 0 => Duration::ZERO,
            false => (self.took * SHARE).min(CHANGED_AFTER),
        };
        now < self.at + good_for
    }
}

impl UpcomingCache {
    /// What comes next in the queue.
    pub async fn get(&mut self, queue: &Queue<'_>) -> Result<Arc<Upcoming>> {
        let last_event = queue.store().last_event().await?;
        let began = Instant::now();
        if let Some(known) = self.known.as_ref().filter(|known| known.is_good(last_event, began)) {
            return Ok(known.upcoming.clone());
        }
        let upcoming = Arc::new(queue.upcoming(JOBS_MAX).await?);
        let at = Instant::now();
        let known = Known { upcoming: upcoming.clone(), last_event, at, took: at - began };
        self.known = Some(known);
        Ok(upcoming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Outlook;

    #[test]
    fn what_took_long_is_asked_for_seldom_and_what_has_not_changed_more_seldom() {
        let at = Instant::now();
        let of = |renders| {
            let outlook = Outlook { renders, ..Outlook::default() };
            Arc::new(Upcoming { outlook, ..Upcoming::default() })
        };
        let known = |took_ms| Known {
            upcoming: of(1),
            last_event: 7,
            at,
            took: Duration::from_millis(took_ms),
        };
        let after = |ms| at + Duration::from_millis(ms);
        assert!(!known(10).is_good(8, after(300)), "a small queue is told as it changes");
        assert!(known(400).is_good(8, after(9_900)), "a large one every ten seconds");
        assert!(!known(60_000).is_good(8, after(10_100)), "and then for certain");
        let empty = Known { upcoming: of(0), ..known(400) };
        assert!(empty.is_good(7, after(300)) && !empty.is_good(8, after(0)), "the first job");
        assert!(known(10).is_good(7, after(59_000)) && !known(10).is_good(7, after(61_000)));
    }
}
