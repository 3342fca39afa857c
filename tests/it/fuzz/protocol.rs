//! The lines between supervisor and worker, in both directions, over real pipes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use zimaged::internals::{
    Allowance, DeviceChoice, EngineKind, Load, ModelPlace, Prefer, Render, Request, Worker,
    WorkerEvent,
};

use super::Target;

const WORDS: &[&str] = &[
    "{\"event\":\"hello\",\"protocol\":5,\"version\":\"0.1.0\"}\n",
    "{\"event\":\"step\",\"attempt_id\":1,\"step\":4294967295,\"steps\":0}\n",
    "{\"event\":\"rendered\",\"attempt_id\":-1}\n",
    "{\"request\":\"memory\"}\n",
    "{\"request\":\"cancel\",\"attempt_id\":9223372036854775807}\n",
    "\n",
    "null",
    "1e999",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "\\ud800",
    "\0",
];

fn load(folder: &Path) -> Load {
    Load {
        engine: EngineKind::Fake,
        model: ModelPlace::at(Path::new("model")),
        device: DeviceChoice::Cpu,
        allowance: Allowance::default(),
        usual: Render::default(),
        prefer: Prefer::Quality,
        embeddings_path: folder.join("embeddings"),
        thumbnails_path: folder.join("thumbnails"),
        previews_path: folder.join("previews"),
        speeds_path: folder.join("device-speeds.json"),
        hashes_path: folder.join("model-hashes"),
        last_word_path: folder.join("last-word"),
    }
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("JSON");
    line.push(b'\n');
    line
}

/// What a worker says that works, up to a picture.
fn events() -> Vec<u8> {
    let loaded = r#"{"event":"loaded","device":"cpu","model_name":"m","model_hash":null,"parts":[],
        "fingerprint":"f","load_ms":1,"load_parts":[]}"#;
    let lines = [WORDS[0].trim_end(), &loaded.replace('\n', ""), WORDS[1].trim_end()];
    format!("{}\n", lines.join("\n")).into_bytes()
}

/// How a worker and its words end is the caller's to see; nothing is told to people here.
#[test]
fn a_worker_may_say_anything() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("worker");
    fs::write(&program, "#!/bin/sh\nexec cat \"$0.lines\"\n").expect("a writable folder");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let target =
        Target { name: "events", corpus: vec![events()], words: WORDS, heap_bytes_max: 32 << 20 };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    target.run(move |bytes| {
        fs::write(folder.path().join("worker.lines"), bytes).expect("our own file");
        runtime.block_on(async {
            let mut worker = match Worker::spawn(&program, &load(folder.path())).await {
                Ok(worker) => worker,
                Err(exit) => return Err(exit.words),
            };
            loop {
                match worker.event().await {
                    Ok(event) => assert_eq!(again(&event), event),
                    Err(exit) => return Err(exit.words),
                }
            }
        })
    });
}

fn again(event: &WorkerEvent) -> WorkerEvent {
    serde_json::from_slice(&line(event)).expect("what we wrote ourselves")
}

#[test]
fn a_supervisor_may_ask_for_anything() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Relative, so that no change leads out of the folder.
    let load = Request::Load(Box::new(load(Path::new(""))));
    let corpus = vec![[line(&load), line(&Request::Memory)].concat(), line(&load)];
    let target = Target { name: "requests", corpus, words: WORDS, heap_bytes_max: 4 << 20 };
    target.run(move |bytes| asked(folder.path(), bytes));
}

/// A worker that is told this ends by itself, once that is all, and not by a panic.
fn asked(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .arg("worker")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // One that does not believe us has ended by now.
    let _ = child.stdin.take().expect("a pipe").write_all(bytes);
    let mut told = String::new();
    let read = child.stderr.take().expect("a pipe").read_to_string(&mut told);
    let status = child.wait().expect("our own child");
    read.expect("the log is UTF-8");
    assert!(!told.contains("panicked"), "{told}");
    assert!(status.code().is_some(), "killed by a signal: {status}: {told}");
    if status.success() { Ok(()) } else { Err(told) }
}
