//! What a user submits, fully resolved: a job and its renders.

pub mod event;
pub mod hints;
pub mod hook;
pub mod lora;
pub mod name;
pub mod origin;
pub mod parameters;
pub mod pattern;
pub mod quiet;
mod slug;
pub mod spec;
pub mod state;
pub mod times;
pub mod warning;

use serde::{Deserialize, Serialize};

pub use self::parameters::{Recipe, Render};
use self::times::{OpenHours, Times};

/// One submission: a TOML file, or one request. Made only by [`spec`], so everything in it is in
/// range.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Higher runs first; 0 unless said.
    pub priority: i64,
    /// Not started before this time (UTC, milliseconds since the epoch).
    pub not_before_ms: Option<i64>,
    /// Not started at or after this time (UTC, milliseconds since the epoch).
    pub not_after_ms: Option<i64>,
    /// Started only in this part of each day.
    pub window: Option<OpenHours>,
    /// Words to find the job by.
    pub tags: Vec<String>,
    /// At least one.
    pub renders: Vec<Render>,
}

impl Job {
    /// When its renders may be started.
    pub fn times(&self) -> Times {
        let Job { not_before_ms, not_after_ms, window, .. } = *self;
        Times { not_before_ms, not_after_ms, window }
    }
}

/// How far the ladder may go for a render.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnOom {
    /// Only rungs that give the same picture: weights streamed, the decode in stripes.
    Fail,
    /// Tiles of the decode, too, whose seams nobody sees; size, steps and precision stay.
    Offload,
    /// Every rung: also lower precision, down to a smaller picture with fewer steps.
    Downgrade,
}

impl OnOom {
    /// The word for it in job files.
    pub fn word(self) -> &'static str {
        match self {
            OnOom::Fail => "fail",
            OnOom::Offload => "offload",
            OnOom::Downgrade => "downgrade",
        }
    }

    /// What helps a render that no rung fits which this allows: the same before it is tried and
    /// after it has failed.
    pub fn cure(self) -> &'static str {
        match self {
            OnOom::Fail | OnOom::Offload => {
                "ask for a smaller picture, allow one with on_oom = \"downgrade\", or raise \
                 memory_limit where daemon.toml sets it"
            }
            // It had all rungs, down to this.
            OnOom::Downgrade => {
                "ask for a smaller picture, lower min_side, or raise memory_limit where \
                 daemon.toml sets it"
            }
        }
    }
}

/// How a step goes along the model's velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Straight on.
    #[default]
    Euler,
    /// With the bend that the step before shows: of second order, for the same time.
    ResMultistep,
}

impl SamplerKind {
    /// The word for it in job files, rows and JSON.
    pub fn word(self) -> &'static str {
        match self {
            SamplerKind::Euler => "euler",
            SamplerKind::ResMultistep => "res_multistep",
        }
    }

    /// What the programs that read A1111's text call it.
    pub fn name(self) -> &'static str {
        match self {
            SamplerKind::Euler => "Euler",
            SamplerKind::ResMultistep => "Res Multistep",
        }
    }
}

/// In how many bits a render computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AskedPrecision {
    /// As the model is computed: bf16 on a card, f32 on a processor.
    #[default]
    Full,
    /// The transformer's products in whole numbers of 8 bits, which changes the picture a little.
    Int8,
}

impl AskedPrecision {
    /// The word for it in job files, rows and JSON.
    pub fn word(self) -> &'static str {
        match self {
            AskedPrecision::Full => "full",
            AskedPrecision::Int8 => "int8",
        }
    }
}

/// The file format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Png,
    Jpeg,
    Webp,
}

impl Format {
    /// The format that files with this extension, in lower case and without the dot, have.
    pub fn of_extension(extension: &str) -> Option<Format> {
        match extension {
            "png" => Some(Format::Png),
            "jpg" | "jpeg" => Some(Format::Jpeg),
            "webp" => Some(Format::Webp),
            _ => None,
        }
    }

    /// The word for it in job files.
    pub fn word(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Webp => "webp",
        }
    }

    /// The file name's extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
        }
    }
}
