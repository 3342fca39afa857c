//! The out-of-memory ladder: the rungs on which a render may be tried, gentlest first. Pure.
//!
//! Ordered by what the user loses: first nothing but time (residency, stripes), then seams that
//! nobody sees (tiles), then precision, then the picture's size, then its steps; [`Prefer`] may put
//! the time of streaming last. Steps do not lower the peak; they buy back the time that the lower
//! rungs cost. Which rung is taken is the planner's to say: [`crate::planner`].

pub(crate) mod rungs;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::rungs::rungs;
use crate::job::{AskedPrecision, Render};

/// Where the weights live while a picture is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// Everything on the device.
    Device,
    /// The text encoder's layers are read one by one for a prompt that is not known yet.
    TextReleased,
    /// So many leading transformer blocks on the device, the others streamed from the host.
    Streamed { resident_blocks: u32 },
    /// Everything on the host's processor.
    Host,
}

impl Residency {
    /// Whether the text encoder's layers leave the memory: they are read for each new prompt.
    pub fn releases_text_encoder(self) -> bool {
        self != Residency::Device
    }
}

/// How the weights of the transformer are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As loaded: bf16 on CUDA, f32 on a CPU.
    Full,
    /// Rotated rows of 8 bits, and so is what they multiply.
    Int8,
    Q8,
    Q4,
}

/// How the VAE decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// The picture in one piece.
    Whole,
    /// Bands of at most this height in pixels, one after the other; the picture is the same.
    Stripes { height: u32 },
    /// Square tiles of this side in pixels, overlapping and blended.
    Tiles { side: u32 },
}

/// A part of the work, in order; errors and timings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Load,
    TextEncode,
    Denoise,
    VaeDecode,
    PictureEncode,
}

/// One step of the ladder: how a render is run, and what is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rung {
    /// Where the weights are.
    pub residency: Residency,
    /// How the weights are kept.
    pub precision: Precision,
    /// How the picture is decoded.
    pub decode: Decode,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How often the picture is denoised.
    pub steps: u32,
}

/// What an engine on its device can do; the ladder asks for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Gentlest first.
    pub residencies: Vec<Residency>,
    /// Gentlest first.
    pub precisions: Vec<Precision>,
    /// Both sides are multiples of this (pixels).
    pub granularity: u32,
    /// The smallest tile of the VAE, pixels.
    pub tile_side_min: u32,
}

/// `[oom] prefer`: what the ladder gives up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// Time before anything of the picture.
    Quality,
    /// All of the picture before the weights leave the device in every step.
    Speed,
}

/// The precision that `render` asks for.
fn asked(render: &Render) -> Precision {
    match render.precision {
        AskedPrecision::Full => Precision::Full,
        AskedPrecision::Int8 => Precision::Int8,
    }
}

impl Rung {
    /// True when the picture is not the one that `render` asked for.
    pub fn degrades(&self, render: &Render) -> bool {
        (self.width, self.height, self.steps) != (render.width, render.height, render.steps)
            || ![Precision::Full, asked(render)].contains(&self.precision)
    }

    /// How it renders, without what: `streamed12/full/stripes256`.
    pub fn way(&self) -> String {
        let residency = match self.residency {
            Residency::Device => "device".to_owned(),
            Residency::TextReleased => "text-released".to_owned(),
            Residency::Streamed { resident_blocks } => format!("streamed{resident_blocks}"),
            Residency::Host => "host".to_owned(),
        };
        let precision = match self.precision {
            Precision::Full => "full",
            Precision::Int8 => "int8",
            Precision::Q8 => "q8",
            Precision::Q4 => "q4",
        };
        let decode = match self.decode {
            Decode::Whole => "whole".to_owned(),
            Decode::Stripes { height } => format!("stripes{height}"),
            Decode::Tiles { side } => format!("tiles{side}"),
        };
        format!("{residency}/{precision}/{decode}")
    }
}

impl Rung {
    /// What [`Rung::way`] says, in words.
    pub fn meaning(&self) -> String {
        let residency = match self.residency {
            Residency::Device => "all weights stay on the device".to_owned(),
            Residency::TextReleased => {
                "the transformer stays on the device, the text encoder is read for each new prompt"
                    .to_owned()
            }
            Residency::Streamed { resident_blocks } => format!(
                "{resident_blocks} of the transformer's blocks stay on the device, the others come \
                 from the host in each step"
            ),
            Residency::Host => "the processor computes".to_owned(),
        };
        let precision = match self.precision {
            Precision::Full => "nothing is rounded",
            Precision::Int8 => {
                "weights and what they multiply have 8 bits, which changes the picture a little"
            }
            Precision::Q8 => "weights have 8 bits, which changes the picture a little",
            Precision::Q4 => "weights have 4 bits, which changes the picture",
        };
        let decode = match self.decode {
            Decode::Whole => "decoded in one piece".to_owned(),
            Decode::Stripes { height } => {
                format!("decoded in bands of {height} rows, to the same picture")
            }
            Decode::Tiles { side } => format!("decoded in blended squares of {side} pixels"),
        };
        format!("{residency}; {precision}; {decode}")
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Load => "loading",
            Stage::TextEncode => "text encoding",
            Stage::Denoise => "denoising",
            Stage::VaeDecode => "VAE decoding",
            Stage::PictureEncode => "picture encoding",
        })
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{} {} steps", self.way(), self.width, self.height, self.steps)
    }
}
