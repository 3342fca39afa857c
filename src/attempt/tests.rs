//! Tests of what is decided after each failure.

use super::*;
use crate::job::OnOom;
use crate::job::state::RenderEvent;
use crate::ladder::{Decode, Precision, Residency};
use crate::planner::Plan;

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
    decide(&failure, cause, &history, OnOom::Downgrade, Some(LOWER), &POLICY)
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
    let death = Failure::unmeasured(FailureKind::WorkerDied, None, "killed by signal 9");
    let history = History { deaths: 2, ..History::default() }.with(RUNG, &death);
    let next = decide(&death, None, &history, OnOom::Downgrade, None, &POLICY);
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
    let next = decide(&failure, None, &history, OnOom::Downgrade, None, &POLICY);
    assert_eq!(code(&next), Some(ErrorCode::OutOfMemory));
    assert_eq!(next.outcome(), Outcome::OutOfMemory);
    let Next::Fail { message, .. } = next else { unreachable!("it has a code") };
    assert!(message.starts_with(&format!("out of memory on 1 try, the last on {RUNG}: so")));
}

// min_side changes nothing where no smaller picture may be made.
#[test]
fn what_ran_out_of_memory_is_told_only_what_gives_it_more_rungs() {
    let failure = failure(OUT_OF_MEMORY);
    let history = History::default().with(RUNG, &failure);
    let told = |on_oom| match decide(&failure, None, &history, on_oom, None, &POLICY) {
        Next::Fail { message, .. } => message,
        other => panic!("{other:?}"),
    };
    for (on_oom, advice, silent_of) in [
        (OnOom::Fail, "on_oom = \"downgrade\"", "min_side"),
        (OnOom::Offload, "on_oom = \"downgrade\"", "min_side"),
        (OnOom::Downgrade, "lower min_side", "on_oom"),
    ] {
        let told = told(on_oom);
        assert!(told.contains(advice) && !told.contains(silent_of), "{told}");
        // newcomer 25: `check` says the same before it is tried.
        assert!(told.ends_with(on_oom.cure()), "{told}");
    }
}

#[test]
fn attempts_are_bounded_also_where_a_lower_rung_is_left() {
    let failure = failure(OUT_OF_MEMORY);
    let tried = vec![(RUNG, Stage::Denoise); 17];
    let history = History { out_of_memory: tried, deaths: 2, ..History::default() };
    let history = history.with(RUNG, &failure);
    assert_eq!(history.attempts(), POLICY.attempts_max);
    let next = decide(&failure, None, &history, OnOom::Downgrade, Some(LOWER), &POLICY);
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

/// Decides after `times` losses of the worker at the same place.
fn after_losses(times: u32) -> Next {
    let loss = failure(FailureKind::Lost { step: 3 });
    let elsewhere = Failure { stage: Some(Stage::VaeDecode), ..loss.clone() };
    let before = History::default().with(RUNG, &elsewhere).with(RUNG, &elsewhere);
    let history = (0..times).fold(before, |history, _| history.with(RUNG, &loss));
    decide(&loss, None, &history, OnOom::Downgrade, None, &POLICY)
}

// chaos 1
#[test]
fn a_worker_that_is_lost_counts_for_little_and_only_at_the_very_same_place() {
    let next = after_losses(11);
    assert_eq!((&next, next.outcome()), (&Next::Requeue, Outcome::Interrupted));
    let next = after_losses(12);
    assert_eq!(code(&next), Some(ErrorCode::CrashedWorker), "poison ends at last");
    let Next::Fail { message, .. } = next else { unreachable!("it has a code") };
    assert!(message.starts_with("the worker was lost 12 times in denoising, after step 3"));
}

// case D
#[test]
fn a_worker_that_dies_of_memory_steps_down_and_never_repeats_its_rung() {
    let death = failure(FailureKind::MemoryDeath);
    let history = History::default().with(RUNG, &death);
    assert_eq!(history.out_of_memory, [(RUNG, Stage::Denoise); 2], "counts as tried again");
    let next = decide(&death, None, &history, OnOom::Downgrade, Some(LOWER), &POLICY);
    assert_eq!((&next, next.outcome()), (&Next::LowerRungLater, Outcome::OutOfMemory));
    let next = decide(&death, None, &history, OnOom::Downgrade, None, &POLICY);
    assert_eq!(code(&next), Some(ErrorCode::OutOfMemory), "the ladder has ended");
}

// chaos 2
#[test]
fn what_is_wrong_with_the_place_holds_the_queue_and_fails_no_render() {
    let output = |os_error| first(FailureKind::Output { os_error }, None);
    for os_error in [
        libc::ENOSPC,
        libc::EROFS,
        libc::EACCES,
        libc::ENOENT,
        libc::EIO,
        libc::ESTALE,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
    ] {
        assert_eq!(output(Some(os_error)), Next::RequeueAndHold, "{os_error}");
    }
    // In no list.
    assert_eq!(output(Some(libc::EREMOTEIO)), Next::RequeueAndTryAnother);
    for os_error in [Some(libc::ENAMETOOLONG), None] {
        assert_eq!(code(&output(os_error)), Some(ErrorCode::Output), "{os_error:?}");
    }
    assert_eq!(output(None).outcome(), Outcome::Failed);
}

// chaos 2
#[test]
fn an_unknown_error_is_the_pictures_once_another_one_was_made_there() {
    let refused = |os_error| {
        let failure = failure(FailureKind::Output { os_error: Some(os_error) });
        let history = History { made_elsewhere: true, ..History::default() };
        decide(&failure, None, &history, OnOom::Downgrade, None, &POLICY)
    };
    assert_eq!(code(&refused(libc::EREMOTEIO)), Some(ErrorCode::Output));
    assert_eq!(refused(libc::EMFILE), Next::RequeueAndHold, "known to pass");
}
