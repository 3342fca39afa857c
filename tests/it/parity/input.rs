//! Pictures as input against what the reference implementation computes of them: the resized
//! picture, its encoding, and two whole cases.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{
    Decode, Distribution, Encoder, Engine, InputPicture, Latents, Pixels, Precision, Recipe,
    Residency, Rung, Stage, beginning, input_picture,
};

use super::reference::{Case, model, tensors};
use super::{
    PART_ERROR_MAX, Told, WHOLE_ERROR_MAX, assert_close, assert_levels, load_engine, relative_error,
};

/// Relative error by rounding alone.
const STRIPES_ERROR_MAX: f64 = 1e-5;

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference");
    std::fs::read(folder.join(name)).unwrap()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What `tools/reference/inpaint.py` asks for.
fn inpainting() -> (Recipe, Rung, HashMap<String, Tensor>) {
    let recipe = Recipe {
        prompt: "a stained glass window".to_owned(),
        negative_prompt: "blurry".to_owned(),
        guidance: 2.0,
        seed: 11,
        init_image: "inpaint_init.png".to_owned(),
        mask: "inpaint_mask.png".to_owned(),
        strength: 0.7,
        ..Recipe::default()
    };
    (recipe, rung(96, 64, 6), tensors("inpaint"))
}

fn rung(width: u32, height: u32, steps: u32) -> Rung {
    let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
    Rung { residency, precision, decode, width, height, steps }
}

fn input(recipe: &Recipe, rung: &Rung) -> InputPicture {
    let content = file(&recipe.init_image);
    let pixels = input_picture(&content, rung.width, rung.height).unwrap();
    let input = InputPicture { pixels, mask: None };
    match recipe.mask.as_str() {
        "" => input,
        mask => input.with_mask(&file(mask)).unwrap(),
    }
}

#[test]
fn pictures_and_masks_are_resized_as_the_reference_does() {
    let (recipe, rung, reference) = inpainting();
    let InputPicture { pixels, mask } = input(&recipe, &rung);
    assert!(pixels.rgb == bytes(&reference["picture"]), "the picture has other levels");
    let mask: Vec<u8> = mask.unwrap().into_iter().map(u8::from).collect();
    let differ = mask.iter().zip(bytes(&reference["mask"])).filter(|(a, b)| **a != *b).count();
    assert_eq!(differ, 0, "pixels of the mask");
}

/// The picture of the case of inpainting, exactly as the reference has it.
fn picture() -> Tensor {
    let (_, rung, reference) = inpainting();
    let rgb = bytes(&reference["picture"]);
    let pixels = Pixels { width: rung.width, height: rung.height, rgb };
    beginning::values(&pixels, &Device::Cpu).unwrap()
}

fn encoder() -> Encoder {
    model().decoder.encoder().unwrap().unwrap()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_picture_is_encoded_as_the_reference_does() {
    let (_, _, reference) = inpainting();
    let Distribution { mean, deviation, .. } = encoder().encode(&picture()).unwrap();
    assert_close("the mean", &mean, &reference["mean"], PART_ERROR_MAX);
    assert_close("the deviation", &deviation, &reference["deviation"], PART_ERROR_MAX);
}

/// A picture of which every part has other statistics.
fn slope(height: usize, width: usize) -> Tensor {
    let noise = Tensor::randn(0_f32, 0.3, (1, height, width, 3), &Device::Cpu).unwrap();
    let slope = Tensor::arange(0, height as u32, &Device::Cpu).unwrap();
    let slope = (slope.to_dtype(DType::F32).unwrap() / height as f64).unwrap();
    noise.broadcast_add(&slope.reshape((1, height, 1, 1)).unwrap()).unwrap()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn stripes_encode_the_whole_picture_and_tiles_nearly() {
    let encoder = encoder();
    for (height, width, stripes) in [(104, 48, &[1, 2, 3, 5, 12][..]), (32, 136, &[1, 3, 9])] {
        let picture = slope(height, width);
        let whole = encoder.encode(&picture).unwrap();
        for &rows in stripes {
            let striped = encoder.encode_striped(&picture, rows).unwrap();
            let what = format!("{height} rows in stripes of {rows}");
            assert_close(&what, &striped.mean, &whole.mean, STRIPES_ERROR_MAX);
            assert_close(&what, &striped.deviation, &whole.deviation, STRIPES_ERROR_MAX);
        }
    }
    // The same everywhere, so that each tile has the whole picture's statistics.
    let picture = Tensor::randn(0_f32, 0.3, (1, 8 * 48, 8 * 40, 3), &Device::Cpu).unwrap();
    let whole = encoder.encode(&picture).unwrap().mean;
    let error = |side| relative_error(&encoder.encode_tiled(&picture, side).unwrap().mean, &whole);
    assert!(error(48) <= STRIPES_ERROR_MAX, "one tile is the whole picture: {:e}", error(48));
    let tiled = error(32);
    assert!(tiled > STRIPES_ERROR_MAX && tiled < 0.2, "{tiled}");
}

/// Renders on the reference's model, and compares every step's end, the latents and the pixels.
fn assert_case(
    name: &str,
    (recipe, input): (&Recipe, InputPicture),
    rung: &Rung,
    reference: &HashMap<String, Tensor>,
) {
    let mut engine = load_engine(model());
    let mut told = Told::stopping_after(u32::MAX);
    let latents = engine.denoise_from(Some(&input), recipe, rung, &mut told).unwrap();
    let steps = reference["latents_per_step"].dim(0).unwrap() as u32;
    assert_eq!(told.steps, steps, "{name}");
    let encoding = [Stage::Load, Stage::TextEncode, Stage::Denoise, Stage::Denoise];
    assert_eq!(told.stages, encoding);
    let Latents { shape: [channels, height, width], values } = latents.clone();
    let ours = Tensor::from_vec(values, (1, channels, height, width), &Device::Cpu).unwrap();
    assert_close(name, &ours, &reference["latents"], WHOLE_ERROR_MAX);
    let pixels = engine.decode(&latents, rung, &mut told).unwrap();
    assert_levels(name, &pixels.rgb, &bytes(&reference["pixels"]));
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_picture_from_a_picture_is_the_references() {
    let case = Case::read("img2img");
    let init_image = "img2img_init.png".to_owned();
    let recipe = Recipe { init_image, strength: 0.6, ..case.recipe() };
    let rung = rung(case.width, case.height, case.steps);
    assert_case("img2img", (&recipe, input(&recipe, &rung)), &rung, &tensors("img2img"));
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_picture_painted_over_in_part_is_the_references() {
    let (recipe, rung, reference) = inpainting();
    // A level more or less by the resizing would count more than all that comes after it.
    let mut input = input(&recipe, &rung);
    input.pixels.rgb = bytes(&reference["picture"]);
    assert_case("inpaint", (&recipe, input), &rung, &reference);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn what_a_picture_cannot_be_used_for_is_told() {
    let (recipe, rung, _) = inpainting();
    let input = input(&recipe, &rung);
    let mut told = Told::stopping_after(u32::MAX);
    let other = Rung { width: 64, ..rung };
    let error = load_engine(model()).denoise_from(Some(&input), &recipe, &other, &mut told);
    assert_eq!(error.unwrap_err().to_string(), "the input picture is of another size");
}
