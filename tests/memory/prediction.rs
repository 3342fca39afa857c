//! Predicted peaks against measured ones, over models, sizes, guidance, residencies and ways of decoding.

use std::path::{Path, PathBuf};

use zimaged::engine::z_image::ZImageEngine;
use zimaged::engine::z_image::config::ModelConfig;
use zimaged::engine::z_image::predict::{Work, predict};
use zimaged::engine::{Arithmetic, DeviceChoice, Engine, Recipe, Stage};
use zimaged::ladder::{Decode, Precision, Residency, Rung};

use super::limit::reference;
use super::{Peaks, THREADS, turn};

/// How much more than the measured peak may be predicted.
const EXCESS_MAX: f64 = 0.15;

const PROMPT: &str = "a red circle on a blue background";

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini")
}

struct Case {
    residency: Residency,
    decode: Decode,
    width: u32,
    height: u32,
    guidance: f64,
}

fn cases() -> Vec<Case> {
    let decodes = [Decode::Whole, Decode::Tiles { side: 512 }];
    let sizes = [(512, 512), (768, 768), (1024, 768), (1024, 1024)];
    let residencies = [Residency::Device, Residency::Streamed { resident_blocks: 0 }];
    let mut cases = Vec::new();
    for residency in residencies {
        for decode in decodes {
            for (width, height) in sizes {
                for guidance in [0.0, 3.0] {
                    cases.push(Case { residency, decode, width, height, guidance });
                }
            }
        }
    }
    cases
}

#[test]
fn no_peak_is_above_its_prediction_and_none_far_below() {
    let _turn = turn();
    let mut wrong = Vec::new();
    for model in [Some(mini()), reference()].into_iter().flatten() {
        let config = ModelConfig::read(&model).unwrap();
        let mut engine = ZImageEngine::load(&model, DeviceChoice::Cpu, None).unwrap();
        for case in cases() {
            wrong.extend(compare(&config, &mut engine, &case));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the predictions for one case.
fn compare(config: &ModelConfig, engine: &mut ZImageEngine, case: &Case) -> Vec<String> {
    let Case { residency, decode, width, height, guidance } = *case;
    let rung = Rung { residency, precision: Precision::Full, decode, width, height, steps: 1 };
    let recipe = Recipe { prompt: PROMPT.into(), negative_prompt: String::new(), guidance, seed: 1 };
    let mut peaks = Peaks::default();
    let latents = engine.denoise(&recipe, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    engine.decode(&latents, &rung, &mut peaks).unwrap();
    peaks.end(engine.memory());
    let work = Work { tokens: engine.tokens(PROMPT).unwrap(), guided: guidance > 0.0 };
    let prediction = predict(config, Arithmetic::Cpu { threads: THREADS }, &rung, work);
    let stages = [Stage::Denoise, Stage::VaeDecode];
    let line = |stage: Stage| {
        let (predicted, measured) = (prediction.stage_bytes(stage), peaks.of(stage));
        let excess = predicted as f64 / measured as f64 - 1.0;
        println!("{} {rung} {guidance} {stage}: {predicted} {measured} {excess:+.3}", config.transformer.dim);
        let right = (0.0..=EXCESS_MAX).contains(&excess);
        (!right).then(|| format!("{rung}, guidance {guidance}, {stage}: {predicted} for {measured}, {excess:+.3}"))
    };
    stages.into_iter().filter_map(line).collect()
}
