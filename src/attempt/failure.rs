//! Why an attempt made no picture.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Measured;
use crate::ladder::Stage;
use crate::spelling::spelled_by_serde;

/// An attempt that made no picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// Where it happened; `None` where nobody could say.
    pub stage: Option<Stage>,
    /// The reason, for people.
    pub message: String,
    pub measured: Measured,
}

/// What went wrong, as far as [`super::decide`] has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The device had no room; by now its memory is back at its baseline.
    OutOfMemory { requested_bytes: Option<u64> },
    /// The attempt was told to stop, and did.
    Stopped,
    /// The picture is NaN, black or flat.
    BadPicture,
    /// The model cannot do it; another attempt would fail in the same way.
    Invalid,
    /// A file could not be read or written: the picture, or one of the model's. The system's error
    /// code tells what is wrong with the place from what is wrong with the name.
    Output { os_error: Option<i32> },
    /// The worker died at this render or has to: the state of its device is unknown.
    WorkerDied,
    /// The worker died because the machine, or what this process may use of it, had no memory left.
    MemoryDeath,
    /// The worker is gone, and nobody saw why: the daemon died with it, or it was dead before it
    /// began. `step` is the last one that it had told; with the stage it is where it was.
    Lost { step: u32 },
}

impl FailureKind {
    /// Whether the worker has to be replaced.
    pub fn took_the_worker(self) -> bool {
        use FailureKind::{Lost, MemoryDeath, WorkerDied};
        matches!(self, WorkerDied | MemoryDeath | Lost { .. })
    }
}

/// How far a worker had come with an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// `None` before the first one.
    pub stage: Option<Stage>,
    /// The last step that was done, from 1; 0 before the first one.
    pub step: u32,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stage, self.step) {
            (None, _) => f.write_str("before its first stage"),
            (Some(stage), 0) => write!(f, "in {stage}"),
            (Some(stage), step) => write!(f, "in {stage}, after step {step}"),
        }
    }
}

/// Why a render has failed for good, as its row and programs say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    OutOfMemory,
    CrashedWorker,
    BadPicture,
    Invalid,
    Output,
}

spelled_by_serde!(ErrorCode);

impl Failure {
    /// An attempt of which nothing was measured, because its worker or the daemon had no time to
    /// say so.
    pub fn unmeasured(
        kind: FailureKind,
        stage: Option<Stage>,
        message: impl Into<String>,
    ) -> Failure {
        Failure { kind, stage, message: message.into(), measured: Measured::default() }
    }

    /// Where the worker was lost, if it was.
    pub fn lost_at(&self) -> Option<Reached> {
        match self.kind {
            FailureKind::Lost { step } => Some(Reached { stage: self.stage, step }),
            _ => None,
        }
    }

    /// The stage in which memory ran out, if that was it.
    pub fn ran_out_in(&self) -> Option<Stage> {
        match self.kind {
            FailureKind::OutOfMemory { .. } => self.stage,
            FailureKind::MemoryDeath => Some(self.stage.unwrap_or(Stage::Load)),
            _ => None,
        }
    }

    /// What the failed allocation asked for, where memory ran out and that is known.
    pub fn requested_bytes(&self) -> Option<u64> {
        match self.kind {
            FailureKind::OutOfMemory { requested_bytes } => requested_bytes,
            _ => None,
        }
    }
}
