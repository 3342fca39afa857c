//! Why an attempt made no picture.

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
    /// The picture could not be written. The system's error code tells a full disk from others.
    Output { os_error: Option<i32> },
    /// The worker died or has to: the state of its device is unknown.
    WorkerDied,
}

/// Why a render has failed for good, as its row and programs say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A worker, or the whole daemon, that died for `reason` before it could say anything.
    pub fn death(reason: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::WorkerDied,
            stage: None,
            message: reason.into(),
            measured: Measured::default(),
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
