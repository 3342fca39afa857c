//! Predictions corrected by what was measured.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::Prediction;
use crate::ladder::{Decode, Precision, Residency, Rung, Stage};

/// So many pictures must have been measured before a prediction is lowered, or an out-of-memory
/// error forgotten.
const MEASURED_MIN: usize = 3;

/// No prediction is lowered by more than this: what was measured may have been easier than what
/// comes.
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
    /// Learns of `attempt`'s `stage`. `failed` is where it ran out of memory, if that still counts.
    fn learn(&mut self, attempt: &Evidence, stage: Stage, failed: Option<(Stage, u64)>) {
        let (predicted, measured) =
            (activations(&attempt.predicted, stage), attempt.measured_activations(stage));
        let needed = match failed {
            _ if predicted <= 0.0 => return,
            Some((failed, requested_bytes)) if failed == stage => {
                let given =
                    (measured + requested_bytes as f64).max(activations(&attempt.corrected, stage));
                given * OUT_OF_MEMORY_FACTOR
            }
            // Also of an attempt that failed in a later stage: what it needed here is no less true.
            _ if attempt.survived(stage) => {
                self.measured += 1;
                measured
            }
            _ => return,
        };
        self.highest = self.highest.max(needed / predicted);
    }

    /// Lower than 1 only on enough evidence.
    fn factor(self) -> f64 {
        if self.measured < MEASURED_MIN {
            self.highest.max(1.0)
        } else {
            self.highest.max(FACTOR_MIN)
        }
    }
}

/// What earlier attempts add to predictions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    /// Of the activations, for each stage of each class of rungs that something is known of: the
    /// weights are counted exactly.
    activations: HashMap<(Class, Stage), Known>,
    /// Weights that did not load: so many bytes or more are taken to need so many times as much.
    unloadable: Vec<(u64, f64)>,
}

impl Corrections {
    /// The highest ratio of measured to predicted activations, from `evidence`, newest first. What
    /// ran out of memory counts until enough newer attempts that needed as much did not.
    pub fn from(evidence: &[Evidence]) -> Corrections {
        let mut corrections = Corrections::default();
        for (place, attempt) in evidence.iter().enumerate() {
            corrections.learn(attempt, &evidence[..place]);
        }
        corrections
    }

    fn learn(&mut self, attempt: &Evidence, newer: &[Evidence]) {
        let failed =
            attempt.out_of_memory.filter(|(stage, _)| !is_outlived(attempt, *stage, newer));
        for stage in STAGES {
            let known = self.activations.entry((Class::of(&attempt.rung), stage)).or_default();
            known.learn(attempt, stage, failed);
        }
        if let (Some((Stage::Load, _)), predicted @ 1..) = (failed, attempt.predicted.weights_bytes)
        {
            let factor =
                attempt.corrected.weights_bytes as f64 / predicted as f64 * OUT_OF_MEMORY_FACTOR;
            self.unloadable.push((predicted, factor));
        }
    }

    /// `prediction` for `rung`, corrected.
    pub fn apply(&self, rung: &Rung, prediction: Prediction) -> Prediction {
        let factors =
            self.unloadable.iter().filter(|(bytes, _)| *bytes <= prediction.weights_bytes);
        let weights = factors.map(|(_, factor)| *factor).fold(1.0, f64::max);
        let weights_bytes = (prediction.weights_bytes as f64 * weights).round() as u64;
        let corrected = |stage| {
            let factor =
                self.activations.get(&(Class::of(rung), stage)).map_or(1.0, |known| known.factor());
            weights_bytes + (activations(&prediction, stage) * factor).round() as u64
        };
        Prediction {
            weights_bytes,
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

impl Evidence {
    /// What `stage` was measured to need beside the weights.
    fn measured_activations(&self, stage: Stage) -> f64 {
        (self.measured.stage_bytes(stage) as f64 - self.predicted.weights_bytes as f64).max(0.0)
    }

    /// Whether it is known to have had the memory for `stage`.
    fn survived(&self, stage: Stage) -> bool {
        let failed_here = self.out_of_memory.is_some_and(|(failed, _)| failed == stage);
        !failed_here && (stage == Stage::Load || self.measured_activations(stage) > 0.0)
    }
}

/// Whether `failed`'s out-of-memory error is history: enough of the `newer` attempts had the memory
/// for `stage`, and needed at least as much. Weights are alike for all classes.
fn is_outlived(failed: &Evidence, stage: Stage, newer: &[Evidence]) -> bool {
    let outlives = |other: &&Evidence| {
        other.survived(stage)
            && other.predicted.stage_bytes(stage) >= failed.predicted.stage_bytes(stage)
            && (stage == Stage::Load || Class::of(&other.rung) == Class::of(&failed.rung))
    };
    newer.iter().filter(outlives).count() >= MEASURED_MIN
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
        Prediction {
            weights_bytes: WEIGHTS,
            text_encode_bytes,
            denoise_bytes: WEIGHTS + 1000,
            vae_decode_bytes,
        }
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

    /// Streamed, with the weights of that many blocks of 100 bytes.
    fn streamed(resident_blocks: u32) -> Evidence {
        let more = 100 * u64::from(resident_blocks);
        let weighs = |prediction: Prediction| Prediction {
            weights_bytes: prediction.weights_bytes + more,
            text_encode_bytes: prediction.text_encode_bytes + more,
            denoise_bytes: prediction.denoise_bytes + more,
            vae_decode_bytes: prediction.vae_decode_bytes + more,
        };
        let predicted = weighs(prediction());
        let measured =
            Prediction { denoise_bytes: predicted.denoise_bytes - 50, ..Prediction::default() };
        let rung = Rung { residency: Residency::Streamed { resident_blocks }, ..rung(1024) };
        Evidence { rung, predicted, corrected: predicted, measured, out_of_memory: None }
    }

    #[test]
    fn an_error_is_not_forgotten_over_attempts_that_needed_less() {
        let error = Evidence { out_of_memory: Some((Stage::Denoise, 0)), ..streamed(12) };
        let needed = |newer: Evidence| {
            let corrected = Corrections::from(&[newer, newer, newer, error])
                .apply(&error.rung, error.predicted);
            corrected.denoise_bytes - corrected.weights_bytes
        };
        assert_eq!(needed(streamed(9)), 1050);
        assert_eq!(needed(streamed(12)), 950);
    }

    #[test]
    fn weights_that_did_not_load_count_against_every_rung_that_has_as_many() {
        let nothing_ran = Evidence { measured: Prediction::default(), ..streamed(12) };
        let error = Evidence { out_of_memory: Some((Stage::Load, 0)), ..nothing_ran };
        let corrections = Corrections::from(&[error]);
        let raised = (error.predicted.weights_bytes * 105).div_ceil(100);
        let other_decode = Rung { decode: Decode::Stripes { height: 256 }, ..error.rung };
        for rung in [error.rung, other_decode] {
            let corrected = corrections.apply(&rung, error.predicted);
            assert_eq!(
                (corrected.weights_bytes, corrected.denoise_bytes),
                (raised, raised + 1000),
                "{rung}"
            );
        }
        assert_eq!(
            corrections.apply(&streamed(9).rung, streamed(9).predicted),
            streamed(9).predicted,
            "less"
        );
        let again =
            Evidence { corrected: corrections.apply(&error.rung, error.predicted), ..error };
        let twice = Corrections::from(&[again, error]).apply(&error.rung, error.predicted);
        assert!(twice.weights_bytes > raised, "{twice:?}");
        assert_eq!(
            Corrections::from(&[streamed(12), streamed(13), streamed(14), error]).unloadable,
            []
        );
        assert_ne!(
            Corrections::from(&[streamed(9), streamed(9), streamed(9), error]).unloadable,
            []
        );
    }

    #[test]
    fn other_sizes_and_ways_of_running_are_not_corrected() {
        assert_eq!(corrected(&[measured(1100)], 512), 1000);
        let streamed = Rung { residency: Residency::Streamed { resident_blocks: 3 }, ..rung(1024) };
        assert_eq!(corrected(&[Evidence { rung: streamed, ..measured(1100) }], 1024), 1000);
    }
}
