//! The decode in stripes against the whole one: the same picture.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{Decoder, ModelFiles, ModelPlace, Weights};

use super::reference::{Case, model, unlimited};
use super::{assert_close, relative_error};

/// Relative error by rounding alone, in f32 and in f64 whose picture is given in f32.
const ERROR_MAX: f64 = 1e-5;
const ERROR_MAX_WIDE: f64 = 1e-7;

/// The decoder of the miniature model in `dtype`; in f64 it takes the path of every device but the
/// CPU.
fn miniature(dtype: DType) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    let files = ModelFiles::find(&ModelPlace::at(&folder)).unwrap();
    let config = files.config().unwrap().vae;
    let weights = Weights::open(&files.vae, dtype, &Device::Cpu).unwrap();
    Decoder::new(&config, &weights, &unlimited()).unwrap()
}

/// Latents of `height` by `width`, brighter towards the bottom: the stripes' own statistics differ
/// from the picture's.
fn latents(height: usize, width: usize) -> Tensor {
    let noise = Tensor::randn(0_f32, 1.0, (1, 16, height, width), &Device::Cpu).unwrap();
    let slope =
        Tensor::arange(0, height as u32, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    noise
        .broadcast_add(&(slope.reshape((1, 1, height, 1)).unwrap() / height as f64).unwrap())
        .unwrap()
}

fn assert_stripes_are_whole(
    decoder: &Decoder,
    latents: &Tensor,
    stripe_heights: &[usize],
    error_max: f64,
) {
    let whole = decoder.decode(latents).unwrap();
    for &rows in stripe_heights {
        let striped = decoder.decode_striped(latents, rows).unwrap();
        assert_eq!(striped.dtype(), DType::F32);
        assert_close(&format!("{latents:?} in stripes of {rows}"), &striped, &whole, error_max);
    }
}

#[test]
fn the_miniatures_stripes_make_its_whole_picture() {
    let decoder = miniature(DType::F32);
    assert_stripes_are_whole(&decoder, &latents(13, 6), &[1, 2, 3, 5, 12], ERROR_MAX);
    assert_stripes_are_whole(&decoder, &latents(4, 17), &[1, 3], ERROR_MAX);
}

#[test]
fn a_picture_of_one_stripe_is_the_whole_one() {
    let (decoder, latents) = (miniature(DType::F32), latents(3, 5));
    let whole = decoder.decode(&latents).unwrap();
    for rows in [3, 100] {
        let error = relative_error(&decoder.decode_striped(&latents, rows).unwrap(), &whole);
        assert!(error <= ERROR_MAX, "{error:e}");
    }
}

#[test]
fn stripes_make_the_whole_picture_on_the_plain_path_too() {
    let latents = latents(5, 3).to_dtype(DType::F64).unwrap();
    assert_stripes_are_whole(&miniature(DType::F64), &latents, &[1, 2], ERROR_MAX_WIDE);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn stripes_of_the_references_latents_make_its_pictures() {
    let model = model();
    for case in ["square", "wide_chinese"].map(Case::read) {
        assert_stripes_are_whole(&model.decoder, &case.tensor("latents"), &[1, 3, 7], ERROR_MAX);
    }
}
