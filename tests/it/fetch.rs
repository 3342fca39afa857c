//! `zimaged model fetch` against a hub that fails in every way that hubs and networks do.

mod ends;
mod faults;
mod hub;
mod kept;
mod python;
mod rendered;
mod sources;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;
use tempfile::TempDir;

use self::hub::{COMMIT, FakeHub, content, sha256};
use crate::support::said;

/// Where ComfyUI's files of the turbo model are.
const COMFY: &str = "Comfy-Org/z_image_turbo";
/// The files of `turbo`, by their place in the model's folder.
const TURBO: [&str; 3] = [
    "diffusion_models/z_image_turbo_bf16.safetensors",
    "text_encoders/qwen_3_4b.safetensors",
    "vae/ae.safetensors",
];
/// Their lengths here: one of several pieces, one that ends in the middle of one, a small one.
const BYTES: [usize; 3] = [4_000_000, 1_500_001, 300_000];

/// Somebody who has nothing: an empty folder, an empty home, and a hub.
struct Newcomer {
    folder: TempDir,
    hub: FakeHub,
}

impl Newcomer {
    /// With a hub that has nothing yet.
    fn alone() -> Newcomer {
        Newcomer { folder: tempfile::tempdir().unwrap(), hub: FakeHub::start() }
    }

    fn new() -> Newcomer {
        let newcomer = Newcomer::alone();
        let hub = &newcomer.hub;
        for (seed, (place, bytes)) in TURBO.into_iter().zip(BYTES).enumerate() {
            hub.add(COMFY, &format!("split_files/{place}"), content(seed as u64, bytes));
        }
        hub.add(COMFY, "README.md", b"# Turbo".to_vec());
        hub.add(COMFY, "split_files/diffusion_models/z_image_turbo_nvfp4.safetensors", vec![7; 99]);
        newcomer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn model(&self, name: &str) -> PathBuf {
        self.path("models/Z-Image-Turbo").join(name)
    }

    /// The command, with nothing in its environment but a home and the hub.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zimaged"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        // A build for cards finds CUDA's libraries by it.
        command.envs(env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        command.env("HOME", self.folder.path());
        command.env("HF_ENDPOINT", self.hub.endpoint());
        command.env("MODELSCOPE_ENDPOINT", self.hub.endpoint());
        command
    }

    fn fetch(&self, arguments: &[&str]) -> Output {
        self.command(&[&["model", "fetch"], arguments].concat()).output().unwrap()
    }

    /// Fetches the turbo model, as it is now and not as it is known. What succeeds leaves nothing
    /// half behind.
    fn fetch_turbo(&self) -> Output {
        let output = self.fetch(&["turbo", "--revision", "main"]);
        assert!(!output.status.success() || !self.model(".fetch").exists(), "{}", said(&output));
        output
    }

    /// Fetches the same files from ModelScope, where `turbo` is something else, to the same place.
    fn modelscope_command(&self) -> Command {
        let files = TURBO.map(|place| place.rsplit('/').next().unwrap());
        let [transformer, encoder, vae] = files;
        self.command(&[
            "model",
            "fetch",
            COMFY,
            "--from",
            "modelscope",
            "--to",
            "models/Z-Image-Turbo",
            "--file",
            transformer,
            "--file",
            encoder,
            "--file",
            vae,
        ])
    }

    /// That the model is there, whole and right, with its record and nothing else.
    #[track_caller]
    fn assert_turbo(&self) {
        self.assert_turbo_of("hf", COMMIT);
    }

    #[track_caller]
    fn assert_turbo_of(&self, hub: &str, revision: &str) {
        for (seed, (place, bytes)) in TURBO.into_iter().zip(BYTES).enumerate() {
            let found =
                fs::read(self.model(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(found == content(seed as u64, bytes), "{place} is right");
        }
        let record = json(&self.model("zimaged-fetched.json"));
        assert_eq!(record["repo"], COMFY);
        assert_eq!((&record["hub"], &record["revision"]), (&hub.into(), &revision.into()));
        let files = record["files"].as_array().unwrap();
        assert_eq!(files.len(), TURBO.len());
        for (file, (seed, (place, bytes))) in
            files.iter().zip(TURBO.into_iter().zip(BYTES).enumerate())
        {
            assert_eq!((&file["path"], &file["bytes"]), (&place.into(), &bytes.into()));
            assert_eq!(file["sha256"], sha256(&content(seed as u64, bytes)));
        }
    }

    /// That whatever stands in its place is right, and that the record is there only with all.
    #[track_caller]
    fn assert_nothing_wrong(&self) {
        for (seed, (place, bytes)) in TURBO.into_iter().zip(BYTES).enumerate() {
            if let Ok(found) = fs::read(self.model(place)) {
                assert!(found == content(seed as u64, bytes), "{place} is right");
            }
        }
        if self.model("zimaged-fetched.json").exists() {
            self.assert_turbo();
        }
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, expected: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in expected {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn one_command_brings_the_turbo_model_to_somebody_who_has_nothing() {
    let newcomer = Newcomer::new();
    let listed = newcomer.fetch(&["turbo", "--revision", "main", "--dry-run"]);
    assert_ends(&listed, 0, &["3 files, 5.8 MB", "5.8 MB to fetch", TURBO[0]]);
    assert!(!newcomer.path("models").exists(), "a dry run makes nothing");
    newcomer.hub.seen();
    let fetched = newcomer.fetch_turbo();
    let hint = "zimaged --model models/Z-Image-Turbo run";
    assert_ends(&fetched, 0, &["models/Z-Image-Turbo is complete", "Hugging Face", hint]);
    newcomer.assert_turbo();
    let seen = newcomer.hub.seen();
    let of_store = seen.iter().filter(|seen| seen.is_store);
    let ranges: Vec<_> = of_store.filter_map(|seen| seen.range.clone()).collect();
    assert!(ranges.len() >= 7, "several pieces: {ranges:?}");
    let all: usize = ranges.iter().map(|range| range.len()).sum();
    assert_eq!(all, BYTES.iter().sum::<usize>(), "each byte came once: {ranges:?}");

    let again = newcomer.command(&["model", "fetch", "turbo", "--revision", "main", "--json"]);
    let again = { again }.output().unwrap();
    let answer: Value = serde_json::from_slice(&again.stdout).expect("JSON and nothing else");
    assert_eq!(answer["received_bytes"], 0);
    assert!(answer["files"].as_array().unwrap().iter().all(|file| file["from"] == "here"));
    assert!(newcomer.hub.seen().iter().all(|seen| !seen.is_store), "nothing comes twice");
    newcomer.assert_turbo();
}

#[test]
fn a_hash_that_is_known_beforehand_is_asked_for() {
    let newcomer = Newcomer::new();
    let refused = newcomer.fetch(&["turbo"]);
    assert_ends(&refused, 78, &["another split_files/vae/ae.safetensors than is known"]);
    assert!(!newcomer.path("models").exists());
}

#[test]
fn what_is_no_name_of_a_model_is_told() {
    let newcomer = Newcomer::new();
    assert_ends(&newcomer.fetch(&["trubo"]), 2, &["'trubo'", "did you mean turbo?"]);
    assert_ends(&newcomer.fetch(&["../x"]), 2, &["OWNER/NAME"]);
    assert_ends(
        &newcomer.fetch(&["turbo-int8", "--from", "modelscope"]),
        2,
        &["Hugging Face only"],
    );
}
