//! Attempts at a render: what is known before one, how one ends, and what comes after it.

mod blame;
mod decide;
mod failure;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::decide::{Next, Outcome, RetryPolicy, StopCause, decide};
pub use self::failure::{ErrorCode, Failure, FailureKind, Reached};
use crate::job::Render;
use crate::ladder::{Rung, Stage};
use crate::planner::{Evidence, Prediction};

/// A queued render, as the dispatcher takes it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub render_id: i64,
    pub job_id: i64,
    /// The job file's name without `.toml`.
    pub job_name: String,
    /// The job file's name.
    pub file_name: String,
    /// The job's.
    pub tags: Vec<String>,
    /// Position in the job, from 1.
    pub index: u32,
    pub render: Render,
    pub history: History,
    /// Prompts of renders of the same model that come after it, first those that come first, as far
    /// as one looks.
    pub next_prompts: Vec<String>,
}

/// What earlier attempts at a render say about the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The rungs that ran out of memory, oldest first, each with the stage in which it did. One
    /// that killed the worker stands there twice: see [`History::note_out_of_memory`].
    pub out_of_memory: Vec<(Rung, Stage)>,
    /// Attempts in which the worker died at the render.
    pub deaths: u32,
    /// Where the worker was when it was lost and nobody saw why, oldest first.
    pub lost: Vec<Reached>,
    /// A picture of another render was made after this one's had been refused.
    pub made_elsewhere: bool,
}

impl History {
    /// This history with one attempt more, which failed on `rung`.
    pub fn with(&self, rung: Rung, failure: &Failure) -> History {
        let mut history = self.clone();
        if let Some(stage) = failure.ran_out_in() {
            history.note_out_of_memory(rung, stage, failure.kind.took_the_worker());
        }
        if failure.kind == FailureKind::WorkerDied {
            history.deaths += 1;
        }
        history.lost.extend(failure.lost_at());
        history
    }

    /// Whether the worker was never gone at this render: another picture may be in its hands beside
    /// this one.
    pub fn is_harmless(&self) -> bool {
        self.deaths == 0 && self.lost.is_empty()
    }

    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.out_of_memory.is_empty() && self.is_harmless()
    }

    /// Adds a rung that ran out of memory. The planner answers the first such error with the same
    /// rung again, for another program may have held the memory. Where the error has cost a worker
    /// that is too dear: the rung counts as tried twice.
    pub fn note_out_of_memory(&mut self, rung: Rung, stage: Stage, killed_the_worker: bool) {
        let times = if killed_the_worker { 2 } else { 1 };
        self.out_of_memory.extend(std::iter::repeat_n((rung, stage), times));
    }

    /// How often the worker was lost at `place`.
    fn lost_at(&self, place: Reached) -> u32 {
        let times = self.lost.iter().filter(|lost| **lost == place).count();
        u32::try_from(times).unwrap_or(u32::MAX)
    }

    /// Attempts that count against the render.
    fn attempts(&self) -> u32 {
        let out_of_memory = u32::try_from(self.out_of_memory.len()).unwrap_or(u32::MAX);
        out_of_memory.saturating_add(self.deaths)
    }
}

/// The rung of an attempt and the memory that it is predicted to need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    pub rung: Rung,
    /// `None` where nothing is predicted, as on the host.
    pub predicted: Option<Predicted>,
}

/// The memory of one rung, before and after the correction by what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    pub uncorrected: Prediction,
    pub corrected: Prediction,
    /// What the corrected one was known to lack; 0 where it was to fit.
    pub missing_bytes: u64,
}

impl Planned {
    /// What the planner learns of an attempt on this rung: its peaks and, where it ran out of
    /// memory, the stage and the bytes that it asked for there. `None` where nothing had been
    /// predicted, so that there is nothing to correct.
    pub fn evidence(&self, peaks: &Peaks, out_of_memory: Option<(Stage, u64)>) -> Option<Evidence> {
        let Predicted { uncorrected, corrected, missing_bytes } = self.predicted?;
        let measured = Prediction {
            weights_bytes: 0,
            text_encode_bytes: peaks.text_encode_bytes,
            denoise_bytes: peaks.denoise_bytes,
            vae_decode_bytes: peaks.vae_decode_bytes,
        };
        Some(Evidence {
            rung: self.rung,
            predicted: uncorrected,
            corrected,
            missing_bytes,
            measured,
            out_of_memory,
        })
    }
}

/// What an attempt cost, whether or not it made a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub timings: Timings,
    pub peaks: Peaks,
    /// `None` where no card rendered, or nothing is known of it. Boxed, because few attempts have
    /// it and all are passed on.
    pub card: Option<Box<CardUse>>,
}

/// What an attempt took of the card, as far as that is told. What other programs did with it
/// meanwhile counts, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardUse {
    pub energy_mj: Option<u64>,
    pub power_mean_mw: Option<u64>,
    pub power_peak_mw: Option<u64>,
    pub temperature_max_celsius: Option<u32>,
    /// Of its multiprocessors, on average.
    pub clock_mhz: Option<u32>,
    /// What kept its clocks low, in words; empty where nothing did.
    pub slowed_by: Option<String>,
}

/// Milliseconds by stage; a stage that did not run, because an earlier attempt's latents were
/// used, has 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    pub text_encode_ms: u64,
    pub denoise_ms: u64,
    /// Each step of the denoising.
    pub step_ms: Vec<u64>,
    pub vae_decode_ms: u64,
    /// The writing of the picture's file, beside the next attempt.
    pub picture_encode_ms: u64,
    /// Until the device was free for the next attempt: all but the writing of the file, so that
    /// times of attempts that follow each other add up to the time that they took.
    pub total_ms: u64,
}

/// The highest device memory in use, in bytes, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    pub text_encode_bytes: u64,
    pub denoise_bytes: u64,
    pub vae_decode_bytes: u64,
    /// In use after the attempt, when everything of it has been dropped.
    pub after_release_bytes: u64,
}

/// A picture that an attempt has made; it still has its temporary name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Whether the prompt was cut at the model's token limit.
    pub prompt_cut: bool,
    pub measured: Measured,
}

/// A picture under its final name.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Relative to the output folder.
    pub path: String,
    /// Whether the rung made another picture than the one asked for.
    pub degraded: bool,
    pub made: Made,
}

/// An attempt that a start of the daemon finds running: the daemon before it has died.
#[derive(Clone, Debug)]
pub struct Orphan {
    pub attempt_id: i64,
    pub job_id: i64,
    /// The position in the job, from 1.
    pub index: u32,
    /// The user has cancelled it while nobody was at work on it.
    pub cancel_wanted: bool,
    /// The final name recorded for its picture, relative to the output folder.
    pub path: String,
    pub rung: Rung,
    pub render: Render,
    /// Without this attempt.
    pub history: History,
}
