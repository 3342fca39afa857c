//! LoRAs against what diffusers, peft and lycoris compute with them.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use zimaged::internals::{
    Engine, EngineError, Lora, LoraSize, PlacedLora, Recipe, Rung, ZImageEngine, sha256,
};

use super::reference::{Case, model};
use super::{Told, WHOLE_ERROR_MAX, assert_close, assert_levels, load_engine, relative_error};

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora");
    folder.join(name).with_extension("safetensors")
}

fn placed(path: PathBuf, weight: f64) -> PlacedLora {
    let sha256 = sha256(std::fs::read(&path).unwrap());
    let (name, size) = ("style".to_owned(), LoraSize::default());
    PlacedLora { lora: Lora { name, weight, allow_unknown: false, sha256, size }, path }
}

/// The latents that the engine makes with these LoRAs.
fn denoised(
    engine: &mut ZImageEngine,
    loras: Vec<PlacedLora>,
    recipe: &Recipe,
    rung: &Rung,
) -> Result<Tensor, EngineError> {
    engine.use_loras(loras);
    let latents = engine.denoise(recipe, rung, &mut Told::stopping_after(u32::MAX))?;
    let [channels, height, width] = latents.shape;
    Ok(Tensor::from_vec(latents.values, (1, channels, height, width), &Device::Cpu).unwrap())
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_lora_gives_the_references_picture_and_leaves_no_trace() {
    let mut engine = load_engine(model());
    let case = Case::read("lora");
    let (rung, recipe) = (super::rung(&case), case.recipe());
    let mut of = |loras| denoised(&mut engine, loras, &recipe, &rung).unwrap();
    let plain = of(Vec::new());
    let latents = of(vec![placed(file("case"), 0.8)]);
    assert_close("with the LoRA", &latents, &case.tensor("latents"), WHOLE_ERROR_MAX);
    let far = relative_error(&plain, &latents);
    assert!(far > 0.05, "the LoRA changes little: {far}");
    let halves = of(vec![placed(file("case"), 0.4), placed(file("case"), 0.4)]);
    assert_close("in two halves", &halves, &case.tensor("latents"), WHOLE_ERROR_MAX);
    let taken_away = of(vec![placed(file("case"), 0.8), placed(file("case"), -0.8)]);
    assert_close("taken away", &taken_away, &plain, WHOLE_ERROR_MAX);
    assert_eq!(relative_error(&of(Vec::new()), &plain), 0.0);
    let latents = {
        engine.use_loras(vec![placed(file("case"), 0.8)]);
        engine.denoise(&recipe, &rung, &mut Told::stopping_after(u32::MAX)).unwrap()
    };
    let pixels = engine.decode(&latents, &rung, &mut Told::stopping_after(u32::MAX)).unwrap();
    let reference: Vec<u8> = case.tensor("pixels").flatten_all().unwrap().to_vec1().unwrap();
    assert_levels("with the LoRA", &pixels.rgb, &reference);
}
