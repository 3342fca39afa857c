//! The rows that faces show. Times are UTC, in milliseconds since the epoch.

use serde::Serialize;
use sqlx::FromRow;

use super::rows::{ModelParts, Tags};
use crate::attempt::{ErrorCode, Outcome};
use crate::job::lora::Loras;
use crate::job::origin::OriginKind;
use crate::job::state::State;
use crate::job::{AskedPrecision, SamplerKind};
use crate::ladder::Stage;
use crate::output::PictureFile;

/// A job: a row of the view `jobs_state`, and what its renders wait for or when they ended.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobRow {
    /// The job's id.
    pub job: i64,
    /// Where it comes from.
    pub origin: OriginKind,
    /// The dropped file's name without folder, or a request's own name.
    pub file_name: String,
    /// The words to find it by.
    #[sqlx(try_from = "String")]
    pub tags: Tags,
    /// By which model, as daemon.toml names it; empty for the one of `[model]`.
    pub model: String,
    /// Running while one of its renders is; else queued while one waits, whatever the others have
    /// come to; else failed or cancelled where one is, and done where all are.
    pub state: State,
    /// Higher runs first.
    pub priority: i64,
    /// The job whose renders this one renders again.
    pub retry_of: Option<i64>,
    /// When it was taken in.
    pub accepted_at_ms: i64,
    /// No queued render of it is started before; null where none is queued.
    pub run_after_ms: Option<i64>,
    /// Nothing of it is started at this time or later; null where that has no end.
    pub not_after_ms: Option<i64>,
    /// The part of each day in which its renders are started, local time, like `22:00-07:00`; null
    /// where that is the whole day.
    pub window: Option<String>,
    /// When the last of its renders ended; null while one has not.
    pub ended_at_ms: Option<i64>,
    /// How many renders it has.
    pub renders: i64,
    /// How many of them are queued.
    pub queued: i64,
    /// How many of them are running.
    pub running: i64,
    /// How many of those that are running were cancelled, and stop at their next step.
    pub stopping: i64,
    /// How many of them are done.
    pub done: i64,
    /// How many of them have failed.
    pub failed: i64,
    /// How many of them were cancelled.
    pub cancelled: i64,
    /// How many of those that are done are smaller, or have fewer steps, than asked.
    pub degraded: i64,
}

impl JobRow {
    /// Whether nothing is left of it to be rendered.
    pub fn has_ended(&self) -> bool {
        self.queued + self.running == 0
    }

    /// Whether all that is left of it is to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping > 0 && self.stopping == self.running && self.queued == 0
    }
}

/// A picture that was asked for, with its last attempt: a row of the view `history`.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryRow {
    /// The job's id.
    pub job: i64,
    /// The position in the job, from 1.
    pub picture: i64,
    /// Where it stands.
    pub state: State,
    /// It is running, was cancelled, and stops at its next step.
    pub stopping: bool,
    /// Higher runs first; its job's, unless it was given one of its own.
    pub priority: i64,
    /// It is smaller, or has fewer steps, than asked.
    pub degraded: bool,
    /// Somebody gave it a star: it is kept when the history is cleared of what is old.
    pub starred: bool,
    /// What is painted.
    pub prompt: String,
    /// The prompt before the choices in it were made; null where there were none.
    pub asked_prompt: Option<String>,
    /// What is to be avoided; empty where nothing was said.
    pub negative_prompt: String,
    /// The seed of its noise.
    pub seed: i64,
    /// Classifier-free guidance; 0 is off.
    pub guidance: f64,
    /// How long the guided prediction may be, as a multiple; 0 is off.
    pub guidance_normalization: f64,
    /// The time after which there is no guidance; 1 is off.
    pub guidance_truncation: f64,
    /// The LoRAs that it is made with.
    #[sqlx(try_from = "String")]
    pub lora: Loras,
    /// How its steps go along the model's velocity.
    pub sampler: SamplerKind,
    /// In how many bits it is to be computed; the rung says in how many it was.
    pub precision: AskedPrecision,
    /// The SHA-256 of the picture that it begins with; empty where it begins with noise.
    pub init_image: String,
    /// The SHA-256 of the picture that says where that is painted over; empty where all of it is.
    pub mask: String,
    /// How much of what it begins with is noise; 1 is all of it.
    pub strength: f64,
    /// The width that was asked for, in pixels.
    pub asked_width: i64,
    /// The height that was asked for, in pixels.
    pub asked_height: i64,
    /// The steps that were asked for.
    pub asked_steps: i64,
    /// The width that the last attempt makes, in pixels; null before the first one.
    pub width: Option<i64>,
    /// The height that the last attempt makes, in pixels; null before the first one.
    pub height: Option<i64>,
    /// The steps of the last attempt; null before the first one.
    pub steps: Option<i64>,
    /// The rung of the last attempt; null before the first one.
    pub rung: Option<String>,
    /// How often it was tried; interruptions by a stop do not count.
    pub attempts: i64,
    /// Seconds in the queue before the first attempt.
    pub queued_s: Option<f64>,
    /// Seconds for the text. Null, as all that was measured, where nobody has measured it: before
    /// the first attempt, and where worker or daemon died at the last one.
    pub text_encode_s: Option<f64>,
    /// Seconds for the denoising.
    pub denoise_s: Option<f64>,
    /// Seconds for the decoding.
    pub vae_decode_s: Option<f64>,
    /// Seconds for the picture's file, which is written while the next picture is rendered.
    pub picture_encode_s: Option<f64>,
    /// Seconds of the last attempt until the device was free again: all but the picture's file.
    pub total_s: Option<f64>,
    /// The most device memory of the last attempt.
    pub peak_bytes: Option<i64>,
    /// The energy that the card took in the last attempt, by all programs together, in joules; null
    /// without a card, and where its driver tells nothing. So are the next five.
    pub joules: Option<f64>,
    /// The card's power on average.
    pub mean_watts: Option<f64>,
    /// The card's highest power that was seen.
    pub peak_watts: Option<f64>,
    /// The card's highest temperature that was seen.
    pub temperature_max_celsius: Option<i64>,
    /// The clock of the card's multiprocessors on average.
    pub clock_mhz: Option<i64>,
    /// What kept that low, in words; empty where nothing did.
    pub slowed_by: Option<String>,
    /// The picture, relative to the output folder; null where there is none.
    pub path: Option<String>,
    /// The size of the picture's file.
    pub bytes: Option<i64>,
    /// The SHA-256 of the picture's file, in lower-case hex.
    pub sha256: Option<String>,
    /// Why it has failed, for programs.
    pub error_code: Option<ErrorCode>,
    /// Why it has failed, for people.
    pub error: Option<String>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// The device of the last attempt.
    pub device: Option<String>,
    /// By which model it is to be rendered, as daemon.toml names it; empty for the one of
    /// `[model]`.
    pub model_key: String,
    /// The name of the model of the last attempt.
    pub model: Option<String>,
    /// The hash of the model's weights; null until it is known.
    pub model_hash: Option<String>,
    /// What the model's parts are and where they come from, for what was rendered since that is
    /// noted.
    #[sqlx(try_from = "String")]
    pub parts: ModelParts,
    /// The prompt was longer than the model reads; null before the first attempt.
    pub prompt_cut: Option<bool>,
    /// When its job was taken in.
    pub accepted_at_ms: i64,
    /// It is not started before.
    pub run_after_ms: i64,
    /// When it ended; null while it has not.
    pub finished_at_ms: Option<i64>,
}

impl HistoryRow {
    /// The seconds of its last attempt; `None` where nobody has measured them, as of one whose
    /// worker was killed.
    pub fn took_s(&self) -> Option<f64> {
        self.total_s
    }

    /// What its last attempt took of the device's memory, in bytes; `None` as of
    /// [`HistoryRow::took_s`].
    pub fn took_bytes(&self) -> Option<u64> {
        self.peak_bytes.map(i64::unsigned_abs)
    }

    /// Its picture's file; `None` where there is none.
    pub fn file(&self) -> Option<PictureFile> {
        let (path, sha256) = (self.path.clone()?, self.sha256.clone()?);
        Some(PictureFile { path, bytes: self.bytes?.unsigned_abs(), sha256 })
    }
}

/// One try at a picture.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptRow {
    /// The position of its picture in the job.
    pub picture: i64,
    /// The number of the try, from 1.
    pub number: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// How it was tried.
    pub rung: String,
    /// Where it ended, where it made no picture and that is known.
    pub stage: Option<Stage>,
    /// How long it took the device: all but the writing of the picture's file. Null where nobody
    /// has measured it: while it runs, and of one whose worker or daemon died.
    pub total_ms: Option<i64>,
    /// The most device memory; null where nobody has measured it.
    pub peak_bytes: Option<i64>,
    /// The most device memory while the text was encoded; 0 where it did not come so far. So are
    /// the next two.
    pub text_encode_bytes: i64,
    /// The most device memory of the denoising.
    pub denoise_bytes: i64,
    /// The most device memory of the decoding.
    pub vae_decode_bytes: i64,
    /// The energy that the card took, in joules; null where nobody knows.
    pub joules: Option<f64>,
    /// What the failed allocation asked for, where memory ran out and that is known.
    pub requested_bytes: Option<i64>,
    /// Why it made no picture, for people.
    pub message: Option<String>,
}

impl AttemptRow {
    /// Its seconds; `None` where nobody has measured them, as of one whose worker was killed.
    pub fn took_s(&self) -> Option<f64> {
        self.total_ms.map(|total_ms| total_ms as f64 / 1000.0)
    }

    /// Whether it has ended, and nobody knows how long it ran.
    pub fn took_unknown(&self) -> bool {
        self.total_ms.is_none() && self.outcome != Outcome::Running
    }

    /// What it took of the device's memory, in bytes; `None` as of [`AttemptRow::took_s`].
    pub fn took_bytes(&self) -> Option<u64> {
        self.peak_bytes.map(i64::unsigned_abs)
    }
}

/// A model that was loaded.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerRow {
    /// When it was loaded.
    pub loaded_at_ms: i64,
    /// Where it was loaded to.
    pub device: String,
    /// The model's name.
    pub model_name: String,
    /// Its name in daemon.toml; empty for the model of `[model]`.
    pub model_key: String,
    /// The hash of its weights; begins with `unhashed:` until it is known.
    pub model_hash: String,
    /// What its parts are and where they come from.
    #[sqlx(try_from = "String")]
    pub parts: ModelParts,
    /// How long the loading took.
    pub load_ms: i64,
    /// Device memory with the model loaded and nothing running.
    pub idle_bytes: i64,
    /// All memory of the device; 0 where nobody knows.
    pub total_bytes: i64,
}

/// A file that was set aside.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RejectionRow {
    /// When it was set aside.
    pub at_ms: i64,
    /// Its name, without folder.
    pub file_name: String,
    /// Why, for people.
    pub reason: String,
}
