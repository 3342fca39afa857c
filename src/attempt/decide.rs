//! What comes after an attempt that made no picture: one pure function, from whose answer both the
//! attempt's outcome and the render's next state follow.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{ErrorCode, Failure, FailureKind, History};
use crate::job::state::RenderEvent;
use crate::planner::Plan;
use crate::spelling::spelled_by_serde;

/// When a render is given up, as the user has configured it.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// A render in whose attempts the worker died this often fails.
    pub deaths_max: u32,
    /// Attempts of one render that ran out of memory or died, all together.
    pub attempts_max: u32,
}

/// Why a running attempt was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The user cancelled the render.
    Cancelled,
    /// The daemon ends.
    ShuttingDown,
}

/// How an attempt ended; `Running` until it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Running,
    Done,
    OutOfMemory,
    /// The worker died, or was killed because it said nothing for too long: counted against the
    /// render.
    Crashed,
    /// Stopped for a reason that is not the render's: not counted.
    Interrupted,
    Cancelled,
    Failed,
}

spelled_by_serde!(Outcome);

/// What comes after an attempt that made no picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Another attempt follows at once, on this plan.
    LowerRung(Plan),
    /// There is a lower rung, but the daemon ends: it is left to the next start.
    LowerRungLater,
    /// The render is queued again. The attempt was interrupted and does not count.
    Requeue,
    /// As [`Next::Requeue`], but nothing is started for a while: the output folder is to blame.
    RequeueAndHold,
    /// The render is queued again. The worker died, which counts.
    RequeueAfterDeath,
    /// The user has cancelled the render.
    Cancel,
    /// The render has failed for good.
    Fail { code: ErrorCode, message: String },
}

impl Next {
    /// How the attempt ended.
    pub fn outcome(&self) -> Outcome {
        match self {
            Next::LowerRung(_) | Next::LowerRungLater => Outcome::OutOfMemory,
            Next::Requeue | Next::RequeueAndHold => Outcome::Interrupted,
            Next::RequeueAfterDeath => Outcome::Crashed,
            Next::Cancel => Outcome::Cancelled,
            Next::Fail { code: ErrorCode::OutOfMemory, .. } => Outcome::OutOfMemory,
            Next::Fail { code: ErrorCode::CrashedWorker, .. } => Outcome::Crashed,
            Next::Fail { .. } => Outcome::Failed,
        }
    }

    /// What happens to the render; `None` where it stays running. A render that would be queued
    /// again is cancelled instead where the user wants that by now.
    pub fn event(&self, cancel_wanted: bool) -> Option<RenderEvent> {
        let requeued = |event| if cancel_wanted { RenderEvent::Cancelled } else { event };
        match self {
            Next::LowerRung(_) => None,
            Next::LowerRungLater => Some(requeued(RenderEvent::Deferred)),
            Next::Requeue | Next::RequeueAndHold => Some(requeued(RenderEvent::Interrupted)),
            Next::RequeueAfterDeath => Some(requeued(RenderEvent::Orphaned)),
            Next::Cancel => Some(RenderEvent::Cancelled),
            Next::Fail { .. } => Some(RenderEvent::Failed),
        }
    }
}

/// Decides what comes after `failure`.
///
/// `cause` is set where the attempt had been told to stop. `history` counts the failed attempt
/// too. `lower_rung` is the planner's answer to it, and matters only after an out-of-memory error.
pub fn decide(
    failure: &Failure,
    cause: Option<StopCause>,
    history: &History,
    lower_rung: Option<Plan>,
    policy: &RetryPolicy,
) -> Next {
    match (failure.kind, cause) {
        // Whatever went wrong, a render that nobody wants any more is not tried again.
        (_, Some(StopCause::Cancelled)) => Next::Cancel,
        (FailureKind::Stopped, _) => Next::Requeue,
        (FailureKind::WorkerDied, Some(StopCause::ShuttingDown)) => Next::Requeue,
        (FailureKind::WorkerDied, None) => after_death(failure, history, policy),
        (FailureKind::OutOfMemory { .. }, _) => {
            match lower_rung.filter(|_| history.attempts() < policy.attempts_max) {
                None => out_of_rungs(failure, history),
                Some(_) if cause.is_some() => Next::LowerRungLater,
                Some(plan) => Next::LowerRung(plan),
            }
        }
        (FailureKind::Output { os_error }, _) if is_folder_to_blame(os_error) => {
            Next::RequeueAndHold
        }
        (FailureKind::Output { .. }, _) => fail(ErrorCode::Output, failure),
        (FailureKind::BadPicture, _) => fail(ErrorCode::BadPicture, failure),
        (FailureKind::Invalid, _) => fail(ErrorCode::Invalid, failure),
    }
}

fn fail(code: ErrorCode, failure: &Failure) -> Next {
    Next::Fail { code, message: failure.message.clone() }
}

/// Again, unless the render has killed its worker too often.
fn after_death(failure: &Failure, history: &History, policy: &RetryPolicy) -> Next {
    let deaths = history.deaths;
    if deaths < policy.deaths_max {
        return Next::RequeueAfterDeath;
    }
    let reason = &failure.message;
    Next::Fail {
        code: ErrorCode::CrashedWorker,
        message: format!("the worker died {deaths} times at it, last: {reason}"),
    }
}

/// The end of the ladder, with its numbers.
fn out_of_rungs(failure: &Failure, history: &History) -> Next {
    let attempts = history.attempts();
    let last = history.out_of_memory.last().map(|(rung, _)| format!(", the last on {rung}"));
    let message = format!(
        "out of memory on {attempts} tries{}: {}. Ask for a smaller picture, lower min_side, or \
         allow more with on_oom",
        last.unwrap_or_default(),
        failure.message
    );
    Next::Fail { code: ErrorCode::OutOfMemory, message }
}

/// Whether the output folder is the cause, and not the picture: every other render would end in
/// the same way, and the folder may be mended while the queue waits.
fn is_folder_to_blame(os_error: Option<i32>) -> bool {
    const NO_ROOM: [Errno; 3] = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    const FORBIDDEN: [Errno; 3] = [Errno::ROFS, Errno::ACCESS, Errno::PERM];
    const NOT_THERE: [Errno; 5] =
        [Errno::NOENT, Errno::NOTDIR, Errno::IO, Errno::NOTCONN, Errno::STALE];
    let errno = os_error.map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| {
        NO_ROOM.contains(&errno) || FORBIDDEN.contains(&errno) || NOT_THERE.contains(&errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Measured;
    use crate::ladder::{Decode, Precision, Residency, Rung, Stage};
    use crate::planner::Prediction;

    const POLICY: RetryPolicy = RetryPolicy { deaths_max: 3, attempts_max: 20 };

    const RUNG: Rung = Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode: Decode::Whole,
        width: 512,
        height: 512,
        steps: 8,
    };

    const LOWER: Plan = Plan {
        rung: Rung { residency: Residency::TextReleased, ..RUNG },
        prediction: Prediction {
            weights_bytes: 1,
            text_encode_bytes: 1,
            denoise_bytes: 1,
            vae_decode_bytes: 1,
        },
        missing_bytes: 0,
    };

    const OUT_OF_MEMORY: FailureKind = FailureKind::OutOfMemory { requested_bytes: Some(7) };

    fn failure(kind: FailureKind) -> Failure {
        Failure {
            kind,
            stage: Some(Stage::Denoise),
            message: "so it went".into(),
            measured: Measured::default(),
        }
    }

    /// Decides after `kind` as the first failure of a render, with a lower rung to go to.
    fn first(kind: FailureKind, cause: Option<StopCause>) -> Next {
        let failure = failure(kind);
        let history = History::default().with(RUNG, &failure);
        decide(&failure, cause, &history, Some(LOWER), &POLICY)
    }

    fn code(next: &Next) -> Option<ErrorCode> {
        match next {
            Next::Fail { code, .. } => Some(*code),
            _ => None,
        }
    }

    #[test]
    fn a_death_is_counted_and_the_third_one_ends_the_render() {
        assert_eq!(first(FailureKind::WorkerDied, None), Next::RequeueAfterDeath);
        let death = Failure::death("killed by signal 9");
        let history = History { deaths: 2, ..History::default() }.with(RUNG, &death);
        let next = decide(&death, None, &history, None, &POLICY);
        assert_eq!(code(&next), Some(ErrorCode::CrashedWorker));
        assert_eq!(next.outcome(), Outcome::Crashed);
    }

    #[test]
    fn being_stopped_is_not_failing() {
        for kind in [FailureKind::Stopped, FailureKind::WorkerDied] {
            let next = first(kind, Some(StopCause::ShuttingDown));
            assert_eq!(next, Next::Requeue, "{kind:?}");
            assert_eq!(next.outcome(), Outcome::Interrupted);
            assert_eq!(next.event(false), Some(RenderEvent::Interrupted));
        }
    }

    #[test]
    fn a_cancelled_render_is_cancelled_however_its_attempt_ended() {
        let output = FailureKind::Output { os_error: Some(libc::ENOSPC) };
        for kind in [FailureKind::Stopped, OUT_OF_MEMORY, FailureKind::WorkerDied, output] {
            let next = first(kind, Some(StopCause::Cancelled));
            assert_eq!(next, Next::Cancel, "{kind:?}");
            assert_eq!(next.outcome(), Outcome::Cancelled);
            assert_eq!(next.event(false), Some(RenderEvent::Cancelled));
        }
    }

    #[test]
    fn out_of_memory_takes_the_lower_rung_until_there_is_none() {
        let next = first(OUT_OF_MEMORY, None);
        assert_eq!(next, Next::LowerRung(LOWER));
        assert_eq!((next.outcome(), next.event(true)), (Outcome::OutOfMemory, None));
        let failure = failure(OUT_OF_MEMORY);
        let history = History::default().with(RUNG, &failure);
        let next = decide(&failure, None, &history, None, &POLICY);
        assert_eq!(code(&next), Some(ErrorCode::OutOfMemory));
        assert_eq!(next.outcome(), Outcome::OutOfMemory);
        let Next::Fail { message, .. } = next else { unreachable!("it has a code") };
        assert!(message.starts_with(&format!("out of memory on 1 tries, the last on {RUNG}: so")));
    }

    #[test]
    fn attempts_are_bounded_also_where_a_lower_rung_is_left() {
        let failure = failure(OUT_OF_MEMORY);
        let tried = vec![(RUNG, Stage::Denoise); 17];
        let history = History { out_of_memory: tried, deaths: 2 }.with(RUNG, &failure);
        assert_eq!(history.attempts(), POLICY.attempts_max);
        let next = decide(&failure, None, &history, Some(LOWER), &POLICY);
        assert_eq!(code(&next), Some(ErrorCode::OutOfMemory));
    }

    #[test]
    fn a_daemon_that_ends_leaves_the_lower_rung_to_the_next_start() {
        let next = first(OUT_OF_MEMORY, Some(StopCause::ShuttingDown));
        assert_eq!(next, Next::LowerRungLater);
        assert_eq!(next.outcome(), Outcome::OutOfMemory);
        assert_eq!(next.event(false), Some(RenderEvent::Deferred));
        assert_eq!(next.event(true), Some(RenderEvent::Cancelled));
    }

    #[test]
    fn a_full_a_closed_and_a_missing_folder_hold_the_queue_and_fail_no_render() {
        let output = |os_error| first(FailureKind::Output { os_error }, None);
        for os_error in
            [libc::ENOSPC, libc::EROFS, libc::EACCES, libc::ENOENT, libc::EIO, libc::ESTALE]
        {
            assert_eq!(output(Some(os_error)), Next::RequeueAndHold, "{os_error}");
        }
        for os_error in [Some(libc::ENAMETOOLONG), None] {
            assert_eq!(code(&output(os_error)), Some(ErrorCode::Output), "{os_error:?}");
        }
        assert_eq!(output(None).outcome(), Outcome::Failed);
    }
}
