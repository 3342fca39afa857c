//! Predicted peaks against measured ones, over models, sizes, guidance, residencies and ways of
//! decoding.

use std::path::Path;

use zimaged::internals::{
    Backend, Decode, DeviceChoice, Engine, ModelConfig, ModelFiles, ModelPlace, Precision, Recipe,
    Residency, Rung, Stage, Work, ZImageEngine, predict,
};

use super::{MINI, Peaks, REFERENCE, THREADS, left_bytes, turn};

/// How much more than the measured peak may be predicted: on a processor each thread has a buffer
/// that may stay empty.
fn excess_max(device: DeviceChoice) -> f64 {
    if device.is_cpu() { 0.15 } else { 0.04 }
}

const PROMPT: &str = "a red circle on a blue background";

struct Case {
    residency: Residency,
    precision: Precision,
    decode: Decode,
    width: u32,
    height: u32,
    guidance: f64,
}

/// Three sizes in every way of decoding, with the layers resident and streamed; guidance, and lower
/// precisions.
fn cases() -> Vec<Case> {
    let decodes = [Decode::Whole, Decode::Stripes { height: 128 }, Decode::Tiles { side: 512 }];
    let streamed = Residency::Streamed { resident_blocks: 0 };
    let mut cases = Vec::new();
    for (width, height) in [(512, 384), (640, 640), (512, 1024)] {
        let case = |residency, precision, decode, guidance| Case {
            residency,
            precision,
            decode,
            width,
            height,
            guidance,
        };
        for decode in decodes {
            cases.push(case(Residency::Device, Precision::Full, decode, 0.0));
            cases.push(case(streamed, Precision::Full, decode, 0.0));
        }
        let [whole, stripes, _] = decodes;
        cases.push(case(Residency::TextReleased, Precision::Full, whole, 3.0));
        cases.push(case(Residency::TextReleased, Precision::Int8, stripes, 3.0));
        cases.push(case(streamed, Precision::Int8, whole, 0.0));
        cases.push(case(Residency::TextReleased, Precision::Q8, stripes, 0.0));
        cases.push(case(Residency::TextReleased, Precision::Q4, stripes, 3.0));
    }
    cases
}

#[test]
fn no_peak_of_the_miniature_is_above_its_prediction_and_none_far_below() {
    assert_predicted(MINI, DeviceChoice::Cpu, &cases());
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn no_peak_of_the_reference_is_above_its_prediction_and_none_far_below() {
    assert_predicted(REFERENCE, DeviceChoice::Cpu, &cases());
}

/// Matrices in bf16 change what layers take and need, which is the same at every size.
fn cases_of_one_size() -> Vec<Case> {
    cases().into_iter().filter(|case| case.width == 640).collect()
}

#[test]
fn no_peak_of_the_miniature_in_bf16_is_above_its_prediction_and_none_far_below() {
    assert_predicted(MINI, DeviceChoice::CpuBf16, &cases_of_one_size());
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn no_peak_of_the_reference_in_bf16_is_above_its_prediction_and_none_far_below() {
    assert_predicted(REFERENCE, DeviceChoice::CpuBf16, &cases_of_one_size());
}

/// There it is the pool that counts.
#[cfg(feature = "cuda")]
mod card {
    use super::*;

    const CARD: DeviceChoice = DeviceChoice::Cuda { index: 0 };

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn no_peak_of_the_miniature_is_above_its_prediction_and_none_far_below() {
        assert_predicted(MINI, CARD, &cases());
    }

    #[test]
    #[ignore = "needs a card, and the reference model: see tools/gpu/simulator, tools/reference"]
    fn no_peak_of_the_reference_is_above_its_prediction_and_none_far_below() {
        assert_predicted(REFERENCE, CARD, &cases());
    }
}

fn assert_predicted(model: &str, device: DeviceChoice, cases: &[Case]) {
    let _turn = turn();
    let model = Path::new(model);
    let config = ModelFiles::find(&ModelPlace::at(model)).unwrap().config().unwrap();
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| compare(model, &config, device, case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the predictions for one case: no stage may need more, and the render's peak
/// not much less. On a CPU, what the engine keeps for the process counts too, though an earlier one
/// has left it.
fn compare(
    model: &Path,
    config: &ModelConfig,
    device: DeviceChoice,
    case: &Case,
) -> Option<String> {
    let backend = match device.is_cpu() {
        true => Backend::Cpu { threads: THREADS, bf16: device == DeviceChoice::CpuBf16 },
        false => Backend::Cuda,
    };
    let left_bytes = if device.is_cpu() { left_bytes() } else { 0 };
    // A new one, so that no embedding is known.
    let mut engine = ZImageEngine::load(&ModelPlace::at(model), device, None).unwrap();
    let Case { residency, precision, decode, width, height, guidance } = *case;
    let rung = Rung { residency, precision, decode, width, height, steps: 1 };
    let recipe = Recipe { prompt: PROMPT.into(), guidance, seed: 1, ..Recipe::default() };
    let mut peaks = Peaks::default();
    let latents = engine.denoise(&recipe, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    engine.decode(&latents, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    let work = Work { tokens: engine.tokens(PROMPT).unwrap(), ..Work::of(&recipe) };
    let prediction = predict(config, backend, &rung, work);
    let stages = [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode];
    let excess = |predicted: u64, measured: u64| predicted as f64 / measured as f64 - 1.0;
    let measured = stages.map(|stage| peaks.of(stage) + left_bytes);
    let [predicted_bytes, measured_bytes] =
        [prediction.peak_bytes(), measured.into_iter().max().unwrap()];
    let peak = excess(predicted_bytes, measured_bytes);
    let by_stage = [0, 1, 2].map(|n| excess(prediction.stage_bytes(stages[n]), measured[n]));
    let found = format!("{rung}, guidance {guidance}: {peak:+.3}; by stage {by_stage:+.3?}");
    println!("{found}; {predicted_bytes} predicted, {measured_bytes} measured");
    let right = peak <= excess_max(device) && by_stage.iter().all(|excess| *excess >= 0.0);
    if right { None } else { Some(found) }
}
