//! Predicted peaks against measured ones, over models, sizes, guidance, residencies and ways of
//! decoding.

use std::path::{Path, PathBuf};

use zimaged::internals::{
    Backend, Decode, DeviceChoice, Engine, ModelConfig, Precision, Recipe, Residency, Rung, Stage,
    Work, ZImageEngine, predict,
};

use super::limit::reference;
use super::{Peaks, THREADS, left_bytes, turn};

/// How much more than the measured peak may be predicted.
const EXCESS_MAX: f64 = 0.15;

const PROMPT: &str = "a red circle on a blue background";

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini")
}

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
        cases.push(case(Residency::TextReleased, Precision::Q8, stripes, 0.0));
        cases.push(case(Residency::TextReleased, Precision::Q4, stripes, 3.0));
    }
    cases
}

#[test]
fn no_peak_is_above_its_prediction_and_none_far_below() {
    let _turn = turn();
    assert_predicted(DeviceChoice::Cpu, Backend::Cpu { threads: THREADS });
}

/// There it is the pool that counts.
#[cfg(feature = "cuda")]
#[test]
fn no_peak_of_a_card_is_above_its_prediction_and_none_far_below() {
    let _turn = turn();
    let card = DeviceChoice::Cuda { index: 0 };
    match ZImageEngine::load(&mini(), card, None).map(drop) {
        Ok(()) => assert_predicted(card, Backend::Cuda),
        Err(error) => {
            assert!(std::env::var_os("ZIMAGED_CARD_REQUIRED").is_none(), "no card: {error}")
        }
    }
}

fn assert_predicted(device: DeviceChoice, backend: Backend) {
    let mut wrong = Vec::new();
    for model in [Some(mini()), reference()].into_iter().flatten() {
        let config = ModelConfig::read(&model).unwrap();
        for case in cases() {
            // On a card nothing of that is the device's.
            let left_bytes = if device == DeviceChoice::Cpu { left_bytes() } else { 0 };
            // A new one, so that no embedding is known.
            let mut engine = ZImageEngine::load(&model, device, None).unwrap();
            wrong.extend(compare(&config, backend, &mut engine, &case, left_bytes));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the predictions for one case: no stage may need more, and the render's peak
/// not much less. What the engine keeps for the process counts too, though an earlier one has left
/// it: `left_bytes`.
fn compare(
    config: &ModelConfig,
    backend: Backend,
    engine: &mut ZImageEngine,
    case: &Case,
    left_bytes: u64,
) -> Option<String> {
    let Case { residency, precision, decode, width, height, guidance } = *case;
    let rung = Rung { residency, precision, decode, width, height, steps: 1 };
    let recipe = Recipe { prompt: PROMPT.into(), guidance, seed: 1, ..Recipe::default() };
    let mut peaks = Peaks::default();
    let latents = engine.denoise(&recipe, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    engine.decode(&latents, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    let work = Work { tokens: engine.tokens(PROMPT).unwrap(), guided: guidance > 0.0 };
    let prediction = predict(config, backend, &rung, work);
    let stages = [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode];
    let excess = |predicted: u64, measured: u64| predicted as f64 / measured as f64 - 1.0;
    let measured = stages.map(|stage| peaks.of(stage) + left_bytes);
    let peak = excess(prediction.peak_bytes(), measured.into_iter().max().unwrap());
    let by_stage = [0, 1, 2].map(|n| excess(prediction.stage_bytes(stages[n]), measured[n]));
    let found = format!("{rung}, guidance {guidance}: {peak:+.3}; by stage {by_stage:+.3?}");
    println!("{found}");
    let right = peak <= EXCESS_MAX && by_stage.iter().all(|excess| *excess >= 0.0);
    if right { None } else { Some(found) }
}
