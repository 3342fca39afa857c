//! LoRAs against what diffusers, peft and lycoris compute with them.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use zimaged::internals::{
    Decode, Engine, EngineError, Lora, LoraSize, PlacedLora, Precision, Recipe, Residency, Rung,
    ZImageEngine, sha256,
};

use super::reference::{Case, model};
use super::{Told, WHOLE_ERROR_MAX, assert_close, assert_levels, load_engine, relative_error};

/// As `tools/reference/lora.py` has them.
const KINDS: [&str; 12] = [
    "peft_alpha",
    "peft_rslora",
    "peft_dora",
    "lycoris_locon",
    "lycoris_loha",
    "lycoris_lokr",
    "lycoris_lokr_small",
    "lycoris_lokr_whole",
    "lycoris_dora_rows",
    "lycoris_dora_columns",
    "lycoris_lokr_dora",
    "lycoris_full",
];

pub fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora");
    folder.join(name).with_extension("safetensors")
}

pub fn placed(path: PathBuf, weight: f64) -> PlacedLora {
    let sha256 = sha256(std::fs::read(&path).unwrap());
    let (name, size) = ("style".to_owned(), LoraSize::default());
    PlacedLora { lora: Lora { name, weight, allow_unknown: false, sha256, size }, path }
}

fn rung(side: u32, steps: u32) -> Rung {
    let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
    Rung { residency, precision, decode, width: side, height: side, steps }
}

/// The latents that the engine makes with these LoRAs.
pub fn denoised(
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

/// What `tools/reference/lora.py` asks for.
pub fn two_steps() -> (Recipe, Rung) {
    let prompt = "a red fox in fresh snow, golden hour".to_owned();
    (Recipe { prompt, seed: 5, ..Recipe::default() }, rung(64, 2))
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn every_kind_is_what_its_trainer_computes_unmerged() {
    let mut engine = load_engine(model());
    let expected = candle_core::safetensors::load(file("expected"), &Device::Cpu).unwrap();
    let (recipe, rung) = two_steps();
    let plain = denoised(&mut engine, Vec::new(), &recipe, &rung).unwrap();
    assert_close("none", &plain, &expected["plain"], WHOLE_ERROR_MAX);
    for kind in KINDS {
        let loras = vec![placed(file(kind), 1.0)];
        let latents = denoised(&mut engine, loras, &recipe, &rung).unwrap();
        let far = relative_error(&plain, &expected[kind]);
        println!("{kind}: {:.1e} of {far:.2}", relative_error(&latents, &expected[kind]));
        assert_close(kind, &latents, &expected[kind], WHOLE_ERROR_MAX);
        assert!(far > 0.03, "{kind} changes little: {far}");
    }
}

/// PEFT weighs the change of a DoRA before the sum gets its lengths.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_dora_of_pefts_is_weighed_as_peft_weighs_it() {
    let mut engine = load_engine(model());
    let expected = candle_core::safetensors::load(file("expected"), &Device::Cpu).unwrap();
    let (recipe, rung) = two_steps();
    for (weight, name) in [(1.0, "peft_dora"), (0.4, "peft_dora_weighed"), (1.0, "peft_dora")] {
        let loras = vec![placed(file("peft_dora"), weight)];
        let latents = denoised(&mut engine, loras, &recipe, &rung).unwrap();
        assert_close(name, &latents, &expected[name], WHOLE_ERROR_MAX);
    }
    let far = relative_error(&expected["peft_dora_weighed"], &expected["peft_dora"]);
    assert!(far > 0.03, "the weight changes little: {far}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn streamed_weights_take_a_lora_exactly_and_quantised_ones_as_closely_as_without() {
    let mut engine = load_engine(model());
    let (recipe, full) = two_steps();
    for kind in ["peft_alpha", "lycoris_lokr", "lycoris_dora_columns", "lycoris_dora_rows"] {
        let mut of = |loras, rung| denoised(&mut engine, loras, &recipe, &rung).unwrap();
        let loras = || vec![placed(file(kind), 1.0)];
        let resident = of(loras(), full);
        let streamed = Rung { residency: Residency::Streamed { resident_blocks: 1 }, ..full };
        assert_eq!(relative_error(&of(loras(), streamed), &resident), 0.0, "{kind}");
        let plain = of(Vec::new(), full);
        for (precision, error_max) in [(Precision::Q8, 3.0), (Precision::Q4, 3.0)] {
            let rung = Rung { precision, ..streamed };
            let without = relative_error(&of(Vec::new(), rung), &plain);
            let with = relative_error(&of(loras(), rung), &resident);
            let far = relative_error(&plain, &resident);
            println!("{kind} at {precision:?}: {with:.3}, {without:.3} without, of {far:.3}");
            assert!(with < error_max * without && with < far, "{kind} at {precision:?}: {with}");
        }
    }
}
