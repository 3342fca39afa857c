//! From nothing to a picture: what is fetched, with a kill in between, renders, and the picture
//! says where its weights come from.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use zimaged::internals::{Part, metadata_of};

use super::hub::{COMMIT, sha256};
use super::{COMFY, Newcomer, TURBO, assert_ends, json};
use crate::formats::write_split_files;
use crate::support::database;

/// A repository with the miniature, as a pipeline of diffusers.
pub const REPOSITORY: &str = "Example/Z-Image-Mini";

/// Its files of weights by part.
const WEIGHTS: [(Part, &str); 3] = [
    (Part::Transformer, "transformer/diffusion_pytorch_model.safetensors"),
    (Part::TextEncoder, "text_encoder/model.safetensors"),
    (Part::Vae, "vae/diffusion_pytorch_model.safetensors"),
];

const JOB: &str = "prompt = \"a red circle\"\nsize = \"256x256\"\nsteps = 4\nseed = 7\n";

fn miniature(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini").join(name)).unwrap()
}

pub fn publish(newcomer: &Newcomer) {
    let texts = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "text_encoder/config.json",
        "transformer/config.json",
        "vae/config.json",
    ];
    for name in texts.into_iter().chain(WEIGHTS.map(|(_, name)| name)) {
        newcomer.hub.add(REPOSITORY, name, miniature(name));
    }
}

/// Kills the fetch when something of the weights has come.
fn fetch_until_killed(newcomer: &Newcomer) {
    newcomer.hub.set_pause(Duration::from_millis(30));
    let mut fetch = newcomer.command(&["model", "fetch", REPOSITORY]);
    let mut fetch = fetch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    newcomer.hub.until_sent(6_000_000);
    fetch.kill().unwrap();
    fetch.wait().unwrap();
    newcomer.hub.set_pause(Duration::ZERO);
}

#[test]
fn what_was_fetched_with_a_kill_in_between_renders_and_says_where_it_is_from() {
    let newcomer = Newcomer::new();
    publish(&newcomer);
    assert_ends(&newcomer.command(&["init"]).output().unwrap(), 0, &["daemon.toml"]);
    fetch_until_killed(&newcomer);
    let folder = newcomer.path("models/Z-Image-Mini");
    assert!(!folder.join("zimaged-fetched.json").exists(), "it was killed before its end");
    newcomer.hub.seen();
    assert_ends(&newcomer.fetch(&[REPOSITORY]), 0, &["is complete", "Z-Image-Mini run"]);
    let seen = newcomer.hub.seen();
    let asked = seen.iter().filter(|seen| seen.is_store);
    let asked: usize = asked.filter_map(|seen| Some(seen.range.as_ref()?.len())).sum();
    let all: usize = WEIGHTS.map(|(_, name)| miniature(name).len()).iter().sum();
    assert!(asked < all, "{asked} of {all} bytes were asked for again");

    fs::write(newcomer.path("fox.toml"), JOB).unwrap();
    let run = ["--model", "models/Z-Image-Mini", "run", "--until-idle", "fox.toml"];
    assert_ends(&newcomer.command(&run).output().unwrap(), 0, &[]);
    assert_origins(&newcomer);
}

/// That picture, history and status name every part's hash, repository and commit.
fn assert_origins(newcomer: &Newcomer) {
    let picture = fs::read_dir(newcomer.path("outputs")).unwrap().next().unwrap().unwrap();
    let told = metadata_of(&picture.path()).expect("a picture of ours").model;
    assert_eq!((told.name.as_str(), told.parts.len()), ("Z-Image-Mini", 3));
    for ((part, name), origin) in WEIGHTS.into_iter().zip(&told.parts) {
        let source = origin.source.as_ref().expect("it was fetched");
        assert_eq!((origin.part, origin.sha256.clone()), (part, Some(sha256(&miniature(name)))));
        assert_eq!(
            [&*source.hub, &*source.repository, &*source.revision],
            ["hf", REPOSITORY, COMMIT]
        );
    }
    let database = newcomer.path("state/zimaged.sqlite");
    let view = "SELECT part, sha256, repository, revision FROM weights WHERE job = 1";
    let rows = database::rows(&database, view);
    assert_eq!(rows.len(), 3);
    for ((_, name), row) in WEIGHTS.into_iter().zip(&rows) {
        assert_eq!(row[1..], [&sha256(&miniature(name)), REPOSITORY, COMMIT]);
    }
    let status = newcomer.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let parts = status["model"]["parts"].as_array().expect("three parts");
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0]["source"]["revision"], COMMIT);
    let record = json(&newcomer.path("models/Z-Image-Mini/zimaged-fetched.json"));
    assert_eq!(record["repo"], REPOSITORY);
}

/// The README's first command, with small weights under the real names.
#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn the_turbo_model_that_one_command_brings_renders() {
    let newcomer = Newcomer::alone();
    assert_ends(&newcomer.command(&["init"]).output().unwrap(), 0, &["daemon.toml"]);
    let published = newcomer.path("published");
    write_split_files(&published, TURBO);
    for place in TURBO {
        let content = fs::read(published.join(place)).unwrap();
        newcomer.hub.add(COMFY, &format!("split_files/{place}"), content);
    }
    assert_ends(&newcomer.fetch(&["turbo", "--revision", "main"]), 0, &["is complete"]);
    fs::remove_dir_all(published).unwrap();
    fs::write(newcomer.path("fox.toml"), JOB.replace("256x256", "64x64")).unwrap();
    let run = ["--model", "models/Z-Image-Turbo", "run", "--until-idle", "fox.toml"];
    assert_ends(&newcomer.command(&run).output().unwrap(), 0, &[]);
    let picture = fs::read_dir(newcomer.path("outputs")).unwrap().next().unwrap().unwrap().path();
    let metadata = metadata_of(&picture).unwrap();
    assert_eq!(metadata.model.name, "Z-Image-Turbo");
    for origin in &metadata.model.parts {
        let source = origin.source.as_ref().expect("where it was fetched from");
        assert_eq!((source.repository.as_str(), source.revision.as_str()), (COMFY, COMMIT));
        assert!(origin.sha256.is_some());
    }
}
