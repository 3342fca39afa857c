//! What comes after an attempt that made no picture: one pure function, from whose answer both the
//! attempt's outcome and the render's next state follow.

use serde::{Deserialize, Serialize};

use super::blame::{Blame, blame};
use super::{ErrorCode, Failure, FailureKind, History};
use crate::job::OnOom;
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

/// How many times as often as at its death a render may be under way when the worker is lost, at
/// the very same place, before it is given up. It may be what takes the whole daemon down, or the
/// machine; but a render that takes hours is also there when somebody else does so.
const LOSSES_A_DEATH: u32 = 4;

impl RetryPolicy {
    /// A render at one and the same place of which the worker was lost this often fails.
    fn losses_max(&self) -> u32 {
        self.deaths_max.saturating_mul(LOSSES_A_DEATH)
    }
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// As [`Next::Requeue`], but nothing is started for a while: the place is to blame, a folder, a
    /// disk or the system, and not the picture.
    RequeueAndHold,
    /// As [`Next::RequeueAndHold`], but it may be the picture all the same: another render is tried
    /// next, and tells.
    RequeueAndTryAnother,
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
            Next::Requeue | Next::RequeueAndHold | Next::RequeueAndTryAnother => {
                Outcome::Interrupted
            }
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
            Next::Requeue | Next::RequeueAndHold | Next::RequeueAndTryAnother => {
                Some(requeued(RenderEvent::Interrupted))
            }
            Next::RequeueAfterDeath => Some(requeued(RenderEvent::Orphaned)),
            Next::Cancel => Some(RenderEvent::Cancelled),
            Next::Fail { .. } => Some(RenderEvent::Failed),
        }
    }
}

/// Decides what comes after `failure`.
///
/// `cause` is set where the attempt had been told to stop. `history` counts the failed attempt
/// too. `on_oom` is how far the ladder may go. `lower_rung` is the planner's answer to the failure;
/// both matter only after an out-of-memory error.
pub fn decide(
    failure: &Failure,
    cause: Option<StopCause>,
    history: &History,
    on_oom: OnOom,
    lower_rung: Option<Plan>,
    policy: &RetryPolicy,
) -> Next {
    match (failure.kind, cause) {
        // Whatever went wrong, a render that nobody wants any more is not tried again.
        (_, Some(StopCause::Cancelled)) => Next::Cancel,
        (FailureKind::Stopped, _) => Next::Requeue,
        (FailureKind::WorkerDied, Some(StopCause::ShuttingDown)) => Next::Requeue,
        (FailureKind::WorkerDied, None) => after_death(failure, history, policy),
        (FailureKind::Lost { .. }, _) => after_loss(failure, history, policy),
        (FailureKind::OutOfMemory { .. } | FailureKind::MemoryDeath, _) => {
            let has_worker = cause.is_none() && !failure.kind.took_the_worker();
            match lower_rung.filter(|_| may_go_on(history, policy)) {
                None => out_of_rungs(failure, history, on_oom),
                Some(plan) if has_worker => Next::LowerRung(plan),
                Some(_) => Next::LowerRungLater,
            }
        }
        (FailureKind::Output { os_error }, _) => match blame(os_error) {
            Blame::Picture => fail(ErrorCode::Output, failure),
            Blame::Unknown if history.made_elsewhere => fail(ErrorCode::Output, failure),
            Blame::Unknown => Next::RequeueAndTryAnother,
            Blame::Place => Next::RequeueAndHold,
        },
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

/// Again, unless the worker was lost too often at this very place of this render.
fn after_loss(failure: &Failure, history: &History, policy: &RetryPolicy) -> Next {
    let place = failure.lost_at().unwrap_or_default();
    let losses = history.lost_at(place);
    if losses < policy.losses_max() {
        return Next::Requeue;
    }
    let reason = &failure.message;
    Next::Fail {
        code: ErrorCode::CrashedWorker,
        message: format!("the worker was lost {losses} times {place}, last: {reason}"),
    }
}

fn may_go_on(history: &History, policy: &RetryPolicy) -> bool {
    history.attempts() < policy.attempts_max
}

/// The end of the ladder, with its numbers.
fn out_of_rungs(failure: &Failure, history: &History, on_oom: OnOom) -> Next {
    let attempts = history.attempts();
    let last = history.out_of_memory.last().map(|(rung, _)| format!(", the last on {rung}"));
    let tries = if attempts == 1 { "try" } else { "tries" };
    let message = format!(
        "out of memory on {attempts} {tries}{}: {}; {}",
        last.unwrap_or_default(),
        failure.message,
        on_oom.cure()
    );
    Next::Fail { code: ErrorCode::OutOfMemory, message }
}
