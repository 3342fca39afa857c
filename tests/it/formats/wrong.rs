//! Numbers that contradict what stands beside them, in each part, and models that are others than
//! they seem.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Dtype;
use zimaged::internals::ModelPlace;

use super::numbers::{Numbers, Written, write_odd, write_safetensors};
use super::rename::{Named, comfy_transformer};
use super::{Comfy, changed, is_in, model_folder, refusal, small, text_encoder, transformer, vae};

fn odd(dtype: Dtype, shape: &[usize], bytes_each: usize) -> Written {
    let count: usize = shape.iter().product();
    Written { dtype, shape: shape.to_vec(), bytes: vec![1; count * bytes_each] }
}

/// What may stand beside a layer's weight of this shape and not fit, and what is told of it.
fn cases(layer: &str, shape: &[usize]) -> Vec<(Vec<(String, Written)>, &'static str)> {
    let named = |end: &str, written| (format!("{layer}.{end}"), written);
    let weight = |dtype, bytes_each| named("weight", odd(dtype, shape, bytes_each));
    let scale = |values: &[f32]| named("weight_scale", Written::floats(&[values.len()], values));
    let mark = |text: &str| named("comfy_quant", Written::text(text));
    let one = || scale(&[0.5]);
    let turned = r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 7}"#;
    let endless = r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": "all"}"#;
    vec![
        (vec![weight(Dtype::I8, 1)], "is of type I8 and has no"),
        (vec![weight(Dtype::BF16, 2), one()], "has a scale, which only weights of 8 bits have"),
        (vec![weight(Dtype::F8_E4M3, 1), scale(&[f32::NAN])], "holds NaN"),
        (vec![weight(Dtype::F8_E4M3, 1), scale(&[1.0; 5])], "which fits no matrix"),
        (vec![weight(Dtype::I8, 1), one(), mark("{\"format")], "is no JSON"),
        (
            vec![weight(Dtype::I8, 1), one(), mark(turned)],
            "cannot have been rotated in groups of 7",
        ),
        (vec![weight(Dtype::I8, 1), one(), mark(endless)], "convrot_groupsize must be a number"),
        (vec![weight(Dtype::I32, 4)], "as I32, which zimaged does not read"),
    ]
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn numbers_that_do_not_fit_what_stands_beside_them_are_told_with_file_and_tensor() {
    let parts: [(&str, &str, Named); 3] = [
        (
            "diffusion_models/z_image_turbo.safetensors",
            "layers.0.feed_forward.w1",
            comfy_transformer(transformer()),
        ),
        ("text_encoders/qwen_3_4b.safetensors", "model.layers.0.mlp.up_proj", text_encoder()),
        ("vae/ae.safetensors", "decoder.conv_in", vae()),
    ];
    let comfy = Comfy::with_text_encoder_and_vae();
    let [place, ..] = parts.each_ref().map(|(name, ..)| comfy.file(name));
    write_safetensors(&place, &parts[0].2, Numbers::AsTheyAre);
    for (name, layer, named) in &parts {
        let path = comfy.file(name);
        let whole = fs::read(&path).unwrap();
        let shape = named[&format!("{layer}.weight")].dims().to_vec();
        for (written, expected) in cases(layer, &shape) {
            write_odd(&path, named, written);
            let error = refusal(&comfy.place());
            let told = error.contains(expected) && error.contains(layer) && is_in(&path, &error);
            assert!(told, "{name}: {expected}: {error}");
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn other_models_with_the_same_names_are_told() {
    let comfy = Comfy::new();
    let path = comfy.file("lumina_2.safetensors");
    let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::BF16, &Device::Cpu).unwrap();
    let named = Named::from([
        ("cap_embedder.1.weight".to_owned(), zeros((16, 2304))),
        ("x_embedder.weight".to_owned(), zeros((16, 64))),
    ]);
    candle_core::safetensors::save(&named.into_iter().collect(), &path).unwrap();
    let error = refusal(&ModelPlace::at(&path));
    assert!(error.contains("is Lumina-Image-2") && is_in(&path, &error), "{error}");

    let old_diffusers = ["layers.0.attention.to_q.lora.down.weight"];
    write_safetensors(&path, &small(&old_diffusers), Numbers::AsTheyAre);
    let error = refusal(&ModelPlace::at(&path));
    assert!(error.contains("is a LoRA, which is no model by itself"), "{error}");
    let quanto = ["layers.0.attention.to_q.weight._data", "layers.0.attention.to_q.weight._scale"];
    write_safetensors(&path, &small(&quanto), Numbers::AsTheyAre);
    assert!(refusal(&ModelPlace::at(&path)).contains("quantised by quanto"));
    let layer = "layers.0.attention.to_q";
    let sdnq = vec![
        (format!("{layer}.weight"), odd(Dtype::U8, &[4, 2], 1)),
        (format!("{layer}.scale"), Written::floats(&[4, 1], &[1.0; 4])),
    ];
    write_odd(&path, &Named::new(), sdnq);
    assert!(refusal(&ModelPlace::at(&path)).contains("quantised by SDNQ"));

    // A look into it says the same.
    let look = Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .args(["model", "inspect", &path.to_string_lossy()])
        .current_dir(comfy.0.path())
        .output()
        .unwrap();
    let told = crate::support::said(&look);
    assert!(!look.status.success() && told.contains("quantised by SDNQ"), "{told}");
}

/// The text encoder of another size, as the only one that is there and as the one that is named.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_text_encoder_of_another_width_is_told_with_both() {
    let comfy = Comfy::new();
    let write = |name: &str, named: &Named| -> PathBuf {
        let path = comfy.file(name);
        write_safetensors(&path, named, Numbers::AsTheyAre);
        path
    };
    write("diffusion_models/z_image_turbo.safetensors", &comfy_transformer(transformer()));
    write("vae/ae.safetensors", &vae());
    let wide = Tensor::zeros((50, 48), DType::F32, &Device::Cpu).unwrap();
    let wide = changed(text_encoder(), "model.embed_tokens.weight", wide);
    let path = write("text_encoders/qwen_3_8b.safetensors", &wide);
    let error = refusal(&comfy.place());
    for part in ["no text encoder for it", "qwen_3_8b.safetensors", "embeddings of 48"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let named = ModelPlace { text_encoder: Some(path.clone()), ..comfy.place() };
    let error = refusal(&named);
    assert!(error.contains("embeddings of 48") && error.contains("embeddings of 32"), "{error}");
    assert!(is_in(&path, &error), "{error}");
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_hub_folder_that_was_quantised_says_by_what() {
    for (method, is_read) in
        [("sdnq", false), ("quanto", false), ("bitsandbytes", false), ("fp8", true)]
    {
        let hub = tempfile::tempdir().unwrap();
        super::places::copy_folder(&model_folder(), hub.path());
        let path = hub.path().join("transformer/config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["quantization_config"] = serde_json::json!({ "quant_method": method });
        fs::write(&path, config.to_string()).unwrap();
        let told = zimaged::internals::ModelDescription::read(&ModelPlace::at(hub.path()));
        match is_read {
            true => assert!(told.is_ok(), "{method}: {told:?}"),
            false => {
                let told = told.unwrap_err().to_string();
                assert!(told.contains(method) && told.contains("use a file in bf16"), "{told}");
                assert!(told.contains("transformer/config.json"), "{told}");
            }
        }
    }
}
