//! What a running attempt's watcher does about each thing that happens to it. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::STOP_GRACE;
use crate::attempt::{Failure, FailureKind, Made, Reached, StopCause};
use crate::countdown::Countdown;
use crate::ladder::Stage;
use crate::worker::exit::WorkerExit;
use crate::worker::protocol::WorkerEvent;

/// One running attempt.
pub(super) struct AttemptWatch {
    attempt_id: i64,
    /// How long the worker may take from one sign of progress to the next.
    step_timeout: Duration,
    cause: Option<StopCause>,
    countdown: Countdown,
    /// How far the worker has come, as it told; `None` before its first word.
    place: Option<Reached>,
}

/// Something that happens while an attempt runs.
#[derive(Debug)]
pub(super) enum Wake {
    Worker(Result<WorkerEvent, WorkerExit>),
    /// The attempt is to be stopped.
    Stop(StopCause),
    /// The worker is gone, which is not this attempt's doing, for this reason.
    Taken(String),
    /// It is time to look at the clock.
    Look,
}

/// What is to be done about it.
#[derive(Debug, PartialEq)]
pub(super) enum Reaction {
    /// The event is not of this attempt.
    Ignore(WorkerEvent),
    /// The attempt goes on.
    Wait,
    ShowStage(Stage),
    ShowStep(u32),
    /// The worker is to be told to stop the attempt.
    TellToStop,
    /// The device is free for another attempt; what is left of this one is the writing.
    Rendered,
    /// The attempt has ended.
    End(Result<Made, Failure>),
}

impl AttemptWatch {
    /// Watches an attempt that has been sent to the worker at `now`.
    pub(super) fn new(attempt_id: i64, step_timeout: Duration, now: Instant) -> AttemptWatch {
        let countdown = Countdown::new(step_timeout, now);
        AttemptWatch { attempt_id, step_timeout, cause: None, countdown, place: None }
    }

    /// Why the attempt was told to stop, if it was.
    pub(super) fn cause(&self) -> Option<StopCause> {
        self.cause
    }

    /// When [`Wake::Look`] is due.
    pub(super) fn next_look(&self) -> Instant {
        self.countdown.next_look()
    }

    /// Whether `event` tells how this attempt has ended.
    pub(super) fn is_end(&self, event: &WorkerEvent) -> bool {
        match event {
            WorkerEvent::Done(done) => done.attempt_id == self.attempt_id,
            WorkerEvent::Failed(failed) => failed.attempt_id == self.attempt_id,
            _ => false,
        }
    }

    /// The end of an attempt whose worker is gone for a reason that is not the attempt's.
    pub(super) fn lost(&self, reason: String) -> Failure {
        self.failure(FailureKind::Lost { step: self.place.unwrap_or_default().step }, reason)
    }

    /// Takes note of `wake`, which happens at `now`.
    pub(super) fn on(&mut self, wake: Wake, now: Instant) -> Reaction {
        match wake {
            Wake::Worker(Err(exit)) => Reaction::End(Err(self.death(&exit))),
            Wake::Worker(Ok(event)) => self.on_event(event, now),
            Wake::Taken(reason) => Reaction::End(Err(self.lost(reason))),
            Wake::Stop(cause) => {
                self.cause = Some(cause);
                if cause == StopCause::ShuttingDown {
                    self.countdown.restart(STOP_GRACE, now);
                }
                Reaction::TellToStop
            }
            Wake::Look if self.countdown.is_over(now) => {
                let reason = self.silence();
                Reaction::End(Err(self.failure(FailureKind::WorkerDied, reason)))
            }
            Wake::Look => Reaction::Wait,
        }
    }

    /// What is said of a worker that has had its time.
    fn silence(&self) -> String {
        if self.cause == Some(StopCause::ShuttingDown) {
            return format!("the daemon was stopped, {} s ago", STOP_GRACE.as_secs());
        }
        format!("no sign of progress for {} s", self.step_timeout.as_secs())
    }

    /// The end of a worker that died by itself. It counts as a death at this render only where the
    /// worker had begun with it, and nobody was ending both.
    fn death(&self, exit: &WorkerExit) -> Failure {
        let kind = match self.place {
            Some(_) if exit.of_memory => FailureKind::MemoryDeath,
            Some(_) if self.cause != Some(StopCause::ShuttingDown) => FailureKind::WorkerDied,
            _ => return self.lost(exit.words.clone()),
        };
        self.failure(kind, exit.words.clone())
    }

    fn failure(&self, kind: FailureKind, reason: String) -> Failure {
        Failure::unmeasured(kind, self.place.and_then(|place| place.stage), reason)
    }

    fn on_event(&mut self, event: WorkerEvent, now: Instant) -> Reaction {
        let own = self.attempt_id;
        match event {
            WorkerEvent::Done(done) if done.attempt_id == own => Reaction::End(Ok(done.made)),
            WorkerEvent::Failed(failed) if failed.attempt_id == own => {
                Reaction::End(Err(self.with_cause(failed.failure)))
            }
            WorkerEvent::Rendered { attempt_id } if attempt_id == own => {
                self.note_progress(self.place.unwrap_or_default(), now);
                Reaction::Rendered
            }
            WorkerEvent::Stage { attempt_id, stage } if attempt_id == own => {
                self.note_progress(Reached { stage: Some(stage), step: 0 }, now);
                Reaction::ShowStage(stage)
            }
            WorkerEvent::Step { attempt_id, step, .. } if attempt_id == own => {
                self.note_progress(Reached { step, ..self.place.unwrap_or_default() }, now);
                Reaction::ShowStep(step)
            }
            other => Reaction::Ignore(other),
        }
    }

    /// Progress earns more time, but not once the daemon is shutting down.
    fn note_progress(&mut self, place: Reached, now: Instant) {
        self.place = Some(place);
        if self.cause != Some(StopCause::ShuttingDown) {
            self.countdown.restart(self.step_timeout, now);
        }
    }

    /// The worker knows that it was told to stop, and not why.
    fn with_cause(&self, failure: Failure) -> Failure {
        let message = match (failure.kind, self.cause) {
            (FailureKind::Stopped, Some(StopCause::Cancelled)) => "cancelled",
            (FailureKind::Stopped, Some(StopCause::ShuttingDown)) => "the daemon was stopped",
            _ => return failure,
        };
        Failure { message: message.to_owned(), ..failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Measured;
    use crate::worker::protocol::{Done, Failed};

    const LIMIT: Duration = Duration::from_secs(60);

    fn step(attempt_id: i64) -> Wake {
        Wake::Worker(Ok(WorkerEvent::Step { attempt_id, step: 3, steps: 8 }))
    }

    fn stage(attempt_id: i64) -> Wake {
        Wake::Worker(Ok(WorkerEvent::Stage { attempt_id, stage: Stage::Denoise }))
    }

    fn failure(reaction: Reaction) -> Failure {
        match reaction {
            Reaction::End(Err(failure)) => failure,
            other => panic!("no failure: {other:?}"),
        }
    }

    fn died(reaction: Reaction) -> String {
        let failure = failure(reaction);
        assert_eq!(failure.kind, FailureKind::WorkerDied, "{failure:?}");
        failure.message
    }

    /// Looks at the clock as often as it must until that is a reaction; how long that took.
    fn silence(watch: &mut AttemptWatch, from: Instant) -> (Duration, Reaction) {
        let mut now = from;
        loop {
            match watch.on(Wake::Look, now) {
                Reaction::Wait => now = watch.next_look(),
                reaction => return (now - from, reaction),
            }
        }
    }

    #[test]
    fn progress_earns_time_and_silence_is_a_death() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        let later = start + LIMIT / 2;
        assert_eq!(watch.on(step(7), later), Reaction::ShowStep(3));
        let (waited, end) = silence(&mut watch, later);
        assert_eq!((waited, died(end).as_str()), (LIMIT, "no sign of progress for 60 s"));
    }

    // chaos 8
    #[test]
    fn a_daemon_that_was_frozen_charges_nobody_with_that_time() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        watch.on(stage(7), start);
        let thawed = start + 10 * LIMIT;
        assert_eq!(watch.on(Wake::Look, thawed), Reaction::Wait);
        assert_eq!(watch.on(step(7), thawed + LIMIT / 2), Reaction::ShowStep(3));
    }

    #[test]
    fn events_of_another_attempt_neither_end_it_nor_earn_time() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        let reaction = watch.on(step(6), start + LIMIT / 2);
        assert!(matches!(reaction, Reaction::Ignore(_)), "{reaction:?}");
        assert_eq!(silence(&mut watch, start).0, LIMIT);
    }

    #[test]
    fn a_shutdown_shortens_the_deadline_and_progress_no_longer_extends_it() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        assert_eq!(watch.on(Wake::Stop(StopCause::Cancelled), start), Reaction::TellToStop);
        assert_eq!(watch.on(Wake::Stop(StopCause::ShuttingDown), start), Reaction::TellToStop);
        assert_eq!(watch.cause(), Some(StopCause::ShuttingDown));
        watch.on(step(7), start + STOP_GRACE / 2);
        let (waited, end) = silence(&mut watch, start);
        assert_eq!((waited, died(end).as_str()), (STOP_GRACE, "the daemon was stopped, 10 s ago"));
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
        watch.on(stage(7), start);
        let end = watch.on(Wake::Worker(Err(WorkerExit::unknown("killed by signal 9"))), start);
        assert_eq!(died(end), "killed by signal 9");
    }

    // chaos 1
    #[test]
    fn only_a_worker_that_had_begun_and_was_not_being_ended_died_at_the_render() {
        let start = Instant::now();
        let death = || Wake::Worker(Err(WorkerExit::unknown("killed by signal 9")));
        let mut idle = AttemptWatch::new(7, LIMIT, start);
        assert_eq!(failure(idle.on(death(), start)).kind, FailureKind::Lost { step: 0 });
        let mut ending = AttemptWatch::new(7, LIMIT, start);
        ending.on(stage(7), start);
        ending.on(step(7), start);
        ending.on(Wake::Stop(StopCause::ShuttingDown), start);
        let lost = failure(ending.on(death(), start));
        assert_eq!((lost.kind, lost.stage), (FailureKind::Lost { step: 3 }, Some(Stage::Denoise)));
    }

    #[test]
    fn a_worker_that_another_picture_took_is_lost_and_not_dead() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        watch.on(stage(7), start);
        watch.on(step(7), start);
        let end = watch.on(Wake::Taken("another picture".to_owned()), start);
        assert_eq!(failure(end).kind, FailureKind::Lost { step: 3 });
    }

    #[test]
    fn a_picture_that_is_rendered_is_watched_until_it_is_written() {
        let start = Instant::now();
        let mut watch = AttemptWatch::new(7, LIMIT, start);
        let rendered = |attempt_id| Wake::Worker(Ok(WorkerEvent::Rendered { attempt_id }));
        assert!(matches!(watch.on(rendered(6), start), Reaction::Ignore(_)));
        let later = start + LIMIT / 2;
        assert_eq!(watch.on(rendered(7), later), Reaction::Rendered);
        let (waited, end) = silence(&mut watch, later);
        assert_eq!((waited, died(end).as_str()), (LIMIT, "no sign of progress for 60 s"));
    }

    // newcomer 37
    #[test]
    fn a_stopped_attempt_says_who_stopped_it() {
        let start = Instant::now();
        for (cause, reason) in [
            (StopCause::Cancelled, "cancelled"),
            (StopCause::ShuttingDown, "the daemon was stopped"),
        ] {
            let mut watch = AttemptWatch::new(7, LIMIT, start);
            watch.on(Wake::Stop(cause), start);
            let stopped = Failure::unmeasured(FailureKind::Stopped, None, "stopped");
            let failed = WorkerEvent::Failed(Failed { attempt_id: 7, failure: stopped });
            assert_eq!(failure(watch.on(Wake::Worker(Ok(failed)), start)).message, reason);
        }
    }
}
