//! What becomes of a render whose attempt made no picture. Pure.

use rustix::io::Errno;

use super::attempt::{NoPicture, StopCause};
use crate::ladder::{Rung, Stage};
use crate::store::{AttemptEnd, Candidate, Fate, Outcome};
use crate::worker::protocol::{Failed, Failure, Peaks, Timings};

/// What the user configured about giving up.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A render that killed the worker this often is failed.
    pub deaths_max: u32,
    /// Out-of-memory attempts and deaths of one render in all.
    pub attempts_max: u32,
}

/// The decision, to be carried out by the dispatcher.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) end: AttemptEnd,
    pub(super) fate: Fate,
    /// Start nothing for a while, for this reason.
    pub(super) hold: Option<String>,
    /// The worker is dead or not to be trusted.
    pub(super) replace_worker: bool,
}

/// Whether there is a rung after those that were tried.
pub(super) type HasNext<'a> = &'a dyn Fn(&[(Rung, Stage)]) -> bool;

/// Decides on an attempt of `candidate` on `rung`. `cause` is set when we had told it to stop.
pub(super) fn verdict(
    ending: &NoPicture,
    cause: Option<StopCause>,
    candidate: &Candidate,
    rung: Rung,
    policy: &Policy,
    has_next: HasNext,
) -> Verdict {
    match ending {
        NoPicture::Died(reason) => died(reason, cause, candidate, policy),
        NoPicture::Failed(failed) => {
            failed_in_order(failed, cause, candidate, rung, policy, has_next)
        }
    }
}

/// The worker is gone. Not the render's fault when we were shutting down; else counted against it.
fn died(reason: &str, cause: Option<StopCause>, candidate: &Candidate, policy: &Policy) -> Verdict {
    let end = |outcome| AttemptEnd {
        outcome,
        stage: None,
        message: reason.to_owned(),
        requested_bytes: None,
        timings: Timings::default(),
        peaks: Peaks::default(),
    };
    let (outcome, fate) = match cause {
        Some(StopCause::ShuttingDown) => (Outcome::Interrupted, Fate::Requeue),
        Some(StopCause::Cancelled) => (Outcome::Cancelled, Fate::Cancel),
        None => (Outcome::Crashed, fate_of_the_dead(reason, candidate.deaths + 1, policy)),
    };
    Verdict { end: end(outcome), fate, hold: None, replace_worker: true }
}

/// A render whose worker died for the `deaths`-th time: again, or never.
pub(crate) fn fate_of_the_dead(reason: &str, deaths: u32, policy: &Policy) -> Fate {
    if deaths < policy.deaths_max {
        return Fate::Requeue;
    }
    Fate::Fail {
        code: "crashed_worker",
        message: format!("the worker died {deaths} times at it, last: {reason}"),
    }
}

/// The worker said how it went.
fn failed_in_order(
    failed: &Failed,
    cause: Option<StopCause>,
    candidate: &Candidate,
    rung: Rung,
    policy: &Policy,
    has_next: HasNext,
) -> Verdict {
    let mut requested_bytes = None;
    let mut hold = None;
    let (outcome, fate) = match (failed.failure, cause) {
        (Failure::Fatal, _) => return died(&failed.message, cause, candidate, policy),
        // Whatever went wrong, a render that nobody wants any more is not tried again.
        (_, Some(StopCause::Cancelled)) => (Outcome::Cancelled, Fate::Cancel),
        (Failure::OutOfMemory { requested_bytes: bytes }, _) => {
            requested_bytes = bytes;
            let fate = match fate_out_of_memory(failed, candidate, rung, policy, has_next) {
                // The next rung is for the next start.
                Fate::NextAttempt if cause.is_some() => Fate::Requeue,
                fate => fate,
            };
            (Outcome::OutOfMemory, fate)
        }
        (Failure::Stopped, _) => (Outcome::Interrupted, Fate::Requeue),
        (Failure::Output { os_error }, _) if is_place_to_blame(os_error) => {
            hold = Some(failed.message.clone());
            (Outcome::Interrupted, Fate::Requeue)
        }
        (Failure::Output { .. }, _) => (Outcome::Failed, fail("output", failed)),
        (Failure::BadPicture, _) => (Outcome::Failed, fail("bad_picture", failed)),
        (Failure::Invalid, _) => (Outcome::Failed, fail("invalid", failed)),
    };
    let end = AttemptEnd {
        outcome,
        stage: Some(failed.stage),
        message: failed.message.clone(),
        requested_bytes,
        timings: failed.timings.clone(),
        peaks: failed.peaks,
    };
    Verdict { end, fate, hold, replace_worker: false }
}

fn fail(code: &'static str, failed: &Failed) -> Fate {
    Fate::Fail { code, message: failed.message.clone() }
}

/// Whether the output folder, and no picture, is the cause: every other render would end the same
/// way, and what is wrong may be mended while the queue waits.
fn is_place_to_blame(os_error: Option<i32>) -> bool {
    let no_room = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    let forbidden = [Errno::ROFS, Errno::ACCESS, Errno::PERM];
    let not_there = [Errno::NOENT, Errno::NOTDIR, Errno::IO, Errno::NOTCONN, Errno::STALE];
    let mut place = no_room.iter().chain(&forbidden).chain(&not_there);
    os_error.is_some_and(|code| place.any(|errno| errno.raw_os_error() == code))
}

/// One rung down, or the end of the ladder with its numbers.
fn fate_out_of_memory(
    failed: &Failed,
    candidate: &Candidate,
    rung: Rung,
    policy: &Policy,
    has_next: HasNext,
) -> Fate {
    let mut tried = candidate.tried.clone();
    tried.push((rung, failed.stage));
    let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX).saturating_add(candidate.deaths);
    if attempts < policy.attempts_max && has_next(&tried) {
        return Fate::NextAttempt;
    }
    Fate::Fail {
        code: "out_of_memory",
        message: format!(
            "out of memory on {attempts} tries, the last on {rung}: {}. Ask for a smaller picture, lower min_side, or \
             allow more with on_oom",
            failed.message
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Render;
    use crate::ladder::{Decode, Precision, Residency};

    const POLICY: Policy = Policy { deaths_max: 3, attempts_max: 20 };

    const RUNG: Rung = Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode: Decode::Whole,
        width: 512,
        height: 512,
        steps: 8,
    };

    /// A ladder on which everything is tried twice.
    fn twice(tried: &[(Rung, Stage)]) -> bool {
        tried.len() < 2
    }

    fn candidate(deaths: u32) -> Candidate {
        let render = Render { width: 512, height: 512, min_steps: 8, ..Render::default() };
        Candidate {
            render_id: 1,
            job_id: 1,
            index: 1,
            job_name: "fox".into(),
            render,
            accepted_at_ms: 0,
            tried: Vec::new(),
            deaths,
        }
    }

    fn failed(failure: Failure, stage: Stage) -> NoPicture {
        NoPicture::Failed(Failed {
            attempt_id: 1,
            failure,
            stage,
            message: "so it went".into(),
            timings: Timings::default(),
            peaks: Peaks::default(),
        })
    }

    fn judge(
        ending: &NoPicture,
        cause: Option<StopCause>,
        candidate: &Candidate,
    ) -> (Outcome, Fate) {
        let verdict = verdict(ending, cause, candidate, RUNG, &POLICY, &twice);
        (verdict.end.outcome, verdict.fate)
    }

    #[test]
    fn a_death_is_counted_and_the_third_one_ends_the_render() {
        let death = NoPicture::Died("killed by signal 9".into());
        assert_eq!(judge(&death, None, &candidate(0)), (Outcome::Crashed, Fate::Requeue));
        let (outcome, fate) = judge(&death, None, &candidate(2));
        assert_eq!(outcome, Outcome::Crashed);
        assert!(matches!(fate, Fate::Fail { code: "crashed_worker", .. }), "{fate:?}");
    }

    #[test]
    fn being_stopped_is_not_failing() {
        let stopped = failed(Failure::Stopped, Stage::Denoise);
        let shutting_down = Some(StopCause::ShuttingDown);
        assert_eq!(
            judge(&stopped, shutting_down, &candidate(0)),
            (Outcome::Interrupted, Fate::Requeue)
        );
        let death = NoPicture::Died("killed".into());
        assert_eq!(
            judge(&death, shutting_down, &candidate(2)),
            (Outcome::Interrupted, Fate::Requeue)
        );
    }

    #[test]
    fn a_cancelled_render_is_cancelled_however_its_attempt_ended() {
        let cancelled = Some(StopCause::Cancelled);
        for ending in [
            failed(Failure::Stopped, Stage::Denoise),
            failed(Failure::OutOfMemory { requested_bytes: None }, Stage::VaeDecode),
            failed(Failure::Fatal, Stage::Denoise),
            NoPicture::Died("hung".into()),
        ] {
            assert_eq!(
                judge(&ending, cancelled, &candidate(0)),
                (Outcome::Cancelled, Fate::Cancel),
                "{ending:?}"
            );
        }
    }

    #[test]
    fn out_of_memory_takes_the_next_rung_until_there_is_none() {
        let mut candidate = candidate(0);
        let ending = failed(Failure::OutOfMemory { requested_bytes: Some(7) }, Stage::Denoise);
        assert_eq!(judge(&ending, None, &candidate), (Outcome::OutOfMemory, Fate::NextAttempt));
        candidate.tried = vec![(RUNG, Stage::Denoise)];
        let (_, fate) = judge(&ending, None, &candidate);
        assert!(
            matches!(fate, Fate::Fail { code: "out_of_memory", .. }),
            "nothing is left: {fate:?}"
        );
    }

    #[test]
    fn a_full_a_closed_and_a_missing_folder_hold_the_queue_and_fail_no_render() {
        let candidate = candidate(0);
        let output = |os_error| failed(Failure::Output { os_error }, Stage::PictureEncode);
        for os_error in
            [libc::ENOSPC, libc::EROFS, libc::EACCES, libc::ENOENT, libc::EIO, libc::ESTALE]
        {
            let verdict = verdict(&output(Some(os_error)), None, &candidate, RUNG, &POLICY, &twice);
            assert_eq!(verdict.fate, Fate::Requeue, "{os_error}");
            assert!(verdict.hold.is_some(), "{os_error}");
        }
        for os_error in [Some(libc::ENAMETOOLONG), None] {
            assert_eq!(
                judge(&output(os_error), None, &candidate).0,
                Outcome::Failed,
                "{os_error:?}"
            );
        }
    }
}
