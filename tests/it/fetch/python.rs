//! The hubs' own clients in Python against the same hub: that it speaks their protocols.

use std::path::PathBuf;
use std::process::Command;

use super::hub::{COMMIT, content, sha256};
use super::{BYTES, COMFY, Newcomer, TURBO};
use crate::support::said;

/// What `.ci/run` puts them into.
fn python() -> PathBuf {
    let named = std::env::var_os("ZIMAGED_HUB_CLIENTS").map(PathBuf::from);
    let ours = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/hub-clients");
    named.unwrap_or_else(ours).join("bin/python")
}

const HUGGING_FACE: &str = r#"
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], allow_patterns=["split_files/*", "README.md"]))
"#;

const MODEL_SCOPE: &str = r#"
import sys
from modelscope_hub import HubApi
print(HubApi().download_repo(sys.argv[1], "model"))
"#;

/// Runs a client to its end; the folder that it prints last.
fn run(newcomer: &Newcomer, script: &str) -> PathBuf {
    let mut command = Command::new(python());
    command.args(["-c", script, COMFY]).current_dir(newcomer.folder.path()).env_clear();
    command.env("HOME", newcomer.folder.path());
    command.env("HF_ENDPOINT", newcomer.hub.endpoint()).env("HF_HUB_DISABLE_XET", "1");
    command.env("MODELSCOPE_ENDPOINT", newcomer.hub.endpoint());
    let output = command.output().expect("the clients are installed");
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(told.trim().lines().last().unwrap())
}

#[test]
#[ignore = "needs the hubs' clients in Python (.ci/run installs them)"]
fn hugging_faces_own_client_fetches_from_this_hub_and_we_from_its_cache() {
    let newcomer = Newcomer::new();
    let snapshot = run(&newcomer, HUGGING_FACE);
    assert!(snapshot.ends_with(COMMIT), "{}", snapshot.display());
    assert_files(&snapshot);
    assert_eq!(std::fs::read(snapshot.join("README.md")).unwrap(), b"# Turbo");
    assert!(newcomer.hub.seen().iter().any(|seen| seen.method == "HEAD"));
    assert_linked(&newcomer);
}

#[test]
#[ignore = "needs the hubs' clients in Python (.ci/run installs them)"]
fn modelscopes_own_client_fetches_from_this_hub_and_we_from_its_cache() {
    let newcomer = Newcomer::new();
    let snapshot = run(&newcomer, MODEL_SCOPE);
    assert_files(&snapshot);
    assert_linked(&newcomer);
}

#[track_caller]
fn assert_files(snapshot: &std::path::Path) {
    for (seed, (place, bytes)) in TURBO.into_iter().zip(BYTES).enumerate() {
        let found = std::fs::read(snapshot.join("split_files").join(place)).unwrap();
        assert_eq!(sha256(&found), sha256(&content(seed as u64, bytes)), "{place}");
    }
}

/// What the client has fetched does not come again.
#[track_caller]
fn assert_linked(newcomer: &Newcomer) {
    newcomer.hub.seen();
    let fetched = newcomer.fetch_turbo();
    assert!(fetched.status.success(), "{}", said(&fetched));
    assert!(newcomer.hub.seen().iter().all(|seen| !seen.is_store));
    newcomer.assert_turbo();
}
