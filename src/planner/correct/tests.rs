//! Tests of what evidence changes.

use super::*;
use crate::planner::Planner;

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
        missing_bytes: 0,
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
    assert_eq!(corrected(&[measured(1100)], 1024), 1122);
    assert_eq!(corrected(&[measured(900), measured(900)], 1024), 1000);
    assert_eq!(corrected(&[measured(900), measured(870), measured(860)], 1024), 918);
    assert_eq!(corrected(&[measured(10); 5], 1024), 800);
}

#[test]
fn the_weights_and_the_other_stages_stay_as_they_were_counted() {
    let corrected = Corrections::from(&[measured(2000)]).apply(&rung(1024), prediction());
    assert_eq!(corrected, Prediction { denoise_bytes: WEIGHTS + 2040, ..prediction() });
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
    assert_eq!(corrected(&[measured(950), measured(950), measured(950), error], 1024), 969);
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
    Evidence {
        rung,
        predicted,
        corrected: predicted,
        missing_bytes: 0,
        measured,
        out_of_memory: None,
    }
}

#[test]
fn an_error_is_not_forgotten_over_attempts_that_needed_less() {
    let error = Evidence { out_of_memory: Some((Stage::Denoise, 0)), ..streamed(12) };
    let needed = |newer: Evidence| {
        let corrected =
            Corrections::from(&[newer, newer, newer, error]).apply(&error.rung, error.predicted);
        corrected.denoise_bytes - corrected.weights_bytes
    };
    assert_eq!(needed(streamed(9)), 1050);
    assert_eq!(needed(streamed(12)), 969);
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
    let again = Evidence { corrected: corrections.apply(&error.rung, error.predicted), ..error };
    let twice = Corrections::from(&[again, error]).apply(&error.rung, error.predicted);
    assert!(twice.weights_bytes > raised, "{twice:?}");
    assert_eq!(
        Corrections::from(&[streamed(12), streamed(13), streamed(14), error]).unloadable,
        []
    );
    assert_ne!(Corrections::from(&[streamed(9), streamed(9), streamed(9), error]).unloadable, []);
}

#[test]
fn other_sizes_and_ways_of_running_are_not_corrected() {
    assert_eq!(corrected(&[measured(1100)], 512), 1000);
    let streamed = Rung { residency: Residency::Streamed { resident_blocks: 3 }, ..rung(1024) };
    assert_eq!(corrected(&[Evidence { rung: streamed, ..measured(1100) }], 1024), 1000);
}

// newcomer 40
#[test]
fn a_correction_leaves_room_for_a_little_more_than_was_measured() {
    let fits = [measured(900), measured(890), measured(880)];
    assert!(corrected(&fits, 1024) * 1000 >= 900 * 1011, "the most that was ever above");
    let full = [measured(995), measured(995), measured(995)];
    assert_eq!(corrected(&full, 1024), 1000, "never above a prediction that all kept to");
}

// newcomer 29
#[test]
fn an_error_that_the_plan_foresaw_says_nothing_about_the_prediction() {
    let foreseen = Evidence { missing_bytes: 50, ..out_of_memory(900, 400) };
    assert_eq!(corrected(&[foreseen], 1024), 1000);
    let other_stage = Evidence { out_of_memory: Some((Stage::VaeDecode, 0)), ..foreseen };
    let corrected = Corrections::from(&[other_stage]).apply(&rung(1024), prediction());
    assert!(corrected.vae_decode_bytes > prediction().vae_decode_bytes, "that one was to fit");
    let loading = Evidence { out_of_memory: Some((Stage::Load, 0)), ..foreseen };
    assert_ne!(Corrections::from(&[loading]).unloadable, []);
    let loading = Evidence { missing_bytes: 1001, ..loading };
    assert_eq!(Corrections::from(&[loading]).unloadable, []);
}

// newcomer 29
#[test]
fn after_such_an_error_less_memory_is_planned_with_the_rung_that_needs_least() {
    let needs = |denoise_bytes| Prediction { denoise_bytes, ..prediction() };
    let least = Rung { residency: Residency::Streamed { resident_blocks: 0 }, ..rung(1024) };
    let predicted = move |rung: &Rung| needs(if *rung == least { 65_100 } else { 76_900 });
    // At 60,000.
    let foreseen = Evidence {
        rung: least,
        predicted: needs(65_100),
        corrected: needs(65_100),
        missing_bytes: 5_100,
        ..out_of_memory(50_000, 30_000)
    };
    let corrections = Corrections::from(&[foreseen]);
    let planner = Planner {
        rungs: vec![rung(1024), least],
        budget_bytes: Some(50_000),
        predict: Box::new(|rung| corrections.apply(rung, predicted(rung))),
    };
    let plan = planner.first().expect("two rungs");
    assert_eq!((plan.rung, plan.missing_bytes), (least, 15_100));
}

/// One picture of 8 by 8 pixels, which took much less than was predicted.
fn small_picture() -> Evidence {
    let measured = Prediction {
        weights_bytes: 0,
        text_encode_bytes: WEIGHTS + 5,
        denoise_bytes: WEIGHTS + 400,
        vae_decode_bytes: WEIGHTS + 5,
    };
    Evidence { rung: rung(8), measured, ..measured_nothing() }
}

fn measured_nothing() -> Evidence {
    Evidence { measured: Prediction::default(), ..measured(0) }
}

/// What is enough by [`small_picture`]: 2 % more than its peak, and the picture before it.
const ENOUGH: u64 = 10_608 + 8 * 8 * 8;

// The size that a limit has just let through is not made smaller for the next job.
#[test]
fn what_was_made_on_a_rung_is_enough_for_the_next_picture_on_it() {
    let peak = |evidence: &[Evidence], rung: &Rung, predicted| {
        Corrections::from(evidence).apply(rung, predicted).peak_bytes()
    };
    let picture = small_picture();
    assert_eq!(peak(&[], &picture.rung, prediction()), WEIGHTS + 1000);
    let wide = Prediction { denoise_bytes: WEIGHTS + 9000, ..prediction() };
    let made = Evidence { predicted: wide, ..picture };
    assert_eq!(peak(&[made], &picture.rung, wide), ENOUGH);
    assert_eq!(peak(&[made], &Rung { steps: 2, ..picture.rung }, wide), ENOUGH, "steps take time");
    let longer = Prediction { denoise_bytes: wide.denoise_bytes + 70, ..wide };
    assert_eq!(peak(&[made], &picture.rung, longer), ENOUGH + 70, "a longer prompt");
    assert_eq!(peak(&[made], &rung(9), wide), wide.peak_bytes(), "another size");
}

#[test]
fn what_was_made_counts_no_more_once_the_rung_ran_out_of_memory() {
    let wide = Prediction { denoise_bytes: WEIGHTS + 9000, ..prediction() };
    let made = Evidence { predicted: wide, ..small_picture() };
    let foreseen = Evidence {
        missing_bytes: 9000,
        corrected: wide,
        out_of_memory: Some((Stage::Denoise, 1)),
        ..made
    };
    let peak =
        |evidence: &[Evidence]| Corrections::from(evidence).apply(&made.rung, wide).peak_bytes();
    assert_eq!(peak(&[foreseen, made]), wide.peak_bytes());
    assert_eq!(peak(&[made, foreseen]), ENOUGH, "and again once it was made after that");
}

#[test]
fn a_stage_that_did_not_run_says_nothing_of_what_is_enough() {
    let wide = Prediction { denoise_bytes: WEIGHTS + 9000, ..prediction() };
    let decoded = Prediction { vae_decode_bytes: WEIGHTS + 5, ..Prediction::default() };
    let of_latents = Evidence { predicted: wide, measured: decoded, ..small_picture() };
    let corrected = Corrections::from(&[of_latents]).apply(&of_latents.rung, wide);
    assert_eq!(corrected.denoise_bytes, wide.denoise_bytes);
}
