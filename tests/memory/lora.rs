//! What LoRAs take beside the weights, against what is predicted of them.

use std::path::Path;

use zimaged::internals::{
    Backend, Decode, DeviceChoice, Engine, Lora, Loras, ModelFiles, ModelPlace, PlacedLora,
    Precision, Recipe, Residency, Rung, Stage, Work, ZImageEngine, check_lora, predict,
};

use super::{Peaks, REFERENCE, THREADS, left_bytes, turn};

/// How much more than the measured peak may be predicted, beside the buffers.
const EXCESS_MAX: f64 = 0.15;

/// As for pictures as input.
const BUFFERS_BYTES: u64 = 3 * (2 << 20);

const PROMPT: &str = "a stained glass window";

const RUNGS: [(Residency, Precision); 3] = [
    (Residency::Device, Precision::Full),
    (Residency::Streamed { resident_blocks: 0 }, Precision::Q8),
    (Residency::TextReleased, Precision::Int8),
];

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn no_lora_takes_more_than_predicted_nor_far_less() {
    let _turn = turn();
    let place = ModelPlace::at(Path::new(REFERENCE));
    let config = ModelFiles::find(&place).unwrap().config().unwrap();
    let backend = Backend::Cpu { threads: THREADS, bf16: false };
    for names in [
        &["case"][..],
        &["peft_dora"],
        &["lycoris_loha"],
        &["lycoris_lokr"],
        &["lycoris_dora_columns"],
        // Of several all tensors are there, and what a DoRA keeps stands beside the change of
        // another.
        &["case", "lycoris_lokr"],
        &["lycoris_loha", "peft_dora"],
        &["lycoris_dora_columns", "case", "lycoris_full"],
    ] {
        // Several differ from one by what is said of their layers, whatever these are.
        let rungs = if names.len() > 1 { &RUNGS[..1] } else { &RUNGS };
        for &(residency, precision) in rungs {
            let left_bytes = left_bytes();
            let mut engine = ZImageEngine::load(&place, DeviceChoice::Cpu, None).unwrap();
            let decode = Decode::Whole;
            let rung = Rung { residency, precision, decode, width: 512, height: 640, steps: 1 };
            let placed: Vec<PlacedLora> = names.iter().map(|name| placed(name, &place)).collect();
            let lora = Loras(placed.iter().map(|placed| placed.lora.clone()).collect());
            let recipe = Recipe { prompt: PROMPT.into(), lora, ..Recipe::default() };
            let mut peaks = Peaks::default();
            engine.use_loras(placed);
            engine.denoise(&recipe, &rung, &mut peaks).unwrap();
            peaks.end(engine.memory());
            let work = Work { tokens: engine.tokens(PROMPT).unwrap(), ..Work::of(&recipe) };
            let predicted = predict(&config, backend, &rung, work).denoise_bytes;
            let measured = peaks.of(Stage::Denoise) + left_bytes;
            let least = predicted as f64 / measured as f64 - 1.0;
            let excess = predicted.saturating_sub(BUFFERS_BYTES) as f64 / measured as f64 - 1.0;
            let told = format!("{}, {rung}: {least:+.3}, {excess:+.3}", names.join(" and "));
            println!("{told}: {predicted} predicted, {measured} measured");
            assert!(least >= 0.0 && excess <= EXCESS_MAX, "{told}");
        }
    }
}

fn placed(name: &str, model: &ModelPlace) -> PlacedLora {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora");
    let path = folder.join(name).with_extension("safetensors");
    let size = check_lora(&path, model, false).unwrap();
    let sha256 = zimaged::internals::sha256(std::fs::read(&path).unwrap());
    let name = name.to_owned();
    PlacedLora { lora: Lora { name, weight: 0.8, allow_unknown: false, sha256, size }, path }
}
