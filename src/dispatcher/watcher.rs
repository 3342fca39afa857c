//! What a running attempt's watcher does about each thing that happens to it. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::STOP_GRACE;
use crate::attempt::{Failure, Made, StopCause};
use crate::ladder::Stage;
use crate::worker::handle::WorkerExit;
use crate::worker::protocol::WorkerEvent;

/// One running attempt.
pub(super) struct AttemptWatch {
    attempt_id: i64,
    /// How long the worker may take from one sign of progress to the next.
    step_timeout: Duration,
    cause: Option<StopCause>,
    deadline: Instant,
}

/// Something that happens while an attempt runs.
#[derive(Debug)]
pub(super) enum Wake {
    Worker(Result<WorkerEvent, WorkerExit>),
    /// The attempt is to be stopped.
    Stop(StopCause),
    DeadlinePassed,
}

/// What is to be done about it.
#[derive(Debug, PartialEq)]
pub(super) enum Reaction {
    /// The event is not of this attempt.
    Ignore(WorkerEvent),
    ShowStage(Stage),
    ShowStep(u32),
    /// The worker is to be told to stop the attempt.
    TellToStop,
    /// The attempt has ended.
    End(Result<Made, Failure>),
}

impl AttemptWatch {
    /// Watches an attempt that has been sent to the worker at `now`.
    pub(super) fn new(attempt_id: i64, step_timeout: Duration, now: Instant) -> AttemptWatch {
        AttemptWatch { attempt_id, step_timeout, cause: None, deadline: now + step_timeout }
    }

    /// Why the attempt was told to stop, if it was.
    pub(super) fn cause(&self) -> Option<StopCause> {
        self.cause
    }

    /// When the worker is given up if it has said nothing more.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes note of `wake`, which happens at `now`.
    pub(super) fn on(&mut self, wake: Wake, now: Instant) -> Reaction {
        match wake {
            Wake::Worker(Err(exit)) => Reaction::End(Err(Failure::death(exit.0))),
            Wake::Worker(Ok(event)) => self.on_event(event, now),
            Wake::Stop(cause) => {
                self.cause = Some(cause);
                if cause == StopCause::ShuttingDown {
                    self.deadline = now + STOP_GRACE;
                }
                Reaction::TellToStop
            }
            Wake::DeadlinePassed => {
                let limit_s = self.step_timeout.as_secs();
                let reason = format!("no sign of progress for {limit_s} s");
                Reaction::End(Err(Failure::death(reason)))
            }
        }
    }

    fn on_event(&mut self, event: WorkerEvent, now: Instant) -> Reaction {
        let own = self.attempt_id;
        match event {
            WorkerEvent::Done(done) if done.attempt_id == own => Reaction::End(Ok(done.made)),
            WorkerEvent::Failed(failed) if failed.attempt_id == own => {
                Reaction::End(Err(failed.failure))
            }
            WorkerEvent::Stage { attempt_id, stage } if attempt_id == own => {
                self.note_progress(now);
                Reaction::ShowStage(stage)
            }
            WorkerEvent::Step { attempt_id, step, .. } if attempt_id == own => {
                self.note_progress(now);
                Reaction::ShowStep(step)
            }
            other => Reaction::Ignore(other),
        }
    }

    /// Progress earns more time, but not once the daemon is shutting down.
    fn note_progress(&mut self, now: Instant) {
        if self.cause != Some(StopCause::ShuttingDown) {
            self.deadline = now + self.step_timeout;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{FailureKind, Measured};
    use crate::worker::protocol::Done;

    const LIMIT: Duration = Duration::from_secs(60);

    fn step(attempt_id: i64) -> Wake {
        Wake::Worker(Ok(WorkerEvent::Step { attempt_id, step: 3, steps: 8 }))
    }

    fn died(reaction: Reaction) -> String {
        match reaction {
            Reaction::End(Err(Failure { kind: FailureKind::WorkerDied, message, .. })) => message,
            other => panic!("no death: {other:?}"),
        }
    }

    #[test]
    fn progress_earns_time_and_silence_is_a_death() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        assert_eq!(watch.deadline(), start + LIMIT);
        let later = start + LIMIT / 2;
        assert_eq!(watch.on(step(7), later), Reaction::ShowStep(3));
        assert_eq!(watch.deadline(), later + LIMIT);
        let message = died(watch.on(Wake::DeadlinePassed, later + LIMIT));
        assert_eq!(message, "no sign of progress for 60 s");
    }

    #[test]
    fn events_of_another_attempt_neither_end_it_nor_earn_time() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        let reaction = watch.on(step(6), start + LIMIT / 2);
        assert!(matches!(reaction, Reaction::Ignore(_)), "{reaction:?}");
        assert_eq!(watch.deadline(), start + LIMIT);
    }

    #[test]
    fn a_shutdown_shortens_the_deadline_and_progress_no_longer_extends_it() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        assert_eq!(watch.on(Wake::Stop(StopCause::Cancelled), start), Reaction::TellToStop);
        assert_eq!(watch.deadline(), start + LIMIT);
        assert_eq!(watch.on(Wake::Stop(StopCause::ShuttingDown), start), Reaction::TellToStop);
        assert_eq!(watch.cause(), Some(StopCause::ShuttingDown));
        watch.on(step(7), start + STOP_GRACE / 2);
        assert_eq!(watch.deadline(), start + STOP_GRACE);
    }

    #[test]
    fn the_end_is_what_the_worker_says_or_how_it_died() {
        let start = Instant::now();
        let made = Made {
            bytes: 1,
            sha256: String::new(),
            prompt_cut: false,
            measured: Measured::default(),
        };
        let done = WorkerEvent::Done(Done { attempt_id: 7, made: made.clone() });
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        assert_eq!(watch.on(Wake::Worker(Ok(done)), start), Reaction::End(Ok(made)));
        let exit = WorkerExit("killed by signal 9".to_owned());
        assert_eq!(died(watch.on(Wake::Worker(Err(exit)), start)), "killed by signal 9");
    }
}
