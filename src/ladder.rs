//! The out-of-memory ladder: which rung a render is tried on next. Pure.
//!
//! Ordered by what the user loses: first nothing (the same again, tiles, residency), then precision, then the picture's
//! size, then its steps. Steps do not lower the peak; they buy back the time that the lower rungs cost.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::{OnOom, Render};

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
    /// Bands of at most this height in pixels, one after the other; the picture is the same.
    Stripes { height: u32 },
    /// Square tiles of this side in pixels, overlapping and blended.
    Tiles { side: u32 },
}

/// A part of the work, in order; errors and timings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Load,
    TextEncode,
    Denoise,
    VaeDecode,
    PictureEncode,
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

/// The largest tile tried, pixels: the VAE's peak at 512 is a quarter of that at 1024.
const TILE_SIDE_MAX: u32 = 512;

/// How far the aspect ratio may drift when both sides are rounded to the granularity.
const ASPECT_DRIFT_MAX: f64 = 0.02;

/// One move down the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    SmallerTiles,
    NextResidency,
    NextPrecision,
    SmallerPicture,
    FewerSteps,
}

/// In which order the moves are tried, and which are allowed.
fn moves(prefer: Prefer, on_oom: OnOom) -> &'static [Move] {
    use Move::{FewerSteps, NextPrecision, NextResidency, SmallerPicture, SmallerTiles};
    match (on_oom, prefer) {
        (OnOom::Fail, _) => &[],
        (OnOom::Offload, _) => &[SmallerTiles, NextResidency],
        (OnOom::Downgrade, Prefer::Quality) => {
            &[SmallerTiles, NextResidency, NextPrecision, SmallerPicture, FewerSteps]
        }
        (OnOom::Downgrade, Prefer::Speed) => &[SmallerTiles, SmallerPicture, FewerSteps, NextPrecision, NextResidency],
    }
}

/// The rung on which nothing of `render` is given up.
pub fn first_rung(render: &Render, offers: &Offers) -> Rung {
    Rung {
        residency: offers.residencies.first().copied().unwrap_or(Residency::Device),
        precision: offers.precisions.first().copied().unwrap_or(Precision::Full),
        decode: Decode::Whole,
        width: render.width,
        height: render.height,
        steps: render.steps,
    }
}

/// The rung for `render` after `tried` ran out of memory, oldest first, each with the stage where it did.
///
/// The first failure is answered with the same rung once more: another process may have held the card for a moment.
/// `None` when the ladder has no rung left for this render.
pub fn next_rung(render: &Render, tried: &[(Rung, Stage)], prefer: Prefer, offers: &Offers) -> Option<Rung> {
    match tried {
        [] => Some(first_rung(render, offers)),
        [(rung, _)] => Some(*rung),
        [.., (rung, stage)] => {
            moves(prefer, render.on_oom).iter().find_map(|step| step.from(rung, *stage, render, offers))
        }
    }
}

impl Move {
    /// The rung one move below `rung`, where there is one and it can help in `stage`.
    fn from(self, rung: &Rung, stage: Stage, render: &Render, offers: &Offers) -> Option<Rung> {
        match self {
            Move::SmallerTiles if stage != Stage::VaeDecode => None,
            Move::SmallerTiles => smaller_tiles(rung, offers).map(|decode| Rung { decode, ..*rung }),
            Move::NextResidency => {
                after(&offers.residencies, &rung.residency).map(|residency| Rung { residency, ..*rung })
            }
            Move::NextPrecision => {
                after(&offers.precisions, &rung.precision).map(|precision| Rung { precision, ..*rung })
            }
            Move::SmallerPicture => {
                smaller_picture(rung, render, offers.granularity).map(|(width, height)| Rung { width, height, ..*rung })
            }
            Move::FewerSteps => {
                let steps = (rung.steps / 2).max(render.min_steps);
                (steps < rung.steps).then_some(Rung { steps, ..*rung })
            }
        }
    }
}

fn after<T: Copy + PartialEq>(gentlest_first: &[T], current: &T) -> Option<T> {
    let here = gentlest_first.iter().position(|offered| offered == current)?;
    gentlest_first.get(here + 1).copied()
}

fn smaller_tiles(rung: &Rung, offers: &Offers) -> Option<Decode> {
    let side = match rung.decode {
        Decode::Whole | Decode::Stripes { .. } => TILE_SIDE_MAX.min(rung.width.max(rung.height) / 2),
        Decode::Tiles { side } => side / 2,
    };
    let side = side / offers.granularity * offers.granularity;
    (side >= offers.tile_side_min).then_some(Decode::Tiles { side })
}

/// About three quarters of both sides (1024 -> 768), at the asked aspect ratio.
fn smaller_picture(rung: &Rung, render: &Render, granularity: u32) -> Option<(u32, u32)> {
    let aspect = f64::from(render.width) / f64::from(render.height);
    let widest = rung.width * 3 / 4 / granularity;
    (1..=widest).rev().map(|units| units * granularity).find_map(|width| {
        let height = (f64::from(width) / aspect / f64::from(granularity)).round() as u32 * granularity;
        let drift = (f64::from(width) / f64::from(height.max(1)) / aspect - 1.0).abs();
        (drift <= ASPECT_DRIFT_MAX && width.min(height) >= render.min_side).then_some((width, height))
    })
}

impl Rung {
    /// True when the picture is not the one that `render` asked for.
    pub fn degrades(&self, render: &Render) -> bool {
        (self.width, self.height, self.steps) != (render.width, render.height, render.steps)
            || self.precision != Precision::Full
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
        match self.residency {
            Residency::Device => write!(f, "device")?,
            Residency::TextReleased => write!(f, "text-released")?,
            Residency::Streamed { resident_blocks } => write!(f, "streamed{resident_blocks}")?,
            Residency::Host => write!(f, "host")?,
        }
        match self.precision {
            Precision::Full => write!(f, "/full")?,
            Precision::Q8 => write!(f, "/q8")?,
            Precision::Q4 => write!(f, "/q4")?,
        }
        match self.decode {
            Decode::Whole => write!(f, "/whole")?,
            Decode::Stripes { height } => write!(f, "/stripes{height}")?,
            Decode::Tiles { side } => write!(f, "/tiles{side}")?,
        }
        write!(f, " {}x{} {} steps", self.width, self.height, self.steps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::Format;

    fn render(width: u32, height: u32, steps: u32) -> Render {
        Render {
            prompt: "a fox".into(),
            negative_prompt: String::new(),
            width,
            height,
            steps,
            guidance: 0.0,
            seed: 1,
            on_oom: OnOom::Downgrade,
            min_side: 256,
            min_steps: 4,
            output: "{job}".into(),
            format: Format::Png,
        }
    }

    fn offers() -> Offers {
        Offers {
            residencies: vec![Residency::Device, Residency::TextReleased],
            precisions: vec![Precision::Full],
            granularity: 16,
            tile_side_min: 128,
        }
    }

    /// The ladder below the first rung when every try runs out of memory in `stage`.
    fn descend(render: &Render, stage: Stage, prefer: Prefer) -> Vec<String> {
        let mut tried = Vec::new();
        while let Some(rung) = next_rung(render, &tried, prefer, &offers()) {
            tried.push((rung, stage));
        }
        tried.iter().map(|(rung, _)| rung.to_string()).collect()
    }

    #[test]
    fn a_failed_decode_is_retried_then_tiled_then_offloaded_before_the_picture_shrinks() {
        assert_eq!(
            descend(&render(1024, 1024, 8), Stage::VaeDecode, Prefer::Quality),
            [
                "device/full/whole 1024x1024 8 steps",
                "device/full/whole 1024x1024 8 steps",
                "device/full/tiles512 1024x1024 8 steps",
                "device/full/tiles256 1024x1024 8 steps",
                "device/full/tiles128 1024x1024 8 steps",
                "text-released/full/tiles128 1024x1024 8 steps",
                "text-released/full/tiles128 768x768 8 steps",
                "text-released/full/tiles128 576x576 8 steps",
                "text-released/full/tiles128 432x432 8 steps",
                "text-released/full/tiles128 320x320 8 steps",
                "text-released/full/tiles128 320x320 4 steps",
            ]
        );
    }

    #[test]
    fn tiles_are_not_tried_for_a_failed_denoising() {
        let ladder = descend(&render(1024, 1024, 8), Stage::Denoise, Prefer::Quality);
        assert!(ladder.iter().all(|rung| rung.contains("whole")), "{ladder:?}");
    }

    #[test]
    fn speed_gives_up_size_and_steps_before_offloading() {
        assert_eq!(
            descend(&render(1024, 1024, 60), Stage::Denoise, Prefer::Speed)[2..],
            [
                "device/full/whole 768x768 60 steps",
                "device/full/whole 576x576 60 steps",
                "device/full/whole 432x432 60 steps",
                "device/full/whole 320x320 60 steps",
                "device/full/whole 320x320 30 steps",
                "device/full/whole 320x320 15 steps",
                "device/full/whole 320x320 7 steps",
                "device/full/whole 320x320 4 steps",
                "text-released/full/whole 320x320 4 steps",
            ]
        );
    }

    #[test]
    fn fail_tries_the_same_once_more_and_offload_keeps_the_picture() {
        let fail = Render { on_oom: OnOom::Fail, ..render(512, 512, 8) };
        assert_eq!(descend(&fail, Stage::Denoise, Prefer::Quality).len(), 2);
        let offload = Render { on_oom: OnOom::Offload, ..render(512, 512, 8) };
        let ladder = descend(&offload, Stage::VaeDecode, Prefer::Speed);
        assert!(ladder.len() > 2 && ladder.iter().all(|rung| rung.ends_with("512x512 8 steps")), "{ladder:?}");
    }

    #[test]
    fn only_a_changed_picture_is_degraded() {
        let asked = render(1024, 1024, 8);
        let rung = first_rung(&asked, &offers());
        assert!(!Rung { decode: Decode::Tiles { side: 256 }, ..rung }.degrades(&asked));
        assert!(Rung { steps: 4, ..rung }.degrades(&asked));
        assert!(Rung { width: 768, height: 768, ..rung }.degrades(&asked));
        assert!(Rung { precision: Precision::Q4, ..rung }.degrades(&asked));
    }

    proptest! {
        #[test]
        fn the_ladder_ends_never_repeats_and_keeps_the_floors(
            (width, height) in (4u32..=128, 4u32..=128),
            steps in 1u32..100,
            (min_side, min_steps) in (64u32..1024, 1u32..50),
            stages in prop::collection::vec(0usize..3, 64),
            speed in any::<bool>(),
        ) {
            let asked = Render { min_side, min_steps, ..render(width * 16, height * 16, steps) };
            let prefer = if speed { Prefer::Speed } else { Prefer::Quality };
            let stage = |n: usize| [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode][stages[n]];
            let mut tried: Vec<(Rung, Stage)> = Vec::new();
            while let Some(rung) = next_rung(&asked, &tried, prefer, &offers()) {
                prop_assert!(tried.len() < 40, "does not end");
                prop_assert!(tried.len() < 2 || tried.iter().all(|(before, _)| *before != rung), "repeats {rung}");
                prop_assert_eq!((rung.width % 16, rung.height % 16), (0, 0));
                if (rung.width, rung.height) != (asked.width, asked.height) {
                    prop_assert!(rung.width.min(rung.height) >= min_side);
                    let drift = f64::from(rung.width * asked.height) / f64::from(rung.height * asked.width) - 1.0;
                    prop_assert!(drift.abs() <= 0.02);
                }
                prop_assert!(rung.steps == steps || rung.steps >= min_steps);
                tried.push((rung, stage(tried.len())));
            }
        }
    }
}
