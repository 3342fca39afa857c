//! Predictions corrected by what was measured.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::Prediction;
use crate::ladder::{Decode, Precision, Residency, Rung, Stage};

/// So many pictures must have been measured before a prediction is lowered, or an out-of-memory error forgotten.
const MEASURED_MIN: usize = 3;

/// No prediction is lowered by more than this: what was measured may have been easier than what comes.
const FACTOR_MIN: f64 = 0.8;

/// How much more than it was given a rung is taken to need after it ran out of memory.
const OUT_OF_MEMORY_FACTOR: f64 = 1.05;

/// The stages that are predicted and measured.
const STAGES: [Stage; 3] = [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode];

/// One attempt of the model in question, on the device in question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub rung: Rung,
    /// Before every correction.
    pub predicted: Prediction,
    /// As it was planned with.
    pub corrected: Prediction,
    /// The peaks; 0 where a stage did not run.
    pub measured: Prediction,
    /// Where it ran out, with what it asked for there.
    pub out_of_memory: Option<(Stage, u64)>,
}

/// Rungs whose predictions err alike: the same way of running, pictures of about one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Class {
    residency: Discriminant<Residency>,
    precision: Discriminant<Precision>,
    decode: Discriminant<Decode>,
    /// The power of two below the number of pixels.
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
    measured: usize,
    highest: f64,
}

impl Known {
    /// Lower than 1 only on enough evidence.
    fn factor(self) -> f64 {
        if self.measured < MEASURED_MIN { self.highest.max(1.0) } else { self.highest.max(FACTOR_MIN) }
    }
}

/// A factor for each stage of each class of rungs that something is known of. It is one of the activations: the weights
/// are counted exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections(HashMap<(Class, Stage), Known>);

impl Corrections {
    /// The highest ratio of measured to predicted activations, from `evidence`, newest first. What ran out of memory
    /// counts until enough newer attempts of its class did not.
    pub fn from(evidence: &[Evidence]) -> Corrections {
        let mut known = HashMap::new();
        for evidence in evidence {
            for stage in STAGES {
                learn(known.entry((Class::of(&evidence.rung), stage)).or_default(), evidence, stage);
            }
        }
        Corrections(known)
    }

    /// `prediction` for `rung`, corrected.
    pub fn apply(&self, rung: &Rung, prediction: Prediction) -> Prediction {
        let corrected = |stage| {
            let factor = self.0.get(&(Class::of(rung), stage)).map_or(1.0, |known| known.factor());
            prediction.weights_bytes + (activations(&prediction, stage) * factor).round() as u64
        };
        Prediction {
            weights_bytes: prediction.weights_bytes,
            text_encode_bytes: corrected(Stage::TextEncode),
            denoise_bytes: corrected(Stage::Denoise),
            vae_decode_bytes: corrected(Stage::VaeDecode),
        }
    }
}

/// What `stage` needs beside the weights.
fn activations(prediction: &Prediction, stage: Stage) -> f64 {
    prediction.stage_bytes(stage).saturating_sub(prediction.weights_bytes) as f64
}

fn learn(known: &mut Known, evidence: &Evidence, stage: Stage) {
    let predicted = activations(&evidence.predicted, stage);
    if predicted <= 0.0 {
        return;
    }
    let measured = (evidence.measured.stage_bytes(stage) as f64 - evidence.predicted.weights_bytes as f64).max(0.0);
    match evidence.out_of_memory {
        Some((failed, _)) if failed == stage && known.measured >= MEASURED_MIN => {}
        Some((failed, requested_bytes)) if failed == stage => {
            let given = (measured + requested_bytes as f64).max(activations(&evidence.corrected, stage));
            known.highest = known.highest.max(given / predicted * OUT_OF_MEMORY_FACTOR);
        }
        // Also of an attempt that failed in a later stage: what it needed here is no less true.
        _ if measured > 0.0 => {
            known.measured += 1;
            known.highest = known.highest.max(measured / predicted);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: u64 = 10_000;

    fn rung(side: u32) -> Rung {
        let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
        Rung { residency, precision, decode, width: side, height: side, steps: 8 }
    }

    /// 1000 bytes beside the weights while denoising.
    fn prediction() -> Prediction {
        let (text_encode_bytes, vae_decode_bytes) = (WEIGHTS + 10, WEIGHTS + 10);
        Prediction { weights_bytes: WEIGHTS, text_encode_bytes, denoise_bytes: WEIGHTS + 1000, vae_decode_bytes }
    }

    fn measured(activations: u64) -> Evidence {
        Evidence {
            rung: rung(1024),
            predicted: prediction(),
            corrected: prediction(),
            measured: Prediction { denoise_bytes: WEIGHTS + activations, ..Prediction::default() },
            out_of_memory: None,
        }
    }

    fn out_of_memory(activations: u64, requested_bytes: u64) -> Evidence {
        Evidence { out_of_memory: Some((Stage::Denoise, requested_bytes)), ..measured(activations) }
    }

    fn corrected(evidence: &[Evidence], side: u32) -> u64 {
        Corrections::from(evidence).apply(&rung(side), prediction()).denoise_bytes - WEIGHTS
    }

    #[test]
    fn a_prediction_is_raised_at_once_and_lowered_only_on_enough_evidence() {
        assert_eq!(corrected(&[], 1024), 1000);
        assert_eq!(corrected(&[measured(1100)], 1024), 1100);
        assert_eq!(corrected(&[measured(900), measured(900)], 1024), 1000);
        assert_eq!(corrected(&[measured(900), measured(870), measured(860)], 1024), 900);
        assert_eq!(corrected(&[measured(10); 5], 1024), 800);
    }

    #[test]
    fn the_weights_and_the_other_stages_stay_as_they_were_counted() {
        let corrected = Corrections::from(&[measured(2000)]).apply(&rung(1024), prediction());
        assert_eq!(corrected, Prediction { denoise_bytes: WEIGHTS + 2000, ..prediction() });
    }

    #[test]
    fn running_out_again_raises_it_again() {
        let first = out_of_memory(400, 0);
        assert_eq!(corrected(&[first], 1024), 1050);
        let raised = Prediction { denoise_bytes: WEIGHTS + 1050, ..prediction() };
        assert_eq!(corrected(&[Evidence { corrected: raised, ..first }, first], 1024), 1103);
        assert_eq!(corrected(&[out_of_memory(1000, 200)], 1024), 1260);
    }

    #[test]
    fn an_error_is_forgotten_when_enough_newer_attempts_did_without() {
        let error = out_of_memory(1000, 500);
        assert_eq!(corrected(&[measured(950), measured(950), error], 1024), 1575);
        assert_eq!(corrected(&[measured(950), measured(950), measured(950), error], 1024), 950);
    }

    #[test]
    fn other_sizes_and_ways_of_running_are_not_corrected() {
        assert_eq!(corrected(&[measured(1100)], 512), 1000);
        let streamed = Rung { residency: Residency::Streamed { resident_blocks: 3 }, ..rung(1024) };
        assert_eq!(corrected(&[Evidence { rung: streamed, ..measured(1100) }], 1024), 1000);
    }
}
