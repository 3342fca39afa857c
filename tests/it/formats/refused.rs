//! Files that are refused: by the name of what they are, or with what is wrong with them.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{
    DeviceChoice, Engine, ModelPlace, Precision, Recipe, Residency, Rung, ZImageEngine,
};

use super::gguf::write_gguf;
use super::numbers::{Numbers, write_safetensors};
use super::rename::comfy_transformer;
use super::{Comfy, Quiet, changed, is_in, refusal, small, transformer};

/// A file with this header, and so many bytes behind it.
fn raw(path: &Path, header: &str, bytes: usize) {
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes(), &vec![0; bytes]].concat()).unwrap();
}

#[test]
fn what_is_not_read_is_named_with_what_to_use_instead() {
    let weight = "layers.0.attention.qkv";
    let one = |end: &str| format!("{weight}{end}");
    let cases: [(&[&str], &str); 9] = [
        (&[".qweight", ".wscales"], "nunchaku"),
        (&[".weight", ".weight_scale_2"], "nvfp4"),
        (&[".weight", ".weight.quant_state.bitsandbytes__nf4"], "bitsandbytes"),
        (&[".weight", ".zero_point"], "SDNQ"),
        (&[".lora_A.weight", ".lora_B.weight"], "a LoRA"),
        (&[".lokr_w1"], "a LoKr"),
        (&[".hada_w1_a"], "a LoHa"),
        (&[".control_all_x_embedder.2-1.weight"], "a ControlNet"),
        (&[".siglip_embedder.0.weight"], "Z-Image-Omni"),
    ];
    for (ends, expected) in cases {
        let comfy = Comfy::new();
        let path = comfy.file("z_image_turbo.safetensors");
        let names: Vec<String> = ends.iter().map(|end| one(end)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        write_safetensors(&path, &small(&names), Numbers::AsTheyAre);
        let error = refusal(&ModelPlace::at(&path));
        assert!(error.contains(expected) && is_in(&path, &error), "{expected}: {error}");
        assert!(error.contains("bf16, int8 (ConvRot), fp8, or GGUF"), "{error}");
    }
}

#[test]
fn formats_of_comfyui_and_of_mlx_that_are_not_read_are_named() {
    let entry = |name: &str, dtype: &str, length: usize, start: usize| {
        let end = start + length;
        format!(
            r#""{name}": {{"dtype": "{dtype}", "shape": [{length}], "data_offsets": [{start}, {end}]}}"#
        )
    };
    let mark = r#"{"format": "mxfp8"}"#;
    let comfy = Comfy::new();
    let path = comfy.file("z_image_turbo.safetensors");
    let layer = entry("layers.0.attention.qkv.comfy_quant", "U8", mark.len(), 0);
    let header = format!("{{{layer}}}");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], header.as_bytes(), mark.as_bytes()].concat()).unwrap();
    let error = refusal(&ModelPlace::at(&path));
    assert!(error.contains("ComfyUI's format mxfp8"), "{error}");

    let header = format!(
        r#"{{"a.weight": {{"dtype": "U32", "shape": [2, 2], "data_offsets": [0, 16]}}, {}}}"#,
        r#""a.scales": {"dtype": "F16", "shape": [2], "data_offsets": [16, 20]}"#
    );
    raw(&path, &header, 20);
    let error = refusal(&ModelPlace::at(&path));
    assert!(error.contains("quantised by MLX"), "{error}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn damaged_files_name_the_file_and_the_tensor() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("diffusion_models/z_image_turbo.safetensors");
    let write = |named| write_safetensors(&path, &named, Numbers::AsTheyAre);
    let assert_told = |expected: &[&str]| {
        let error = refusal(&ModelPlace::at(&path));
        let told = expected.iter().all(|expected| error.contains(expected));
        assert!(told && is_in(&path, &error), "{expected:?}: {error}");
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let norm = "layers.1.attention_norm1.weight";
    write(changed(comfy_transformer(transformer()), norm, zeros(&[97])));
    assert_told(&[norm, "[97], not [96]"]);
    let qkv = "layers.2.attention.qkv.weight";
    write(changed(comfy_transformer(transformer()), qkv, zeros(&[287, 96])));
    assert_told(&[qkv, "no stack of three equal matrices"]);
    let mut missing = comfy_transformer(transformer());
    missing.remove(norm);
    write(missing);
    assert_told(&[norm, "is missing"]);

    write(comfy_transformer(transformer()));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_told(&["of its", "the model's download is incomplete"]);
    fs::write(&path, [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
    assert_told(&["is no safetensors file"]);
    raw(
        &path,
        r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}"#,
        0,
    );
    assert_told(&["a has the shape", "which no memory holds"]);
    raw(&path, r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4);
    assert_told(&["a has 4 bytes", "take 8"]);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_damaged_gguf_names_the_file_and_what_is_wrong() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("unet/z_image_turbo.gguf");
    write_gguf(&path, &comfy_transformer(transformer()), "lumina2", None);
    let whole = fs::read(&path).unwrap();
    let told = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = refusal(&ModelPlace::at(&path));
        assert!(is_in(&path, &error), "{error}");
        error
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut content = whole.clone();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    };
    assert!(told(&whole[..whole.len() - 100]).contains("download is incomplete"));
    assert!(told(&whole[..100]).contains("ends in its header"));
    assert!(told(&with(4, &[9])).contains("of version 9"));
    assert!(told(&with(8, &u64::MAX.to_le_bytes())).contains("says that it has"));
    // The length of the first key, the kind of its value.
    assert!(told(&with(24, &u64::MAX.to_le_bytes())).contains("a text of"));
    assert!(told(&with(32 + 20, &[99])).contains("of kind 99"));
    // The type of the first tensor: behind its name, of which the length is known.
    let name = b"all".as_slice();
    assert!(!whole.windows(3).any(|window| window == name), "ComfyUI's names");
    let first = whole.windows(14).position(|window| window == b"cap_embedder.0").unwrap();
    let after_name = first + "cap_embedder.0.weight".len();
    let kind = after_name + 4 + 8; // dimensions, and the one side
    let error = told(&with(kind, &20_u32.to_le_bytes()));
    assert!(error.contains("cap_embedder.0.weight is of type IQ4_NL"), "{error}");
    assert!(error.contains("use a file of Q8_0"), "{error}");
}

/// A part may be there and be refused: that is the reason, and not what lies in another part's
/// folder.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_refused_encoder_or_vae_is_named_where_there_is_no_other() {
    let comfy = Comfy::new();
    let write = |name: &str, named| {
        let path = comfy.file(name);
        write_safetensors(&path, &named, Numbers::AsTheyAre);
        path
    };
    let told = |expected: &[&str]| {
        let error = refusal(&comfy.place());
        assert!(expected.iter().all(|expected| error.contains(expected)), "{expected:?}: {error}");
        error
    };
    let nvfp4 = |layer: &str| {
        let names = [".weight", ".weight_scale", ".weight_scale_2"];
        small(&names.map(|end| format!("{layer}{end}")).each_ref().map(String::as_str))
    };
    write("diffusion_models/z_image_turbo_nvfp4.safetensors", nvfp4("layers.0.attention.qkv"));
    told(&["holds no transformer", "z_image_turbo_nvfp4.safetensors: is in nvfp4"]);
    write("diffusion_models/z_image_turbo_bf16.safetensors", comfy_transformer(transformer()));
    let encoder = "text_encoders/qwen_3_4b_fp4_mixed.safetensors";
    let error = told(&["no text encoder for it"]);
    assert!(!error.contains("nvfp4"), "the transformer's trouble is another one: {error}");
    write(encoder, nvfp4("model.layers.0.mlp.up_proj"));
    let error = told(&["no text encoder for it", "qwen_3_4b_fp4_mixed.safetensors: is in nvfp4"]);
    assert!(!error.contains("z_image_turbo_nvfp4"), "{error}");
    write("text_encoders/qwen_3_4b.safetensors", super::text_encoder());
    fs::write(comfy.file("vae/ae.safetensors"), "<!doctype html>").unwrap();
    told(&["no VAE for it", "ae.safetensors: is a web page"]);
}

/// The worker reads files as it needs them, and never maps them: one that is cut meanwhile is an
/// error.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_file_that_is_cut_while_it_is_used_is_an_error() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("diffusion_models/z_image_turbo.safetensors");
    write_safetensors(&path, &comfy_transformer(transformer()), Numbers::AsTheyAre);
    let mut engine = ZImageEngine::load(&comfy.place(), DeviceChoice::Cpu, None).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(100_000).unwrap();
    let rung = Rung {
        residency: Residency::Streamed { resident_blocks: 0 },
        precision: Precision::Full,
        decode: zimaged::internals::Decode::Whole,
        width: 64,
        height: 64,
        steps: 1,
    };
    let error = engine.denoise(&Recipe::default(), &rung, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("cannot be read: the file was cut short"), "{error}");
    assert!(is_in(&path, &error), "{error}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn what_is_missing_or_there_twice_is_told_with_the_key_that_names_it() {
    let comfy = Comfy::new();
    let write = |name: &str, named| {
        let path = comfy.file(name);
        write_safetensors(&path, &named, Numbers::AsTheyAre);
        path
    };
    let told = |expected: &[&str]| {
        let error = refusal(&comfy.place());
        assert!(expected.iter().all(|expected| error.contains(expected)), "{expected:?}: {error}");
    };
    write(
        "checkpoints/other.safetensors",
        small(&["model.diffusion_model.input_blocks.0.0.weight"]),
    );
    told(&["holds no transformer of Z-Image"]);
    let path = write("diffusion_models/fine_tune.safetensors", comfy_transformer(transformer()));
    told(&["no text encoder", "embeddings of 32", "[model] text_encoder"]);
    write("text_encoders/qwen_3_4b.safetensors", super::text_encoder());
    told(&["no VAE", "16 channels", "[model] vae"]);
    write("vae/ae.safetensors", super::vae());
    told(&["fine_tune", "[model] kind = \"turbo\" or \"base\""]);
    let again = comfy.file("text_encoders/again.safetensors");
    fs::copy(comfy.file("text_encoders/qwen_3_4b.safetensors"), &again).unwrap();
    // The usual name decides.
    told(&["[model] kind"]);
    fs::copy(&path, comfy.file("diffusion_models/other_tune.safetensors")).unwrap();
    told(&["several files hold a transformer", "fine_tune", "other_tune", "[model] path"]);
}
