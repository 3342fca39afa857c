//! Names in every spelling; weights in few bits against what the programs that wrote them make of
//! them (tools/reference/formats.py).

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Shape, Tensor};

use super::{Meaning, Part, meaning, named};
use crate::engine::z_image::checkpoint::{Checkpoint, StoredTensor};

/// Rounding of products of floats.
const ERROR_MAX: f32 = 1e-5;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats").join(name)
}

fn expected() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(file("expected.safetensors"), &Device::Cpu).unwrap()
}

fn tensors(name: &str) -> HashMap<String, StoredTensor> {
    let path = file(name);
    let mut named = named(&Checkpoint::read(&path).unwrap(), &path).unwrap();
    assert_eq!(named.unknown, [""; 0]);
    named.parts.remove(&Part::Transformer).unwrap().into_iter().collect()
}

fn assert_equal(what: &str, stored: &StoredTensor, expected: &Tensor) {
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let ours = stored.load(&Shape::from(stored.shape()), DType::F32, &Device::Cpu).unwrap();
    let theirs = flat(expected.to_dtype(DType::F32).unwrap());
    for (ours, theirs) in flat(ours).into_iter().zip(&theirs) {
        let close = (ours - theirs).abs() <= ERROR_MAX * theirs.abs().max(1.0);
        assert!(close, "{what}: {ours} and not {theirs}");
    }
    let [_, columns] = *stored.shape() else { panic!("{what} is no matrix") };
    let row = flat(stored.load_rows(&[2], DType::F32, &Device::Cpu).unwrap());
    let same = row.iter().zip(&theirs[2 * columns..]).all(|(a, b)| (a - b).abs() <= ERROR_MAX);
    assert!(same, "{what}: another third row");
}

#[test]
fn int8_rows_become_what_comfy_kitchen_makes_of_them_rotated_or_not() {
    let (tensors, expected) = (tensors("int8.safetensors"), expected());
    for layer in ["to_q", "to_k", "to_v"] {
        let name = format!("layers.0.attention.{layer}.weight");
        assert_equal(&name, &tensors[&name], &expected[&name]);
    }
}

#[test]
fn blocks_of_every_format_become_what_gguf_makes_of_them() {
    let (tensors, expected) = (tensors("blocks.gguf"), expected());
    let formats = tensors.values().map(|tensor| (tensor.encoding().to_string(), tensor));
    let formats: HashMap<String, &StoredTensor> = formats.collect();
    assert_eq!(formats.len(), 12);
    for (format, tensor) in formats {
        assert_equal(&format, tensor, &expected[&format]);
    }
}

fn whole(part: Part, name: &str) -> Option<(Part, Meaning)> {
    Some((part, Meaning::Whole(name.to_owned())))
}

#[test]
fn every_spelling_of_a_tensor_comes_to_one_name() {
    let cases = [
        (
            Part::Transformer,
            "layers.29.attention.to_out.0.weight",
            vec![
                "layers.29.attention.to_out.0.weight",
                "layers.29.attention.out.weight",
                "diffusion_model.layers.29.attention.out.weight",
                "model.diffusion_model.layers.29.attention.out.weight",
                "transformer.layers.29.attention.to_out.0.weight",
            ],
        ),
        (
            Part::Transformer,
            "noise_refiner.1.attention.norm_k.weight",
            vec![
                "noise_refiner.1.attention.k_norm.weight",
                "model.diffusion_model.noise_refiner.1.attention.norm_k.weight",
            ],
        ),
        (
            Part::Transformer,
            "all_x_embedder.2-1.bias",
            vec![
                "x_embedder.bias",
                "all_x_embedder.2-1.bias",
                "model.diffusion_model.x_embedder.bias",
            ],
        ),
        (
            Part::Transformer,
            "all_final_layer.2-1.adaLN_modulation.1.weight",
            vec!["final_layer.adaLN_modulation.1.weight"],
        ),
        (
            Part::TextEncoder,
            "layers.0.self_attn.q_proj.weight",
            vec![
                "layers.0.self_attn.q_proj.weight",
                "model.layers.0.self_attn.q_proj.weight",
                "text_encoders.qwen3_4b.transformer.model.layers.0.self_attn.q_proj.weight",
                "text_encoders.qwen3_4b.model.layers.0.self_attn.q_proj.weight",
                "blk.0.attn_q.weight",
            ],
        ),
        (
            Part::TextEncoder,
            "embed_tokens.weight",
            vec!["model.embed_tokens.weight", "token_embd.weight"],
        ),
        (
            Part::Vae,
            "decoder.up_blocks.0.resnets.2.conv_shortcut.weight",
            vec![
                "decoder.up.3.block.2.nin_shortcut.weight",
                "vae.decoder.up.3.block.2.nin_shortcut.weight",
                "first_stage_model.decoder.up_blocks.0.resnets.2.conv_shortcut.weight",
            ],
        ),
        (
            Part::Vae,
            "decoder.mid_block.attentions.0.to_out.0.bias",
            vec![
                "decoder.mid.attn_1.proj_out.bias",
                "decoder.mid_block.attentions.0.to_out.0.bias",
            ],
        ),
        (
            Part::Vae,
            "encoder.down_blocks.1.downsamplers.0.conv.weight",
            vec!["encoder.down.1.downsample.conv.weight"],
        ),
        (Part::Vae, "decoder.conv_norm_out.weight", vec!["vae.decoder.norm_out.weight"]),
    ];
    for (part, canonical, spellings) in cases {
        for spelling in spellings {
            assert_eq!(meaning(spelling, 4), whole(part, canonical), "{spelling}");
        }
    }
}

#[test]
fn a_fused_matrix_is_three_and_what_is_not_needed_is_not_unknown() {
    let fused = meaning("diffusion_model.context_refiner.0.attention.qkv.weight", 4);
    let names = ["q", "k", "v"].map(|x| format!("context_refiner.0.attention.to_{x}.weight"));
    assert_eq!(fused, Some((Part::Transformer, Meaning::Stacked(names))));
    for unused in ["norm_final.weight", "lm_head.weight", "model.norm.weight", "output_norm.weight"]
    {
        assert!(matches!(meaning(unused, 4), Some((_, Meaning::Unused))), "{unused}");
    }
}

#[test]
fn a_name_that_only_looks_right_is_unknown() {
    for name in [
        "layers.0.attention.to_q.lora_A.weight",
        "layers.x.attention.to_q.weight",
        "layers.0.attention.to_q.weight.more",
        "all_x_embedder.2-1.2-1.weight",
        "siglip_embedder.0.weight",
        "decoder.up.4.block.0.conv1.weight",
        "up.0.block.0.conv1.weight",
        "double_blocks.0.img_attn.qkv.weight",
    ] {
        assert_eq!(meaning(name, 4), None, "{name}");
    }
}
