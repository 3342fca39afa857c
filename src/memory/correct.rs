//! Predictions corrected by what was measured.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use super::Prediction;
use crate::ladder::{Decode, Precision, Residency, Rung};

/// So many pictures must have been measured before a prediction is lowered.
const MEASURED_MIN: usize = 3;

/// No prediction is lowered by more than this: what was measured may have been easier than what comes.
const FACTOR_MIN: f64 = 0.8;

/// How much more than its prediction a rung is taken to need after it ran out of memory.
const OUT_OF_MEMORY_FACTOR: f64 = 1.05;

/// One attempt of the model in question, newest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub rung: Rung,
    /// As it was predicted before every correction.
    pub predicted_bytes: u64,
    /// The most in use; of an attempt that ran out, with what it asked for last.
    pub measured_bytes: u64,
    pub out_of_memory: bool,
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

/// A factor for each class of rungs that something is known of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections(HashMap<Class, f64>);

impl Corrections {
    /// The highest ratio of measured to predicted in each class; not below 1 before enough was measured.
    pub fn from(evidence: &[Evidence]) -> Corrections {
        let mut by_class: HashMap<Class, Vec<&Evidence>> = HashMap::new();
        for evidence in evidence.iter().filter(|evidence| evidence.predicted_bytes > 0) {
            by_class.entry(Class::of(&evidence.rung)).or_default().push(evidence);
        }
        Corrections(by_class.into_iter().map(|(class, evidence)| (class, factor(&evidence))).collect())
    }

    /// `prediction` for `rung`, corrected.
    pub fn apply(&self, rung: &Rung, prediction: Prediction) -> Prediction {
        prediction.times(self.0.get(&Class::of(rung)).copied().unwrap_or(1.0))
    }
}

fn factor(evidence: &[&Evidence]) -> f64 {
    let highest = evidence.iter().map(|evidence| ratio(evidence)).fold(FACTOR_MIN, f64::max);
    let measured = evidence.iter().filter(|evidence| !evidence.out_of_memory).count();
    if measured < MEASURED_MIN { highest.max(1.0) } else { highest }
}

fn ratio(evidence: &Evidence) -> f64 {
    let ratio = evidence.measured_bytes as f64 / evidence.predicted_bytes as f64;
    if evidence.out_of_memory { ratio.max(1.0) * OUT_OF_MEMORY_FACTOR } else { ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(side: u32) -> Rung {
        let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
        Rung { residency, precision, decode, width: side, height: side, steps: 8 }
    }

    fn measured(measured_bytes: u64) -> Evidence {
        Evidence { rung: rung(1024), predicted_bytes: 1000, measured_bytes, out_of_memory: false }
    }

    fn corrected(evidence: &[Evidence], side: u32) -> u64 {
        let prediction = Prediction { denoise_bytes: 1000, ..Prediction::default() };
        Corrections::from(evidence).apply(&rung(side), prediction).denoise_bytes
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
    fn running_out_shows_that_more_is_needed_however_much_was_measured() {
        let out = Evidence { out_of_memory: true, ..measured(400) };
        assert_eq!(corrected(&[out], 1024), 1050);
        assert_eq!(corrected(&[Evidence { measured_bytes: 1200, ..out }], 1024), 1260);
    }

    #[test]
    fn other_sizes_and_ways_of_running_are_not_corrected() {
        assert_eq!(corrected(&[measured(1100)], 512), 1000);
        let streamed = Rung { residency: Residency::Streamed { resident_blocks: 3 }, ..rung(1024) };
        assert_eq!(corrected(&[Evidence { rung: streamed, ..measured(1100) }], 1024), 1000);
    }
}
