//! What a picture to begin with takes: its encoding against what is predicted of it.

use std::path::Path;

use zimaged::internals::{
    Backend, Decode, DeviceChoice, Engine, InputPicture, ModelFiles, ModelPlace, Pixels, Precision,
    Recipe, Residency, Rung, Stage, Work, ZImageEngine, predict,
};

use super::{Peaks, REFERENCE, THREADS, left_bytes, turn};

/// How much more than the measured peak may be predicted, beside the buffers.
const EXCESS_MAX: f64 = 0.15;

/// What the matrix product is taken to keep for each thread. A processor whose second cache is
/// smaller keeps less, and beside a small model's activations that counts.
const BUFFERS_BYTES: u64 = 3 * (2 << 20);

const PROMPT: &str = "a stained glass window";

/// Pixels of another level everywhere, half of them painted over where `is_masked`.
fn input(width: u32, height: u32, is_masked: bool) -> InputPicture {
    let count = width as usize * height as usize;
    let rgb = (0..3 * count).map(|at| (at * 7 % 251) as u8).collect();
    let mask = is_masked.then(|| (0..count).map(|at| at % 2 == 0).collect());
    InputPicture { pixels: Pixels { width, height, rgb }, mask }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn no_encoding_takes_more_than_predicted_nor_far_less() {
    let _turn = turn();
    let place = ModelPlace::at(Path::new(REFERENCE));
    let config = ModelFiles::find(&place).unwrap().config().unwrap();
    let backend = Backend::Cpu { threads: THREADS, bf16: false };
    let decodes = [Decode::Whole, Decode::Stripes { height: 128 }, Decode::Tiles { side: 256 }];
    for (width, height, is_masked) in [(512, 384, false), (640, 640, true), (512, 1024, false)] {
        for decode in decodes {
            let left_bytes = left_bytes();
            let mut engine = ZImageEngine::load(&place, DeviceChoice::Cpu, None).unwrap();
            let (residency, precision) = (Residency::Device, Precision::Full);
            let rung = Rung { residency, precision, decode, width, height, steps: 2 };
            let mask = if is_masked { "b" } else { "" }.to_owned();
            let init_image = "a".to_owned();
            let recipe = Recipe {
                prompt: PROMPT.into(),
                init_image,
                mask,
                strength: 0.9,
                ..Recipe::default()
            };
            let input = input(width, height, is_masked);
            let mut peaks = Peaks::default();
            engine.denoise_from(Some(&input), &recipe, &rung, &mut peaks).unwrap();
            peaks.end(engine.memory());
            let work = Work { tokens: engine.tokens(PROMPT).unwrap(), ..Work::of(&recipe) };
            let predicted = predict(&config, backend, &rung, work).denoise_bytes;
            let measured = peaks.of(Stage::Denoise) + left_bytes;
            let least = predicted as f64 / measured as f64 - 1.0;
            let excess = predicted.saturating_sub(BUFFERS_BYTES) as f64 / measured as f64 - 1.0;
            println!("{rung}: {predicted} predicted, {measured} measured: {least:+.3}");
            assert!(least >= 0.0 && excess <= EXCESS_MAX, "{rung}: {least:+.3}");
        }
    }
}
