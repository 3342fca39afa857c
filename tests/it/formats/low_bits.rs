//! Files of eight bits and fewer: how far their pictures are from those of the full weights, and in
//! how many ways they say what they are.

use candle_core::quantized::GgmlDType;

use super::gguf::{GGUF_BOUNDS, write_bare_gguf, write_gguf};
use super::numbers::{
    Fp8Scale, Int8Mark, Numbers, is_any_block_matrix, is_encoder_matrix, is_mixed_encoder_matrix,
    write_low, write_safetensors,
};
use super::rename::{comfy_transformer, llama_text_encoder, prefixed};
use super::{Comfy, error, part, picture, text_encoder, transformer, vae};
use zimaged::internals::{ModelPlace, Precision};

/// Which layers have few bits, by their names.
type IsLow = fn(&str) -> bool;

const PREFIX: &str = "model.diffusion_model.";

/// Files of eight bits and fewer: the names of the numbers, and how far the latents may be from
/// those of the full weights.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn lower_bits_stay_within_their_bounds() {
    let safetensors = [
        ("fp8, plain", Numbers::F8 { scale: Fp8Scale::None }, 0.07),
        ("fp8, scale_weight", Numbers::F8 { scale: Fp8Scale::Old }, 0.07),
        ("fp8, weight_scale", Numbers::F8 { scale: Fp8Scale::New }, 0.07),
        ("fp8, in the metadata", Numbers::F8 { scale: Fp8Scale::InMetadata }, 0.07),
        ("fp8, squares", Numbers::F8 { scale: Fp8Scale::Squares }, 0.07),
        ("fp8, e5m2", Numbers::F8E5M2, 0.14),
        ("fp8, rows", Numbers::F8 { scale: Fp8Scale::Rows }, 0.07),
        ("fp8, all tensors", Numbers::AllF8, 0.15),
        ("int8, rows", Numbers::Int8 { rotated: None, mark: Int8Mark::Beside }, 0.015),
        ("int8, ConvRot", Numbers::Int8 { rotated: Some(16), mark: Int8Mark::Beside }, 0.015),
        ("int8, one scale", Numbers::Int8Scalar, 0.03),
    ];
    let mut told = Vec::new();
    let mut check = |what: &str, comfy: &Comfy, precision, bound: f64| {
        let error = error(&comfy.place(), precision);
        told.push(format!("{what}: {error:.4} of {bound}"));
        // What is exact is not written in so few bits.
        assert!((1e-4..bound).contains(&error), "{told:#?}");
    };
    for (what, numbers, bound) in safetensors {
        let comfy = Comfy::with_text_encoder_and_vae();
        let path = comfy.file("diffusion_models/z_image_turbo_low.safetensors");
        write_safetensors(&path, &comfy_transformer(transformer()), numbers);
        check(what, &comfy, Precision::Full, bound);
    }
    for (format, bound) in GGUF_BOUNDS {
        let comfy = Comfy::new();
        write_safetensors(&comfy.file("vae/ae.safetensors"), &vae(), Numbers::AsTheyAre);
        let path = comfy.file("unet/z_image_turbo_low.gguf");
        write_gguf(&path, &comfy_transformer(transformer()), "lumina2", Some(format));
        let encoder = comfy.file("text_encoders/Qwen3-4B.gguf");
        write_gguf(&encoder, &llama_text_encoder(part("text_encoder")), "qwen3", Some(format));
        check(&format!("{format:?}"), &comfy, Precision::Full, bound);
    }
    println!("{}", told.join("\n"));
}

/// What is exact is not written in so few bits, and what is noise is not the model.
fn assert_within(what: &str, place: &ModelPlace, bound: f64) {
    let error = error(place, Precision::Full);
    println!("{what}: {error:.4} of {bound}");
    assert!((1e-4..bound).contains(&error), "{what}: {error} and not below {bound}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn text_encoders_and_whole_checkpoints_may_have_few_bits_too() {
    let fp8 = Numbers::F8 { scale: Fp8Scale::New };
    let encoders: [(&str, IsLow); 2] =
        [("encoder, fp8 mixed", is_mixed_encoder_matrix), ("encoder, fp8", is_encoder_matrix)];
    for (what, is_low) in encoders {
        let comfy = Comfy::with_text_encoder_and_vae();
        let encoder = comfy.file("text_encoders/qwen_3_4b.safetensors");
        write_low(&encoder, &text_encoder(), fp8, is_low);
        let path = comfy.file("diffusion_models/z_image_turbo.safetensors");
        write_safetensors(&path, &comfy_transformer(transformer()), Numbers::AsTheyAre);
        assert_within(what, &comfy.place(), 0.07);
    }
    for (what, scale) in [("all in one, fp8", Fp8Scale::New), ("plain", Fp8Scale::None)] {
        let comfy = Comfy::new();
        let mut all = prefixed(PREFIX, comfy_transformer(transformer()));
        all.extend(prefixed("text_encoders.qwen3_4b.transformer.", text_encoder()));
        all.extend(prefixed("vae.", vae()));
        let path = comfy.file("checkpoints/z-image-turbo-aio-fp8.safetensors");
        write_low(&path, &all, Numbers::F8 { scale }, is_any_block_matrix);
        assert_within(what, &ModelPlace::at(&path), 0.1);
    }
}

/// A mistake with these gives noise and no error: the same numbers must give the same picture,
/// however the file says what they are.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn where_a_file_says_its_format_makes_no_difference() {
    let pictures = |prefix: &str, numbers| {
        let comfy = Comfy::with_text_encoder_and_vae();
        let path = comfy.file("diffusion_models/z_image_turbo_low.safetensors");
        let named = prefixed(prefix, comfy_transformer(transformer()));
        write_low(&path, &named, numbers, is_any_block_matrix);
        picture(&comfy.place(), Precision::Full)
    };
    let rotated = |mark| Numbers::Int8 { rotated: Some(16), mark };
    let rows = |mark| Numbers::Int8 { rotated: None, mark };
    let f8 = |scale| Numbers::F8 { scale };
    for (what, usual, other) in [
        ("ConvRot in the header", rotated(Int8Mark::Beside), rotated(Int8Mark::InMetadata)),
        ("a word in the header", rows(Int8Mark::Beside), rows(Int8Mark::Word)),
        ("scaled_fp8", f8(Fp8Scale::New), f8(Fp8Scale::Old)),
        ("fp8 in the header", f8(Fp8Scale::New), f8(Fp8Scale::InMetadata)),
    ] {
        let usual = pictures("", usual);
        for prefix in ["", PREFIX] {
            assert!(pictures(prefix, other) == usual, "{what}, after {prefix:?}: another picture");
        }
    }
}

/// stable-diffusion.cpp's converter says nothing of the file and gives norms and pad tokens any
/// type.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_gguf_that_says_nothing_of_itself_is_known_by_its_tensors() {
    for prefix in ["", PREFIX] {
        let comfy = Comfy::with_text_encoder_and_vae();
        let path = comfy.file("unet/z_image_turbo-Q8_0.gguf");
        let named = prefixed(prefix, comfy_transformer(transformer()));
        write_bare_gguf(&path, &named, GgmlDType::Q8_0);
        assert_within(&format!("sd.cpp {prefix:?}"), &comfy.place(), 0.05);
    }
}
