//! Lower precision of the weights: made at load or taken from a file, the pictures are the same; a
//! file that does not fit is refused by name; the engine goes from one precision to another and
//! back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device};
use zimaged::internals::{
    Continue, Decode, DeviceChoice, Engine, EngineError, MemoryReading, ModelFiles, ModelPlace,
    Precision, Progress, Recipe, Residency, Rung, Stage, Weights, ZImageEngine, metadata_of,
    quantise_model,
};

use crate::support::House;
use crate::support::places::miniature;

const LOWER: [(Precision, &str); 2] =
    [(Precision::Q8, "zimaged-q8.gguf"), (Precision::Q4, "zimaged-q4.gguf")];

struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _stage: Stage, _before: MemoryReading) -> Continue {
        Continue::Yes
    }

    fn step(&mut self, _step: u32, _steps: u32) -> Continue {
        Continue::Yes
    }
}

/// The miniature in a folder where quantised files can be written.
struct Model {
    folder: tempfile::TempDir,
}

impl Model {
    fn new() -> Model {
        let model = Model { folder: tempfile::tempdir().unwrap() };
        let mini = miniature();
        fs::create_dir(model.transformer()).unwrap();
        link_all(&mini, model.folder.path());
        link_all(&mini.join("transformer"), &model.transformer());
        model
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn transformer(&self) -> PathBuf {
        self.path().join("transformer")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.transformer().join(name)
    }

    fn engine(&self) -> ZImageEngine {
        ZImageEngine::load(&ModelPlace::at(self.path()), DeviceChoice::Cpu, None).unwrap()
    }

    fn weights(&self) -> Weights {
        let files = ModelFiles::find(&ModelPlace::at(self.path())).unwrap();
        Weights::open(&files.transformer, DType::F32, &Device::Cpu).unwrap()
    }

    fn refusal(&self, precision: Precision) -> String {
        self.weights().with_precision(precision).err().expect("a refusal")
    }

    fn zimaged(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zimaged"));
        let config = self.path().join("daemon.toml");
        fs::write(&config, "").unwrap();
        command.arg("--config").arg(config).arg("--model").arg(self.path()).args(arguments);
        command.output().unwrap()
    }
}

/// Links to what is in `from` and not yet in `to`.
fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let link = to.join(entry.file_name());
        if !link.exists() {
            symlink(entry.path(), link).unwrap();
        }
    }
}

fn rung(precision: Precision) -> Rung {
    let (residency, decode) = (Residency::Device, Decode::Whole);
    Rung { residency, precision, decode, width: 64, height: 96, steps: 2 }
}

fn denoise(engine: &mut ZImageEngine, precision: Precision) -> Result<Vec<f32>, EngineError> {
    let prompt = "a red boat on the sea".to_owned();
    let recipe = Recipe { prompt, seed: 7, ..Recipe::default() };
    engine.denoise(&recipe, &rung(precision), &mut Silent).map(|latents| latents.values)
}

#[test]
fn weights_quantised_at_load_and_those_from_the_file_give_the_same_picture_to_the_bit() {
    let model = Model::new();
    for (precision, name) in LOWER {
        let at_load = denoise(&mut model.engine(), precision).unwrap();
        let written = quantise_model(&ModelPlace::at(model.path()), precision, false).unwrap();
        assert_eq!(written.path, model.file(name));
        assert!(denoise(&mut model.engine(), precision).unwrap() == at_load, "{name}");
    }
}

#[test]
fn the_file_is_what_is_read_where_there_is_one() {
    let model = Model::new();
    let at_load = denoise(&mut model.engine(), Precision::Q8).unwrap();
    let path = quantise_model(&ModelPlace::at(model.path()), Precision::Q8, false).unwrap().path;
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0);
    fs::write(&path, bytes).unwrap();
    assert!(denoise(&mut model.engine(), Precision::Q8).unwrap() != at_load);
}

#[test]
fn an_engine_goes_from_one_precision_to_another_and_back() {
    let model = Model::new();
    let mut engine = model.engine();
    let all = [Precision::Full, Precision::Int8, Precision::Q8, Precision::Q4];
    assert_eq!(engine.capabilities().precisions, all);
    let mut at = |precision| denoise(&mut engine, precision).unwrap();
    let first = all.map(&mut at);
    for (n, other) in first.iter().enumerate() {
        assert!(!first[..n].contains(other), "{:?} is as another", all[n]);
    }
    for (precision, first) in all.into_iter().zip(&first).rev() {
        assert!(at(precision) == *first, "{precision:?}");
    }
}

/// Overwrites what stands at `path` with a changed copy of it.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Replaces the first `from` by `to`, of the same length.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

/// A file of quantised weights that `change` spoils must be refused, and made anew by the command
/// that the error names.
fn assert_refused(what: &str, spoil: impl FnOnce(&mut Vec<u8>)) {
    let model = Model::new();
    let path = quantise_model(&ModelPlace::at(model.path()), Precision::Q4, false).unwrap().path;
    change(&path, spoil);
    let error = model.refusal(Precision::Q4);
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    let command =
        format!("zimaged model quantize --precision q4 --model '{}'", model.path().display());
    assert!(error.contains(what) && error.ends_with(&command), "{error}");
    assert!(
        model.weights().with_precision(Precision::Q8).is_ok(),
        "each precision has its own file"
    );
    quantise_model(&ModelPlace::at(model.path()), Precision::Q4, false).unwrap();
    assert!(model.weights().with_precision(Precision::Q4).is_ok());
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_what_is_wrong_and_what_mends_it() {
    let hash = Model::new().weights().fingerprint().unwrap();
    let other = hash.chars().rev().collect::<String>();
    assert_refused("made from another model", |bytes| replace(bytes, &hash, &other));
    assert_refused("general.architecture is not lumina2", |bytes| {
        replace(bytes, "lumina2", "lumina3")
    });
    assert_refused("layers.4.feed_forward.w3.weight is missing", |bytes| {
        replace(bytes, "layers.4.feed_forward.w3", "layers.4.feed_forward.w9");
    });
    assert_refused("layers.0.attention.to_k.weight is Q8_0", |bytes| {
        // After the name: the number of sides, two sides, the type.
        let name = b"layers.0.attention.to_k.weight";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap()
            + name.len()
            + 4
            + 16;
        bytes[at] = 8;
    });
    assert_refused("was cut short", |bytes| bytes.truncate(bytes.len() - 4096));
    assert_refused("not a whole GGUF file", |bytes| bytes.truncate(100));
    assert_refused("not a whole GGUF file", |bytes| bytes.clear());
}

#[test]
fn matrices_that_the_model_lacks_are_named_at_every_precision() {
    let model = Model::new();
    quantise_model(&ModelPlace::at(model.path()), Precision::Q4, false).unwrap();
    for (precision, _) in LOWER {
        let weights = model.weights().with_precision(precision).unwrap();
        weights
            .prefixed("layers")
            .prefixed(9)
            .prefixed("feed_forward")
            .linear("w1", 192, 512, false)
            .unwrap();
        let error = weights.finish().unwrap_err();
        assert!(error.ends_with("layers.9.feed_forward.w1.weight is missing"), "{error}");
    }
}

#[test]
fn a_file_that_does_not_fit_fails_the_render_and_not_the_engine() {
    let model = Model::new();
    let mut engine = model.engine();
    let full = denoise(&mut engine, Precision::Full).unwrap();
    fs::write(model.file("zimaged-q8.gguf"), "nothing").unwrap();
    let error = denoise(&mut engine, Precision::Q8).unwrap_err();
    assert!(
        matches!(&error, EngineError::Invalid(text) if text.contains("zimaged-q8.gguf")),
        "{error}"
    );
    assert!(denoise(&mut engine, Precision::Full).unwrap() == full);
}

#[test]
fn the_command_writes_the_file_once_and_says_what_it_saves() {
    let model = Model::new();
    let first = model.zimaged(&["model", "quantize", "--json"]);
    let said = String::from_utf8_lossy(&first.stderr);
    let answer: serde_json::Value =
        serde_json::from_slice(&first.stdout).unwrap_or_else(|_| panic!("{said}"));
    let path = model.file("zimaged-q8.gguf");
    assert_eq!(answer["path"], path.to_str().unwrap());
    assert_eq!(answer["after_bytes"], fs::metadata(&path).unwrap().len());
    let ratio = answer["after_bytes"].as_f64().unwrap() / answer["before_bytes"].as_f64().unwrap();
    assert!((0.26..0.54).contains(&ratio), "34 bytes for 32 weights of 2 or 4 bytes, not {ratio}");

    let again = model.zimaged(&["model", "quantize", "--precision", "q8"]);
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success() && said.contains("already") && said.contains("zimaged-q8.gguf"),
        "{said}"
    );
    let forced = model.zimaged(&["model", "quantize", "--precision", "q8", "--force"]);
    let said = String::from_utf8_lossy(&forced.stdout);
    assert!(forced.status.success() && said.contains("MiB before"), "{said}");
    let inspected = model.zimaged(&["model", "inspect"]);
    let said = String::from_utf8_lossy(&inspected.stdout);
    assert!(said.contains("quantised: ") && said.contains("zimaged-q8.gguf"), "{said}");
    let parts = fs::read_dir(model.transformer()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(parts.filter(|path| path.extension().is_some_and(|end| end == "part")).count(), 0);
}

#[test]
fn a_job_that_asks_for_int8_is_rendered_so_and_its_picture_says_it() {
    let mini = miniature();
    let house =
        House::with_config(&format!("[model]\npath = {mini:?}\n[device]\nkind = \"cpu\"\n"));
    let size = "width = 64\nheight = 64\nsteps = 1\nmin_steps = 1\n";
    house.drop_job(
        "fox.toml",
        &format!("prompt = 'a red circle'\nseed = 1\noutput = 'fox'\nprecision = 'int8'\n{size}"),
    );
    let run = house.zimaged(&["run", "--until-idle"]);
    assert!(run.status.success(), "{run:?}");
    let made = house.value("SELECT state || ' ' || degraded || ' ' || precision FROM renders");
    assert_eq!(made, "done 0 int8");
    let rung = house.value("SELECT rung FROM history");
    assert!(rung.starts_with("device/int8/whole"), "{rung}");
    let picture = metadata_of(&house.path("outputs/fox.png")).expect("a picture of ours");
    assert_eq!(picture.rung.precision, Precision::Int8);
}
