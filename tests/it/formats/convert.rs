//! Models written anew: converted from what people have, and of random weights.

use super::*;
use candle_core::quantized::GgmlDType;
use zimaged::internals::{
    Conversion, FloatFormat, Geometry, Synthesis, convert_model, synthesise_model,
};

use crate::support::places::miniature;

const Q8_0: GgmlDType = GgmlDType::Q8_0;

/// The model at `place` in the hub's layout.
fn converted(place: &ModelPlace, format: FloatFormat) -> (tempfile::TempDir, ModelPlace) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("converted");
    convert_model(place, Conversion { to: &to, format }).unwrap();
    (folder, ModelPlace::at(&to))
}

fn assert_converted_alike(what: &str, place: &ModelPlace, format: FloatFormat) {
    let (_folder, converted) = converted(place, format);
    let [before, after] = [place, &converted].map(|place| picture(place, Precision::Full));
    assert!(before == after, "{what}: another picture");
}

/// The transformer as a single file, in the forms that are read.
fn with_transformer(name: &str, write: impl Fn(&Path)) -> Comfy {
    let comfy = Comfy::with_text_encoder_and_vae();
    write(&comfy.file(name));
    comfy
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_converted_model_gives_the_same_picture_whatever_it_was_written_in() {
    let (_folder, of_hub) = converted(&ModelPlace::at(&model_folder()), FloatFormat::F32);
    assert_same_picture("the hub's folder", &of_hub);
    let numbers = [
        Numbers::AsTheyAre,
        Numbers::F8 { scale: numbers::Fp8Scale::New },
        Numbers::Int8 { rotated: Some(16), mark: numbers::Int8Mark::Beside },
    ];
    for numbers in numbers {
        let comfy = with_transformer("diffusion_models/z_image_turbo.safetensors", |path| {
            write_safetensors(path, &comfy_transformer(transformer()), numbers);
        });
        assert_converted_alike(&format!("{numbers:?}"), &comfy.place(), FloatFormat::F32);
    }
    for format in [None, Some(Q8_0)] {
        let comfy = with_transformer("unet/z_image_turbo.gguf", |path| {
            write_gguf(path, &comfy_transformer(transformer()), "lumina2", format);
        });
        let encoder = comfy.file("text_encoders/Qwen3-4B.gguf");
        write_gguf(&encoder, &llama_text_encoder(part("text_encoder")), "qwen3", format);
        let place = ModelPlace { text_encoder: Some(encoder), ..comfy.place() };
        assert_converted_alike(&format!("GGUF {format:?}"), &place, FloatFormat::F32);
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn one_file_of_bf16_stays_the_same_in_bf16() {
    let comfy = Comfy::new();
    let mut all = prefixed("model.diffusion_model.", comfy_transformer(transformer()));
    all.extend(prefixed("text_encoders.qwen3_4b.transformer.", text_encoder()));
    all.extend(prefixed("vae.", vae()));
    let path = comfy.file("checkpoints/z-image-turbo-aio.safetensors");
    let all = all
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(candle_core::DType::BF16).unwrap()));
    candle_core::safetensors::save(&all.collect::<HashMap<_, _>>(), &path).unwrap();
    assert_converted_alike("bf16", &ModelPlace::at(&path), FloatFormat::Bf16);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn what_cannot_be_converted_leaves_nothing_and_names_file_and_tensor() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let name = "layers.1.attention.out.weight";
    let nan = Tensor::full(f32::NAN, (96, 96), &Device::Cpu).unwrap();
    let path = comfy.file("diffusion_models/z_image_turbo.safetensors");
    let named = changed(comfy_transformer(transformer()), name, nan);
    write_safetensors(&path, &named, Numbers::AsTheyAre);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("converted");
    let convert =
        || convert_model(&comfy.place(), Conversion { to: &to, format: FloatFormat::F32 });
    let error = convert().unwrap_err();
    assert!(error.contains("layers.1.attention.to_out.0.weight holds a value"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    // A tensor that is missing.
    let mut named = comfy_transformer(transformer());
    named.remove("layers.1.attention_norm1.weight");
    write_safetensors(&path, &named, Numbers::AsTheyAre);
    let error = convert().unwrap_err();
    let expected = format!("{}: layers.1.attention_norm1.weight is missing", path.display());
    assert_eq!(error, expected);
    // What stands there is not replaced, nor what lies in the way.
    write_safetensors(&path, &comfy_transformer(transformer()), Numbers::AsTheyAre);
    fs::create_dir(&to).unwrap();
    assert!(convert().unwrap_err().contains("is there already"));
    fs::remove_dir(&to).unwrap();
    let part = folder.path().join("converted.part");
    fs::create_dir(&part).unwrap();
    fs::write(part.join("mine.txt"), "mine").unwrap();
    assert!(convert().unwrap_err().contains("was not written by zimaged"));
    // What a kill has left is.
    fs::write(part.join(".zimaged-writing"), "").unwrap();
    convert().unwrap();
    assert!(!part.exists() && !to.join("mine.txt").exists());
    assert!(!to.join(".zimaged-writing").exists());
}

fn synthesised(geometry: Geometry, seed: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("random");
    synthesise_model(&Synthesis { to: &to, geometry, seed }).unwrap();
    (folder, to)
}

fn of_miniature() -> Geometry {
    Geometry { is_miniature: true, ..Geometry::default() }
}

/// Names and shapes of the tensors of a file.
fn shapes(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec())).collect()
}

#[test]
fn a_model_of_random_weights_has_the_tensors_of_its_preset_and_its_seeds_values() {
    let (_folder, first) = synthesised(of_miniature(), 1);
    let mini = miniature();
    let files = [
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ];
    for name in files {
        let mut expected = shapes(&mini.join(name));
        // Nothing reads the last norm.
        expected.remove("norm.weight");
        assert_eq!(shapes(&first.join(name)), expected, "{name}");
    }
    let (_folder, again) = synthesised(of_miniature(), 1);
    let (_folder, other) = synthesised(of_miniature(), 2);
    for name in files {
        let [first, again, other] =
            [&first, &again, &other].map(|folder| fs::read(folder.join(name)).unwrap());
        assert!(first == again && first != other, "{name}");
    }
    let (pixels, _) = picture(&ModelPlace::at(&first), Precision::Full);
    assert!(pixels.rgb.iter().any(|level| *level != pixels.rgb[0]), "a picture of one colour");
}

#[test]
fn a_model_of_random_weights_may_have_any_dimensions_that_go_together() {
    let geometry = Geometry {
        dim: Some(64),
        layers: Some(2),
        refiners: Some(2),
        text_width: Some(96),
        text_inner: Some(128),
        text_layers: Some(2),
        vae_channels: vec![8, 16],
        ..of_miniature()
    };
    let (_folder, to) = synthesised(geometry.clone(), 0);
    picture(&ModelPlace::at(&to), Precision::Full);
    for (geometry, told) in [
        (Geometry { dim: Some(65), ..of_miniature() }, "--dim must be a multiple of 32"),
        (Geometry { vae_channels: vec![9], ..of_miniature() }, "--vae-channels must be multiples"),
        (Geometry { layers: Some(0), ..of_miniature() }, "--layers must be 1 to"),
        (Geometry { text_layers: Some(1), ..of_miniature() }, "--text-layers must be 2 to"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("random");
        let error = synthesise_model(&Synthesis { to: &to, geometry, seed: 0 }).unwrap_err();
        assert!(error.contains(told), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn both_commands_say_what_they_wrote_and_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let zimaged = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zimaged"));
        let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = zimaged(&["model", "synth", "random", "--dim", "64", "--json"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) =
        zimaged(&["model", "convert", "./random", "again", "--as", "f32", "--quantize", "q8"]);
    assert!(code == Some(0) && told.starts_with("again: "), "{told}");
    assert!(folder.path().join("again/transformer/zimaged-q8.gguf").exists());
    for model in ["./random", "./again"] {
        assert_eq!(zimaged(&["model", "verify", model]).0, Some(0), "{model}");
    }
    assert_eq!(zimaged(&["model", "convert", "./random", "again"]).0, Some(1));
}
