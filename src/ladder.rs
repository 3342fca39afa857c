//! The out-of-memory ladder: which rung a render is tried on next. Pure.

use serde::{Deserialize, Serialize};

/// Where the weights live while a picture is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// Everything on the device.
    Device,
    /// The text encoder is loaded for the prompt and released before denoising.
    TextReleased,
    /// So many leading transformer blocks on the device, the others streamed from the host.
    Streamed { resident_blocks: u32 },
    /// Everything on the host's processor.
    Host,
}

/// How the weights of the transformer are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As loaded: bf16 on CUDA, f32 on a CPU.
    Full,
    Q8,
    Q4,
}

/// How the VAE decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// The picture in one piece.
    Whole,
    /// Square tiles of this side in pixels, overlapping and blended.
    Tiles { side: u32 },
}

/// One step of the ladder: how a render is run, and what is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    pub residency: Residency,
    pub precision: Precision,
    pub decode: Decode,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
}

/// What an engine on its device can do; the ladder asks for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// Gentlest first; the first is where a render starts.
    pub residencies: Vec<Residency>,
    /// Gentlest first; the first is where a render starts.
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
    /// Time before the picture.
    Quality,
    /// The picture's size and steps before time.
    Speed,
}
