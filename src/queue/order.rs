//! Where a job stands among those that wait: a place between two others is a matter of priorities.

use std::cmp::Reverse;

use super::{Edited, Given, Queue, QueueError, Which};
use crate::store::{Selection, StoreError};

/// So many jobs are looked at, from the first one on: more than a page shows.
const JOBS_MAX: u32 = 200;

/// A job that waits, as far as its place depends on it: what has a higher priority comes before,
/// and of the same what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank {
    job_id: i64,
    priority: i64,
}

impl Rank {
    /// The lowest priority by which it comes before the other.
    fn before(self, other: Rank) -> i64 {
        other.priority + i64::from(self.job_id > other.job_id)
    }

    /// The highest priority by which it comes after the other.
    fn after(self, other: Rank) -> i64 {
        other.priority - i64::from(self.job_id < other.job_id)
    }
}

impl Queue<'_> {
    /// Brings a job directly before another one that waits, or behind the last one where none is
    /// named. It gets another priority for that, and so do jobs above the place that would not stay
    /// above it. An error where one of both does not wait, or not among the first 200.
    pub async fn move_job(&self, job_id: i64, before: Option<i64>) -> Result<Edited, QueueError> {
        let mut ranks: Vec<Rank> = Vec::new();
        for row in self.store.first_jobs(self.clock.now_ms(), JOBS_MAX).await? {
            let (job_id, priority) = (row.job_id, row.waiting.priority);
            match ranks.iter_mut().find(|rank| rank.job_id == job_id) {
                Some(rank) => rank.priority = rank.priority.max(priority),
                None => ranks.push(Rank { job_id, priority }),
            }
        }
        // A job that runs is shown first, but its renders that wait have no other rank for that.
        ranks.sort_by_key(|rank| (Reverse(rank.priority), rank.job_id));
        let is_there = |job_id: i64| ranks.iter().any(|rank| rank.job_id == job_id);
        if let Some(absent) = [Some(job_id), before].into_iter().flatten().find(|id| !is_there(*id))
        {
            let why = format!("job {absent} is not among the first {JOBS_MAX} that wait");
            return Err(StoreError::NothingToDo(why).into());
        }
        let mut done = Edited::default();
        for rank in moved(ranks, job_id, before) {
            let which = Which::Named(vec![Selection::Job(rank.job_id)]);
            let priority = Given::number("priority", "priority", &rank.priority.to_string());
            done.add(self.edit(&which, &[priority]).await?);
        }
        Ok(done)
    }
}

/// The new ranks of those that need one, from the top down, so that none is overtaken meanwhile.
fn moved(mut ranks: Vec<Rank>, job_id: i64, before: Option<i64>) -> Vec<Rank> {
    let Some(from) = ranks.iter().position(|rank| rank.job_id == job_id) else { return Vec::new() };
    let old = ranks.remove(from);
    let place = ranks.iter().position(|rank| Some(rank.job_id) == before);
    if before == Some(job_id) || place.unwrap_or(ranks.len()) == from {
        return Vec::new();
    }
    let (above, below) = ranks.split_at(place.unwrap_or(ranks.len()));
    let priority = match (below.first(), above.last()) {
        (Some(next), _) => old.before(*next),
        (None, Some(last)) => old.after(*last),
        (None, None) => old.priority,
    };
    let mut beneath = Rank { priority, ..old };
    let mut changed = vec![beneath];
    for rank in above.iter().rev() {
        let priority = rank.before(beneath);
        if rank.priority >= priority {
            break;
        }
        beneath = Rank { priority, ..*rank };
        changed.push(beneath);
    }
    changed.reverse();
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranks(pairs: &[(i64, i64)]) -> Vec<Rank> {
        pairs.iter().map(|&(job_id, priority)| Rank { job_id, priority }).collect()
    }

    fn sorted(mut ranks: Vec<Rank>) -> Vec<i64> {
        ranks.sort_by_key(|rank| (-rank.priority, rank.job_id));
        ranks.into_iter().map(|rank| rank.job_id).collect()
    }

    #[test]
    fn no_more_is_changed_than_is_needed() {
        let equal = ranks(&[(1, 0), (2, 0), (3, 0)]);
        assert_eq!(moved(equal.clone(), 3, Some(2)), ranks(&[(1, 1), (3, 1)]));
        assert_eq!(moved(equal.clone(), 3, Some(1)), ranks(&[(3, 1)]));
        assert_eq!(moved(equal.clone(), 1, None), ranks(&[(1, -1)]));
        for (job_id, before) in [(2, Some(3)), (2, Some(2)), (3, None)] {
            assert_eq!(moved(equal.clone(), job_id, before), [], "it stands there");
        }
        assert_eq!(moved(ranks(&[(1, 9), (2, 0), (3, 0)]), 3, Some(2)), ranks(&[(3, 1)]));
    }

    proptest! {
        #[test]
        fn a_job_comes_to_its_place_and_the_others_keep_theirs(
            priorities in prop::collection::vec(-3_i64..3, 1..12),
            which in any::<prop::sample::Index>(),
            place in 0..12_usize,
        ) {
            let mut all: Vec<Rank> = (1..).zip(priorities)
                .map(|(job_id, priority)| Rank { job_id, priority }).collect();
            all.sort_by_key(|rank| (-rank.priority, rank.job_id));
            let job_id = which.get(&all).job_id;
            let mut wanted: Vec<i64> = all.iter().map(|rank| rank.job_id).collect();
            wanted.retain(|id| *id != job_id);
            let place = place.min(wanted.len());
            let before = wanted.get(place).copied();
            wanted.insert(place, job_id);
            for rank in moved(all.clone(), job_id, before) {
                all.iter_mut().find(|it| it.job_id == rank.job_id).expect("known").priority =
                    rank.priority;
            }
            prop_assert_eq!(sorted(all), wanted);
        }
    }
}
