//! The reference's model in the files that people have: each gives the same picture, or is refused
//! by its own name.
//!
//! The files are made here, from names and numbers that are written down here: what the program
//! undoes is done by other code.

mod convert;
mod gguf;
mod low_bits;
mod numbers;
mod places;
mod refused;
mod rename;
mod wrong;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use zimaged::internals::{
    Continue, Decode, DeviceChoice, Engine, MemoryReading, ModelDescription, ModelFiles, ModelKind,
    ModelPlace, Pixels, Precision, Progress, Recipe, Residency, Rung, Stage, ZImageEngine,
};

use self::gguf::write_gguf;
use self::numbers::{Numbers, write_safetensors};
use self::rename::{
    Named, comfy_transformer, flux_vae, llama_text_encoder, prefixed, with_final_norm,
};
use crate::parity::reference::model_folder;

/// The reference's tensors of one part, by the hub's names.
fn part(folder: &str) -> Named {
    let mut tensors = HashMap::new();
    for entry in fs::read_dir(model_folder().join(folder)).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|end| end == "safetensors") {
            tensors.extend(candle_core::safetensors::load(entry.path(), &Device::Cpu).unwrap());
        }
    }
    tensors.into_iter().collect()
}

fn transformer() -> Named {
    part("transformer")
}

/// In files of the language model, all names but that of its head begin with `model.`.
fn text_encoder() -> Named {
    prefixed("model.", part("text_encoder"))
}

fn vae() -> Named {
    flux_vae(part("vae"))
}

/// The reference's model in ComfyUI's split files: transformer, text encoder and VAE in `places` of
/// `folder`.
pub fn write_split_files(folder: &Path, places: [&str; 3]) {
    let parts = [comfy_transformer(transformer()), text_encoder(), vae()];
    for (place, tensors) in places.iter().zip(&parts) {
        let path = folder.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_safetensors(&path, tensors, Numbers::AsTheyAre);
    }
}

/// A folder as ComfyUI's users have it.
struct Comfy(tempfile::TempDir);

impl Comfy {
    fn new() -> Comfy {
        Comfy(tempfile::tempdir().unwrap())
    }

    /// With the two parts that are the same in most rows.
    fn with_text_encoder_and_vae() -> Comfy {
        let comfy = Comfy::new();
        write_safetensors(
            &comfy.file("text_encoders/qwen_3_4b.safetensors"),
            &text_encoder(),
            Numbers::AsTheyAre,
        );
        write_safetensors(&comfy.file("vae/ae.safetensors"), &vae(), Numbers::AsTheyAre);
        comfy
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn place(&self) -> ModelPlace {
        ModelPlace::at(self.0.path())
    }
}

struct Quiet;

impl Progress for Quiet {
    fn stage(&mut self, _: Stage, _: MemoryReading) -> Continue {
        Continue::Yes
    }

    fn step(&mut self, _: u32, _: u32) -> Continue {
        Continue::Yes
    }
}

/// The picture that a model gives, and its latents.
fn picture(place: &ModelPlace, precision: Precision) -> (Pixels, Vec<f32>) {
    picture_on(DeviceChoice::Cpu, place, precision)
}

fn picture_on(
    device: DeviceChoice,
    place: &ModelPlace,
    precision: Precision,
) -> (Pixels, Vec<f32>) {
    let mut engine = ZImageEngine::load(place, device, None).unwrap();
    let (residency, decode) = (Residency::TextReleased, Decode::Whole);
    let rung = Rung { residency, precision, decode, width: 64, height: 64, steps: 2 };
    let recipe = Recipe { prompt: "a red fox, 狐狸".into(), seed: 7, ..Recipe::default() };
    let latents = engine.denoise(&recipe, &rung, &mut Quiet).unwrap();
    let pixels = engine.decode(&latents, &rung, &mut Quiet).unwrap();
    (pixels, latents.values)
}

/// That of the hub's folder.
static OF_THE_HUB: LazyLock<(Pixels, Vec<f32>)> =
    LazyLock::new(|| picture(&ModelPlace::at(&model_folder()), Precision::Full));

fn assert_same_picture(what: &str, place: &ModelPlace) {
    assert!(picture(place, Precision::Full) == *OF_THE_HUB, "{what}: another picture");
}

/// ||ours - the hub's|| / ||the hub's||, of the latents.
fn error(place: &ModelPlace, precision: Precision) -> f64 {
    let (_, latents) = picture(place, precision);
    error_of(&latents)
}

fn error_of(latents: &[f32]) -> f64 {
    let (_, expected) = &*OF_THE_HUB;
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum()
    };
    let mut differences = latents.iter().zip(expected).map(|(ours, theirs)| ours - theirs);
    (square(&mut differences) / square(&mut expected.iter().copied())).sqrt()
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn split_files_give_the_same_picture_under_every_prefix() {
    for prefix in ["", "diffusion_model.", "model.diffusion_model."] {
        let comfy = Comfy::with_text_encoder_and_vae();
        let named = prefixed(prefix, with_final_norm(comfy_transformer(transformer())));
        let path = comfy.file("diffusion_models/z_image_turbo.safetensors");
        write_safetensors(&path, &named, Numbers::AsTheyAre);
        assert_same_picture(prefix, &comfy.place());
        // The file alone leads to the others.
        assert_same_picture(prefix, &ModelPlace::at(&path));
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_single_file_may_have_the_hubs_names_and_its_parts_be_named() {
    let comfy = Comfy::new();
    let path = comfy.file("somewhere/turbo.safetensors");
    write_safetensors(&path, &transformer(), Numbers::AsTheyAre);
    let vae = comfy.file("elsewhere/vae.safetensors");
    write_safetensors(&vae, &prefixed("first_stage_model.", part("vae")), Numbers::AsTheyAre);
    let place = ModelPlace {
        text_encoder: Some(model_folder().join("text_encoder")),
        vae: Some(vae),
        ..ModelPlace::at(&path)
    };
    assert_same_picture("the hub's names", &place);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn one_file_may_hold_everything() {
    for encoder in ["text_encoders.qwen3_4b.transformer.", "text_encoders.qwen3_4b."] {
        for vae in [vae(), part("vae")] {
            let comfy = Comfy::new();
            let mut all = prefixed("model.diffusion_model.", comfy_transformer(transformer()));
            all.extend(prefixed(encoder, text_encoder()));
            all.extend(prefixed("vae.", vae));
            let path = comfy.file("checkpoints/z-image-turbo-aio.safetensors");
            write_safetensors(&path, &all, Numbers::AsTheyAre);
            assert_same_picture(encoder, &ModelPlace::at(&path));
        }
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_gguf_of_floats_gives_the_same_picture() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("unet/z_image_turbo-F32.gguf");
    write_gguf(&path, &comfy_transformer(transformer()), "lumina2", None);
    assert_same_picture("F32", &comfy.place());
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn bf16_is_what_rounding_leaves_and_no_more() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let named = comfy_transformer(transformer());
    write_safetensors(
        &comfy.file("diffusion_models/z_image_turbo_bf16.safetensors"),
        &named,
        Numbers::Bf16,
    );
    let rounded = Comfy::with_text_encoder_and_vae();
    let path = rounded.file("diffusion_models/z_image_turbo.safetensors");
    write_safetensors(&path, &named, Numbers::RoundedToBf16);
    for device in [DeviceChoice::Cpu, DeviceChoice::CpuBf16] {
        let full = |comfy: &Comfy| picture_on(device, &comfy.place(), Precision::Full);
        assert!(full(&comfy) == full(&rounded), "{device:?}");
    }
}

/// A processor that multiplies bf16 rounds what goes through the layers, too.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn matrices_kept_in_bf16_give_nearly_the_same_latents() {
    let place = ModelPlace::at(&model_folder());
    let error = error_of(&picture_on(DeviceChoice::CpuBf16, &place, Precision::Full).1);
    println!("error of matrices in bf16: {error:.4}");
    assert!((1e-5..0.02).contains(&error), "{error}");
}

/// At the precision that the file has, its blocks are taken as they are.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_files_own_blocks_give_the_picture_of_its_values() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("unet/z_image_turbo-Q8_0.gguf");
    let format = candle_core::quantized::GgmlDType::Q8_0;
    write_gguf(&path, &comfy_transformer(transformer()), "lumina2", Some(format));
    let [full, q8] = [Precision::Full, Precision::Q8].map(|p| picture(&comfy.place(), p).1);
    let difference = full.iter().zip(&q8).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4, "{difference}");
}

/// Fine-tunes for long texts have another base of positions, which only a GGUF file says of itself.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_base_of_positions_is_what_the_file_says() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let path = comfy.file("unet/z_image_turbo.gguf");
    write_gguf(&path, &comfy_transformer(transformer()), "lumina2", None);
    let encoder = comfy.file("text_encoders/qwen.gguf");
    write_gguf(&encoder, &llama_text_encoder(part("text_encoder")), "qwen3", None);
    let place = ModelPlace { text_encoder: Some(encoder.clone()), ..comfy.place() };
    let sign = |place: &ModelPlace| {
        let files = ModelFiles::find(place).unwrap();
        files.sign_of_2507(&files.config().unwrap().text_encoder)
    };
    assert_eq!(sign(&place), None);
    let before = picture(&place, Precision::Full);
    let mut content = fs::read(&encoder).unwrap();
    let usual = 1e6_f32.to_le_bytes();
    let at = content.windows(4).position(|window| window == usual).unwrap();
    content[at..at + 4].copy_from_slice(&5e6_f32.to_le_bytes());
    fs::write(&encoder, content).unwrap();
    let other = picture(&place, Precision::Full);
    assert!(other != before);
    assert_eq!(sign(&place), Some("the base of its positions"));
    // A safetensors file says it by its name alone.
    let named = comfy.file("elsewhere/Qwen3-4B-Instruct-2507.safetensors");
    let floats = text_encoder()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(candle_core::DType::F32).unwrap()));
    write_safetensors(&named, &floats.collect(), Numbers::AsTheyAre);
    let place = ModelPlace { text_encoder: Some(named), ..comfy.place() };
    assert!(picture(&place, Precision::Full) == other);
    assert_eq!(sign(&place), Some("its name"));
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_look_into_a_file_says_what_it_holds_and_whether_it_is_usable() {
    let comfy = Comfy::new();
    let path = comfy.file("diffusion_models/z_image_turbo_fp8.safetensors");
    let mut named = comfy_transformer(transformer());
    named.extend(small(&["something.else"]));
    write_safetensors(&path, &named, Numbers::F8 { scale: numbers::Fp8Scale::New });
    let told = || {
        let inspect = Command::new(env!("CARGO_BIN_EXE_zimaged"))
            .args(["model", "inspect", &path.to_string_lossy()])
            .current_dir(comfy.0.path())
            .output()
            .unwrap();
        assert!(inspect.status.success());
        String::from_utf8(inspect.stdout).unwrap()
    };
    let alone = told();
    for expected in [
        "transformer: 3 layers of 96; 116 tensors",
        "F8_E4M3",
        "of no part: 1 tensor: something.else",
        "not usable: ",
        "no text encoder for it",
    ] {
        assert!(alone.contains(expected), "{expected}: {alone}");
    }
    write_safetensors(
        &comfy.file("text_encoders/qwen_3_4b.safetensors"),
        &text_encoder(),
        Numbers::AsTheyAre,
    );
    write_safetensors(&comfy.file("vae/ae.safetensors"), &vae(), Numbers::AsTheyAre);
    let whole = told();
    for expected in [
        "usable as z_image_turbo_fp8: Turbo, 8 steps, guidance 0",
        "text encoder: text_encoders/qwen_3_4b.safetensors",
        "VAE: vae/ae.safetensors",
    ] {
        assert!(whole.contains(expected), "{expected}: {whole}");
    }
}

/// Which training it is decides over steps, guidance and schedule.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_single_file_is_of_the_training_that_its_own_name_or_the_user_says() {
    let comfy = Comfy::with_text_encoder_and_vae();
    let place = |name: &str, kind| {
        let path = comfy.file(&format!("diffusion_models/{name}.safetensors"));
        write_safetensors(&path, &comfy_transformer(transformer()), Numbers::AsTheyAre);
        ModelPlace { kind, ..ModelPlace::at(&path) }
    };
    let wanted = |place: &ModelPlace| {
        let description = ModelDescription::read(place).unwrap();
        (description.steps, description.guidance)
    };
    assert_eq!(wanted(&place("z_image_bf16", None)), (28, 4.0));
    assert_eq!(wanted(&place("z_image_turbo_bf16", None)), (8, 0.0));
    assert_eq!(wanted(&place("z_image_de_turbo_bf16", None)), (25, 2.0));
    assert_eq!(wanted(&place("fine_tune", Some(ModelKind::Base))), (28, 4.0));
    let [turbo, base] = [ModelKind::Turbo, ModelKind::Base]
        .map(|kind| picture(&place("fine_tune", Some(kind)), Precision::Full));
    assert!(turbo == *OF_THE_HUB, "the reference's folder has Turbo's shift");
    assert!(turbo != base, "the base model has another schedule");

    let look = Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .args(["model", "inspect", "diffusion_models/z_image_bf16.safetensors"])
        .current_dir(comfy.0.path())
        .output()
        .unwrap();
    let told = String::from_utf8(look.stdout).unwrap();
    assert!(told.contains("usable as z_image_bf16: base, 28 steps, guidance 4"), "{told}");
}

/// Names of `map` with something in place of a tensor.
fn changed(mut named: Named, name: &str, tensor: Tensor) -> Named {
    assert!(named.insert(name.to_owned(), tensor).is_some(), "{name}");
    named
}

/// What the model at `place` is refused with.
fn refusal(place: &ModelPlace) -> String {
    match ZImageEngine::load(place, DeviceChoice::Cpu, None) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{place:?} was loaded"),
    }
}

/// Tensors by name that stand for a part where nobody reads its values.
fn small(names: &[&str]) -> BTreeMap<String, Tensor> {
    let tensor = || Tensor::zeros((4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    names.iter().map(|name| ((*name).to_owned(), tensor())).collect()
}

fn is_in(path: &Path, error: &str) -> bool {
    error.contains(&path.file_name().unwrap().to_string_lossy().into_owned())
}
