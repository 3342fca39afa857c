//! Which jobs calls wait for, so that the last one that hangs up, and no other, ends its job.

use std::collections::HashMap;

/// By the jobs' ids: no more of them than there are calls that wait.
#[derive(Debug, Default)]
pub struct WaitedJobs(HashMap<i64, WaitedJob>);

#[derive(Debug)]
struct WaitedJob {
    /// At least one.
    calls: u32,
    /// Somebody wants it made who does not wait for it.
    is_kept: bool,
}

impl WaitedJobs {
    /// A call waits for the job. One that no call has brought is wanted by whoever did.
    pub fn join(&mut self, job_id: i64, is_new: bool) {
        let job = self.0.entry(job_id).or_insert(WaitedJob { calls: 0, is_kept: !is_new });
        job.calls += 1;
    }

    /// Somebody was told that the job is made, and does not wait for it.
    pub fn keep(&mut self, job_id: i64) {
        if let Some(job) = self.0.get_mut(&job_id) {
            job.is_kept = true;
        }
    }

    /// A call waits no longer. Whether nobody wants the job any more.
    pub fn leave(&mut self, job_id: i64) -> bool {
        let Some(job) = self.0.get_mut(&job_id) else { return false };
        job.calls -= 1;
        if job.calls > 0 {
            return false;
        }
        self.0.remove(&job_id).is_some_and(|job| !job.is_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_ends_its_job_unless_somebody_else_wants_it() {
        let mut waited = WaitedJobs::default();
        waited.join(1, true);
        waited.join(1, false);
        assert!(!waited.leave(1), "another one waits");
        assert!(waited.leave(1), "the last one");
        waited.join(2, true);
        waited.keep(2);
        assert!(!waited.leave(2), "it was promised to somebody");
        waited.join(3, false);
        assert!(!waited.leave(3), "it was there before");
        assert!(waited.0.is_empty());
    }
}
