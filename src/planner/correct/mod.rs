//! Predictions corrected by what earlier attempts measured.
//!
//! Weights are counted exactly, so only the rest of a stage's memory, its activations, is
//! corrected: by the highest ratio of measured to predicted that attempts of the same [`Class`]
//! have shown. What was made on the very same rung says at once what is enough for it (`made`).

mod made;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use self::made::MadeOn;
pub use self::made::WRITING_BYTES_PER_PIXEL;
use super::Prediction;
use crate::ladder::{Decode, Precision, Residency, Rung, Stage};

/// How many attempts must have fitted before a prediction is lowered, or an out-of-memory error
/// disregarded.
const FITS_MIN: usize = 3;

/// The lowest correction: the measured pictures may have been easier than those to come.
const FACTOR_MIN: f64 = 0.8;

/// What is added to the highest activations that were measured: of 670 attempts, four needed up to
/// 1.1 % more than all before them.
const MARGIN_FACTOR: f64 = 1.02;

/// After an out-of-memory error a rung is assumed to need this much more than it was given.
const OUT_OF_MEMORY_FACTOR: f64 = 1.05;

/// The stages that are predicted and measured.
const STAGES: [Stage; 3] = [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode];

/// One earlier attempt of the same model on the same device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub rung: Rung,
    /// The prediction before every correction.
    pub predicted: Prediction,
    /// The prediction that the attempt was planned with.
    pub corrected: Prediction,
    /// How much of that the device was known to lack; 0 where it was to fit.
    pub missing_bytes: u64,
    /// The peaks in bytes; 0 where a stage did not run.
    pub measured: Prediction,
    /// The stage that ran out of memory, and the bytes that it asked for in vain.
    pub out_of_memory: Option<(Stage, u64)>,
}

/// What one attempt says of one stage, in bytes of activations.
enum Observation {
    /// The stage had what it needed.
    Fits { needed: f64 },
    /// The stage ran out of memory although it could have had this much.
    OutOfMemory { given: f64 },
    /// The stage did not run.
    Nothing,
}

/// Rungs whose predictions err alike: those that run in the same way, with pictures of about the
/// same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Class {
    residency: Discriminant<Residency>,
    precision: Discriminant<Precision>,
    decode: Discriminant<Decode>,
    /// The logarithm of the number of pixels, rounded down.
    pixels_log2: u32,
}

impl Class {
    fn of(rung: &Rung) -> Class {
        Class {
            residency: discriminant(&rung.residency),
            precision: discriminant(&rung.precision),
            decode: discriminant(&rung.decode),
            pixels_log2: (u64::from(rung.width) * u64::from(rung.height)).max(1).ilog2(),
        }
    }
}

/// What is known of one stage of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    /// How many attempts fitted.
    fits: usize,
    /// The highest ratio of needed to predicted activations.
    ratio_max: f64,
}

impl Known {
    /// The correction of the class's predictions: below 1 only after enough attempts that fitted.
    fn factor(self) -> f64 {
        let factor_min = if self.fits < FITS_MIN { 1.0 } else { FACTOR_MIN };
        self.ratio_max.max(factor_min)
    }
}

/// Weights that once failed to load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unloadable {
    /// Their predicted size. Rungs with at least as much are corrected too.
    bytes: u64,
    /// How many times their predicted size they are assumed to need.
    factor: f64,
}

/// What earlier attempts add to predictions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    activations: HashMap<(Class, Stage), Known>,
    unloadable: Vec<Unloadable>,
    made: MadeOn,
}

impl Corrections {
    /// Learns from `evidence`, newest first. An out-of-memory error counts until enough newer
    /// attempts have fitted although they needed as much.
    pub fn from(evidence: &[Evidence]) -> Corrections {
        let mut corrections = Corrections::default();
        for (index, attempt) in evidence.iter().enumerate() {
            let newer = &evidence[..index];
            for stage in STAGES {
                corrections.learn_activations(attempt, stage, newer);
            }
            corrections.learn_weights(attempt, newer);
            corrections.made.learn(attempt);
        }
        corrections
    }

    fn learn_activations(&mut self, attempt: &Evidence, stage: Stage, newer: &[Evidence]) {
        let predicted = activations(&attempt.predicted, stage);
        if predicted <= 0.0 {
            return;
        }
        let known = self.activations.entry((Class::of(&attempt.rung), stage)).or_default();
        match attempt.observation(stage) {
            Observation::Fits { needed } => {
                known.fits += 1;
                let with_margin = needed * MARGIN_FACTOR / predicted;
                // What fits its prediction gives no reason to raise it.
                let ratio = if needed > predicted { with_margin } else { with_margin.min(1.0) };
                known.ratio_max = known.ratio_max.max(ratio);
            }
            Observation::OutOfMemory { given } if !is_outlived(attempt, stage, newer) => {
                let needed = given * OUT_OF_MEMORY_FACTOR;
                known.ratio_max = known.ratio_max.max(needed / predicted);
            }
            Observation::OutOfMemory { .. } | Observation::Nothing => (),
        }
    }

    fn learn_weights(&mut self, attempt: &Evidence, newer: &[Evidence]) {
        let bytes = attempt.predicted.weights_bytes;
        let ran_out = attempt.out_of_memory.is_some_and(|(stage, _)| stage == Stage::Load);
        let ran_out = ran_out && !attempt.is_foreseen(Stage::Load);
        if ran_out && bytes > 0 && !is_outlived(attempt, Stage::Load, newer) {
            let given = attempt.corrected.weights_bytes as f64 / bytes as f64;
            self.unloadable.push(Unloadable { bytes, factor: given * OUT_OF_MEMORY_FACTOR });
        }
    }

    /// `prediction` for `rung`, corrected.
    pub fn apply(&self, rung: &Rung, prediction: Prediction) -> Prediction {
        let weights_bytes = self.weights_bytes(prediction.weights_bytes);
        let corrected = |stage| {
            let known = self.activations.get(&(Class::of(rung), stage));
            let factor = known.map_or(1.0, |known| known.factor());
            let of_class =
                weights_bytes + (activations(&prediction, stage) * factor).round() as u64;
            let most = self.made.most_bytes(rung, stage, &prediction);
            most.map_or(of_class, |most| of_class.min(most))
        };
        Prediction {
            weights_bytes,
            text_encode_bytes: corrected(Stage::TextEncode),
            denoise_bytes: corrected(Stage::Denoise),
            vae_decode_bytes: corrected(Stage::VaeDecode),
        }
    }

    /// Corrects weights of `predicted` bytes by the worst of those that failed to load.
    fn weights_bytes(&self, predicted: u64) -> u64 {
        let failed = self.unloadable.iter().filter(|weights| weights.bytes <= predicted);
        let factor = failed.map(|weights| weights.factor).fold(1.0, f64::max);
        (predicted as f64 * factor).round() as u64
    }
}

/// What `stage` is predicted to need beside the weights, in bytes.
fn activations(prediction: &Prediction, stage: Stage) -> f64 {
    prediction.stage_bytes(stage).saturating_sub(prediction.weights_bytes) as f64
}

impl Evidence {
    fn observation(&self, stage: Stage) -> Observation {
        let measured = self.measured_activations(stage);
        match self.out_of_memory {
            Some((failed, _)) if failed == stage && self.is_foreseen(stage) => Observation::Nothing,
            Some((failed, requested_bytes)) if failed == stage => {
                let asked_for = measured + requested_bytes as f64;
                Observation::OutOfMemory {
                    given: asked_for.max(activations(&self.corrected, stage)),
                }
            }
            // An attempt that failed in a later stage says as much of this one as a picture does.
            _ if measured > 0.0 => Observation::Fits { needed: measured },
            _ => Observation::Nothing,
        }
    }

    /// Whether the plan had known that `stage` lacks memory: it was tried because nothing else
    /// lacked less. Then an error says nothing about the prediction.
    fn is_foreseen(&self, stage: Stage) -> bool {
        let budget_bytes = self.corrected.peak_bytes().saturating_sub(self.missing_bytes);
        self.corrected.stage_bytes(stage) > budget_bytes
    }

    /// What `stage` was measured to need beside the weights, in bytes.
    fn measured_activations(&self, stage: Stage) -> f64 {
        (self.measured.stage_bytes(stage) as f64 - self.predicted.weights_bytes as f64).max(0.0)
    }

    /// Whether the attempt is known to have had the memory for `stage`. Whatever came as far as
    /// another stage had loaded its weights.
    fn fits(&self, stage: Stage) -> bool {
        if stage == Stage::Load {
            return self.out_of_memory.is_none_or(|(failed, _)| failed != Stage::Load);
        }
        matches!(self.observation(stage), Observation::Fits { .. })
    }
}

/// Whether the out-of-memory error of `failed` in `stage` is history: enough of the `newer`
/// attempts fitted although they needed at least as much. For weights they may be of any class.
fn is_outlived(failed: &Evidence, stage: Stage, newer: &[Evidence]) -> bool {
    let outlives = |other: &&Evidence| {
        other.fits(stage)
            && other.predicted.stage_bytes(stage) >= failed.predicted.stage_bytes(stage)
            && (stage == Stage::Load || Class::of(&other.rung) == Class::of(&failed.rung))
    };
    newer.iter().filter(outlives).count() >= FITS_MIN
}
