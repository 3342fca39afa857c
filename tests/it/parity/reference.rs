//! The reference's cases, which travel with the project, and its model, which does not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use zimaged::internals::{
    Decoder, DeviceMemory, Guidance, ModelConfig, ModelFiles, ModelPlace, PartFiles, Recipe,
    TextEncoder, Tokenizer, Transformer, Weights,
};

pub const CASES: [&str; 6] = [
    "square",
    "wide_chinese",
    "cfg_negative",
    "cfg_normalized_truncated",
    "two_images",
    "one_step",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tensors of a file of the reference that travels with the project.
pub fn tensors(name: &str) -> HashMap<String, Tensor> {
    let path = root().join("tests/data/reference").join(format!("{name}.safetensors"));
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// What the reference was asked for, and what it computed.
pub struct Case {
    pub name: String,
    pub prompt: String,
    pub negative: String,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    pub seed: u64,
    normalization: f64,
    truncation: f64,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    pub fn read(name: &str) -> Case {
        let text = std::fs::read_to_string(root().join("tests/data/reference/cases.json")).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let case =
            file["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let whole = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap();
        Case {
            name: name.to_owned(),
            prompt: text("prompt"),
            negative: text("negative"),
            width: whole("width"),
            height: whole("height"),
            steps: whole("steps"),
            guidance: case["guidance"].as_f64().unwrap(),
            seed: case["seed"].as_u64().unwrap(),
            normalization: if case["cfg_normalization"] == true { 1.0 } else { 0.0 },
            truncation: case["cfg_truncation"].as_f64().unwrap_or(1.0),
            tensors: tensors(name),
        }
    }

    pub fn tensor(&self, name: &str) -> Tensor {
        self.tensors[name].clone()
    }

    pub fn recipe(&self) -> Recipe {
        let plain = Recipe { prompt: self.prompt.clone(), seed: self.seed, ..Recipe::default() };
        Recipe {
            negative_prompt: self.negative.clone(),
            guidance: self.guidance,
            guidance_normalization: self.normalization,
            guidance_truncation: self.truncation,
            ..plain
        }
    }

    pub fn guidance(&self) -> Guidance {
        Guidance::of(&self.recipe())
    }
}

/// The reference's model, part by part.
pub struct Model {
    pub folder: PathBuf,
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    pub text_encoder: TextEncoder,
    pub transformer: Transformer,
    pub decoder: Decoder,
}

pub fn unlimited() -> DeviceMemory {
    DeviceMemory::new(&Device::Cpu, None)
}

impl Model {
    /// What the text encoder makes of `prompt`: (tokens, hidden).
    pub fn embed(&self, prompt: &str) -> Tensor {
        let ids = self.tokenizer.encode(prompt).unwrap().ids;
        self.text_encoder.encode_all(&[&ids]).unwrap().remove(0)
    }

    pub fn read(folder: PathBuf) -> Model {
        Model::of(&ModelPlace::at(&folder))
    }

    /// Of the same model in other files.
    pub fn of(place: &ModelPlace) -> Model {
        let files = ModelFiles::find(place).unwrap();
        let (config, memory) = (files.config().unwrap(), unlimited());
        let open = |part: &PartFiles| Weights::open(part, DType::F32, &Device::Cpu).unwrap();
        let text_encoder = open(&files.text_encoder);
        let (transformer, vae) = (open(&files.transformer), open(&files.vae));
        let model = Model {
            tokenizer: Tokenizer::read(files.hub.as_deref()).unwrap(),
            text_encoder: TextEncoder::new(&config.text_encoder, &text_encoder, &memory).unwrap(),
            transformer: Transformer::new(&config.transformer, &transformer, &memory).unwrap(),
            decoder: Decoder::new(&config.vae, &vae, &memory).unwrap(),
            config,
            folder: place.path.clone(),
        };
        [text_encoder, transformer, vae].iter().for_each(|weights| weights.finish().unwrap());
        model
    }
}

/// Found by `build.rs`; where it is not there, the tests that call this are ignored.
pub fn model_folder() -> PathBuf {
    PathBuf::from(env!("ZIMAGED_REFERENCE_MODEL"))
}

/// The reference's model, read once.
pub fn model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(model_folder()));
    &MODEL
}
