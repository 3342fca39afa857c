//! One LoRA in the files that people have: each naming gives the same latents, and what is wrong
//! with a file is told with its name, and harms no other render.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use zimaged::internals::{EngineError, PlacedLora, Recipe, Rung, ZImageEngine};

use super::lora::{denoised, file, placed, two_steps};
use super::reference::model;
use super::{assert_close, load_engine, relative_error};

type Tensors = HashMap<String, Tensor>;

/// Relative error by rounding alone.
const ROUNDING_MAX: f64 = 1e-5;

const RANK: usize = 4;

/// A new name for a matrix of a module (`layers.0.attention.to_q`), which is `A` or `B`.
type Rename = fn(module: &str, matrix: char) -> String;

fn down_up(matrix: char) -> &'static str {
    if matrix == 'A' { "down" } else { "up" }
}

fn flat(module: &str) -> String {
    module.replace('.', "_")
}

const NAMINGS: [(&str, Rename); 10] = [
    ("diffusers", |module, matrix| format!("transformer.{module}.lora_{matrix}.weight")),
    ("peft", |module, matrix| format!("base_model.model.{module}.lora_{matrix}.weight")),
    ("comfy", |module, matrix| {
        let module = module.replace("attention.to_out.0", "attention.out");
        format!("diffusion_model.{module}.lora_{matrix}.weight")
    }),
    ("DiffSynth", |module, matrix| format!("{module}.lora_{matrix}.default.weight")),
    ("kohya", |module, matrix| {
        format!("lora_unet_{}.lora_{}.weight", flat(module), down_up(matrix))
    }),
    ("VideoX", |module, matrix| {
        format!("lora_unet__{}.lora_{}.weight", flat(module), down_up(matrix))
    }),
    ("LyCORIS", |module, matrix| {
        format!("lycoris_{}.lora_{}.weight", flat(module), down_up(matrix))
    }),
    ("OneTrainer", |module, matrix| {
        format!("transformer.{module}.lora_{}.weight", down_up(matrix))
    }),
    ("old diffusers", |module, matrix| format!("{module}.lora.{}.weight", down_up(matrix))),
    ("older diffusers", |module, matrix| {
        format!("transformer.{module}.lora_linear_layer.{}.weight", down_up(matrix))
    }),
];

fn case() -> Tensors {
    candle_core::safetensors::load(file("case"), &Device::Cpu).unwrap()
}

fn renamed(rename: Rename) -> Tensors {
    let named = case().into_iter().map(|(key, tensor)| {
        let module = key.strip_prefix("transformer.").unwrap();
        let (module, matrix) = module.split_once(".lora_").unwrap();
        (rename(module, matrix.chars().next().unwrap()), tensor)
    });
    named.collect()
}

/// Queries, keys and values in one matrix, block by block, as a converter for ComfyUI writes them.
fn fused() -> Tensors {
    let mut tensors = renamed(NAMINGS[4].1);
    for layer in 0..3 {
        let module = format!("lora_unet_layers_{layer}_attention");
        let mut take = |name: &str, matrix: &str| {
            tensors.remove(&format!("{module}_{name}.lora_{matrix}.weight")).unwrap()
        };
        let downs = ["to_q", "to_k", "to_v"].map(|name| take(name, "down"));
        let ups = ["to_q", "to_k", "to_v"].map(|name| take(name, "up"));
        let rows: Vec<Tensor> = (0..3)
            .map(|nth| {
                let zeros = ups[nth].zeros_like().unwrap();
                let mut row = [zeros.clone(), zeros.clone(), zeros];
                row[nth] = ups[nth].clone();
                Tensor::cat(&row, 1).unwrap()
            })
            .collect();
        let module = format!("{module}_qkv");
        tensors.insert(format!("{module}.lora_down.weight"), Tensor::cat(&downs, 0).unwrap());
        tensors.insert(format!("{module}.lora_up.weight"), Tensor::cat(&rows, 0).unwrap());
        let alpha = Tensor::new(3.0 * RANK as f32, &Device::Cpu).unwrap();
        tensors.insert(format!("{module}.alpha"), alpha);
    }
    tensors
}

/// A folder with files, and an engine with the LoRA of the case.
pub struct Bench {
    folder: tempfile::TempDir,
    engine: ZImageEngine,
    recipe: Recipe,
    rung: Rung,
}

impl Bench {
    pub fn new() -> Bench {
        let (recipe, rung) = two_steps();
        let folder = tempfile::tempdir().unwrap();
        Bench { folder, engine: load_engine(model()), recipe, rung }
    }

    pub fn written(&self, name: &str, tensors: &Tensors) -> PathBuf {
        let path = self.folder.path().join(name).with_extension("safetensors");
        candle_core::safetensors::save(tensors, &path).unwrap();
        path
    }

    pub fn of(&mut self, loras: Vec<PlacedLora>) -> Result<Tensor, EngineError> {
        denoised(&mut self.engine, loras, &self.recipe, &self.rung)
    }

    pub fn of_file(&mut self, path: &Path) -> Tensor {
        self.of(vec![placed(path.to_owned(), 1.0)]).unwrap()
    }

    /// The error of a file, which must be the render's own.
    fn refused(&mut self, lora: PlacedLora) -> String {
        match self.of(vec![lora]) {
            Err(EngineError::Invalid(what)) => what,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn every_naming_is_the_same_lora() {
    let mut bench = Bench::new();
    let expected = bench.of_file(&file("case"));
    for (name, rename) in NAMINGS {
        let path = bench.written(name, &renamed(rename));
        assert_eq!(relative_error(&bench.of_file(&path), &expected), 0.0, "{name}");
    }
    let path = bench.written("fused", &fused());
    assert_close("fused", &bench.of_file(&path), &expected, ROUNDING_MAX);
    let twice: Tensors = fused().into_iter().chain(renamed(NAMINGS[4].1)).collect();
    let path = bench.written("twice", &twice);
    assert_eq!(relative_error(&bench.of_file(&path), &expected), 0.0, "both say the same once");
    let half = case().into_iter().map(|(key, it)| (key, it.to_dtype(DType::BF16).unwrap()));
    let path = bench.written("bf16", &half.collect());
    assert_close("bf16", &bench.of_file(&path), &expected, 0.02);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn what_is_wrong_with_a_lora_fails_its_render_alone() {
    let mut bench = Bench::new();
    let plain = bench.of(Vec::new()).unwrap();
    const A: &str = "transformer.layers.0.attention.to_q.lora_A.weight";
    let with = |key: &str, tensor: Tensor| {
        let mut tensors = case();
        tensors.insert(key.to_owned(), tensor);
        tensors
    };
    let values =
        |value: f32, shape: (usize, usize)| Tensor::full(value, shape, &Device::Cpu).unwrap();
    let mut without_b = case();
    without_b.remove(&A.replace("lora_A", "lora_B"));
    let nothing = [("a.lora_A.weight".to_owned(), values(0.0, (4, 4)))].into();
    let bias = with("layers.1.attention.to_v.diff_b", values(1.0, (95, 1)));
    for (name, tensors, what) in [
        ("nan", with(A, values(f32::NAN, (RANK, 96))), "holds NaN or infinity"),
        ("infinite", with(A, values(f32::INFINITY, (RANK, 96))), "holds NaN or infinity"),
        ("shape", with(A, values(1.0, (RANK, 95))), "is for a matrix of [96, 95], not [96, 96]"),
        ("half", without_b, "transformer.layers.0.attention.to_q has no lora_B (lora_up)"),
        (
            "unknown",
            with("transformer.layers.9.attention.to_q.lora_A.weight", values(1.0, (4, 96))),
            "1 of its 43 keys belong to nothing in this model: transformer.layers.9.attention.to_q",
        ),
        (
            "encoder",
            with("lora_te_layers_0_mlp.lora_up.weight", values(1.0, (4, 4))),
            "it is of the text encoder, which is not changed",
        ),
        ("oft", with("lora_unet_layers_0_attention_to_q.oft_R.weight", values(1.0, (4, 4))), "OFT"),
        ("bias", bias, "layers.1.attention.to_v.diff_b is [95, 1], not [96]"),
        ("nothing", nothing, "none of its 1 keys belongs to this model: a.lora_A.weight"),
    ] {
        let path = bench.written(name, &tensors);
        let told = bench.refused(placed(path.clone(), 1.0));
        assert!(told.contains(what) && told.contains(&*path.to_string_lossy()), "{name}: {told}");
        assert_eq!(relative_error(&bench.of(Vec::new()).unwrap(), &plain), 0.0, "after {name}");
    }
    let unknown = bench.folder.path().join("unknown.safetensors");
    let mut lora = placed(unknown, 1.0);
    lora.lora.allow_unknown = true;
    let applied = bench.of(vec![lora]).unwrap();
    assert_eq!(relative_error(&applied, &bench.of_file(&file("case"))), 0.0);
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_file_that_is_gone_cut_short_or_another_fails_its_render_alone() {
    let mut bench = Bench::new();
    let path = bench.written("style", &case());
    let lora = placed(path.clone(), 1.0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let told = bench.refused(lora.clone());
    assert!(told.contains("its download is incomplete") && !told.contains("model"), "{told}");
    std::fs::remove_file(&path).unwrap();
    assert!(bench.refused(lora.clone()).ends_with("there is no such file"));
    bench.written("style", &renamed(NAMINGS[1].1));
    let told = bench.refused(lora.clone());
    assert!(told.contains("has changed since the job was taken in"), "{told}");
    std::fs::write(&path, &whole).unwrap();
    bench.of(vec![lora]).unwrap();
}
