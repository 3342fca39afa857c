//! A time-out that counts only the time in which this process ran. While the daemon is frozen (a
//! paused container, Ctrl-Z, a machine that sleeps) nobody could have told it anything, so that
//! time is not its worker's.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often whoever waits must look at the clock.
const LOOK: Duration = Duration::from_millis(250);

/// A look that comes later than this after the one before means that the process did not run. On a
/// loaded machine that is wrong at times, and only makes the wait a little longer.
const LATE: Duration = Duration::from_millis(750);

/// Runs out when the process has run for a given time.
#[derive(Clone, Debug)]
pub struct Countdown {
    deadline: Instant,
    seen_at: Instant,
}

impl Countdown {
    /// Begins at `now` and lasts for `limit`.
    pub fn new(limit: Duration, now: Instant) -> Countdown {
        Countdown { deadline: now + limit, seen_at: now }
    }

    /// Begins anew.
    pub fn restart(&mut self, limit: Duration, now: Instant) {
        *self = Countdown::new(limit, now);
    }

    /// When to look next.
    pub fn next_look(&self) -> Instant {
        (self.seen_at + LOOK).min(self.deadline)
    }

    /// Whether the time is up at `now`. Between two calls lies at most [`Countdown::next_look`],
    /// unless the process was frozen: that time does not count.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let gap = now.saturating_duration_since(self.seen_at);
        self.seen_at = self.seen_at.max(now);
        if gap > LATE {
            self.deadline += gap;
        }
        now >= self.deadline
    }
}

/// What `work` answers, or `None` when it has not within `limit`.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut countdown = Countdown::new(limit, Instant::now());
    loop {
        tokio::select! {
            // What has come is read before the clock is asked.
            biased;
            answer = work.as_mut() => return Some(answer),
            () = sleep_until(countdown.next_look()) => {
                if countdown.is_over(Instant::now()) {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    /// Looks at the clock as often as it must, from `from` until the time is up.
    fn runs_out_at(countdown: &mut Countdown, from: Instant) -> Instant {
        let mut now = from;
        while !countdown.is_over(now) {
            now = countdown.next_look();
        }
        now
    }

    // chaos 8
    #[test]
    fn time_in_which_the_process_was_frozen_does_not_count() {
        let start = Instant::now();
        let mut countdown = Countdown::new(LIMIT, start);
        assert_eq!(runs_out_at(&mut countdown, start), start + LIMIT);
        countdown.restart(LIMIT, start);
        let thawed = start + Duration::from_secs(60);
        assert!(!countdown.is_over(thawed), "frozen for longer than the limit");
        assert_eq!(runs_out_at(&mut countdown, thawed), thawed + LIMIT);
    }

    // chaos 8
    #[tokio::test]
    async fn an_answer_that_is_there_is_taken_though_the_time_is_up() {
        assert_eq!(within(Duration::ZERO, async { 7 }).await, Some(7));
        let started = Instant::now();
        let limit = Duration::from_millis(300);
        assert_eq!(within(limit, std::future::pending::<()>()).await, None);
        assert!(started.elapsed() >= limit);
    }
}
