//! What pictures took that were made on the very rung that is asked about. A prediction counts what
//! may be needed at the most; what was made needs no more than it took, and what may come on top.

use std::collections::HashMap;

use super::{Evidence, MARGIN_FACTOR, STAGES};
use crate::ladder::{Rung, Stage};
use crate::planner::Prediction;

/// The picture before may still be on its way to the disk beside the next one, and takes so much on
/// a processor: its pixels, the file as far as it is made, and the small copy. At 256x256 it was
/// measured to be 5.3.
pub const WRITING_BYTES_PER_PIXEL: u64 = 8;

/// Pictures by their rungs. On each, none that is older than the last error.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MadeOn {
    rungs: HashMap<Rung, OnRung>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct OnRung {
    pictures: Vec<Evidence>,
    /// Older ones do not count: since then the rung ran out of memory.
    is_closed: bool,
}

impl MadeOn {
    /// Learns from an attempt; the newest comes first.
    pub(super) fn learn(&mut self, attempt: &Evidence) {
        let on_rung = self.rungs.entry(key(&attempt.rung)).or_default();
        on_rung.is_closed |= attempt.out_of_memory.is_some();
        // The picture of kept latents was not denoised.
        if !on_rung.is_closed && attempt.measured.denoise_bytes > 0 {
            on_rung.pictures.push(*attempt);
        }
    }

    /// What `stage` needs at the most by what was made on `rung`, where its `predicted` need was not
    /// corrected yet; `None` where nothing tells.
    pub(super) fn most_bytes(
        &self,
        rung: &Rung,
        stage: Stage,
        predicted: &Prediction,
    ) -> Option<u64> {
        let pictures = &self.rungs.get(&key(rung))?.pictures;
        let writing = WRITING_BYTES_PER_PIXEL * u64::from(rung.width) * u64::from(rung.height);
        // It may not have been there when the other was measured.
        let tells = pictures.iter().filter(|picture| picture.measured.stage_bytes(stage) > 0);
        tells.map(|picture| with_margin(picture) + more_bytes(predicted, picture) + writing).max()
    }
}

/// Steps take time and no memory.
fn key(rung: &Rung) -> Rung {
    Rung { steps: 0, ..*rung }
}

/// The peak of all stages: what one of them did not need this time, another has shown to be there.
fn with_margin(picture: &Evidence) -> u64 {
    (picture.measured.peak_bytes() as f64 * MARGIN_FACTOR).round() as u64
}

/// What is predicted to be needed beyond what was for that picture: a longer prompt, a LoRA.
fn more_bytes(predicted: &Prediction, picture: &Evidence) -> u64 {
    let more = STAGES.iter().map(|stage| {
        predicted.stage_bytes(*stage).saturating_sub(picture.predicted.stage_bytes(*stage))
    });
    more.max().unwrap_or(0)
}
