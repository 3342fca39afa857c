//! The house as ARCHITECTURE.md draws it: who may use whom, held over the source.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate; each uses only what stands before it.
const ORDER: [&str; 22] = [
    "problem",
    "table",
    "job",
    "ladder",
    "planner",
    "clock",
    "heartbeat",
    "files",
    "engine",
    "config",
    "output",
    "worker",
    "store",
    "intake",
    "instance",
    "status",
    "systemd",
    "dispatcher",
    "recovery",
    "daemon",
    "cli",
    "main",
];

/// Outside crates that only one room may use.
const OWNED: [(&str, &str); 7] = [
    ("sqlx", "store"),
    ("candle_core", "engine/z_image"),
    ("candle_nn", "engine/z_image"),
    ("tokenizers", "engine/z_image"),
    ("notify", "intake"),
    ("clap", "cli"),
    ("sd_notify", "systemd"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, relative to `src`, with its code: comments and tests left out.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).expect("inside src").display().to_string();
                files.push((name, code(&fs::read_to_string(&path).expect("a source file"))));
            }
        }
    }
    files
}

fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = before_tests.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn every_module_uses_only_what_stands_before_it() {
    let rank = |room: &str| ORDER.iter().position(|known| *known == room);
    let mut arrows_up = Vec::new();
    for (file, code) in files().iter().filter(|(file, _)| file != "lib.rs") {
        let own = rank(room(file)).unwrap_or_else(|| panic!("{file} is in no room of ORDER"));
        for used in code.split("crate::").skip(1) {
            let names = used.split(';').next().unwrap_or_default();
            let first: Vec<&str> = match names.strip_prefix('{') {
                Some(list) => list.split(['{', '}', ',']).map(str::trim).collect(),
                None => vec![names],
            };
            for name in first {
                let name = name.split([':', ' ', ',', '(', ')']).next().unwrap_or_default();
                if rank(name).is_some_and(|used| used > own) {
                    arrows_up.push(format!("{file} uses {name}"));
                }
            }
        }
    }
    assert!(arrows_up.is_empty(), "{arrows_up:#?}");
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let strays: Vec<String> = files()
        .iter()
        .flat_map(|(file, code)| {
            let uses = |name: &str| {
                code.contains(&format!("use {name}::")) || code.contains(&format!(" {name}::"))
            };
            OWNED
                .iter()
                .filter(|(name, owner)| uses(name) && !file.starts_with(owner))
                .map(move |(name, owner)| format!("{file} uses {name}, which belongs to {owner}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn sql_is_written_only_in_the_store() {
    let words = ["SELECT ", "UPDATE ", "INSERT INTO", "DELETE FROM", "PRAGMA "];
    let strays: Vec<_> = files()
        .into_iter()
        .filter(|(file, code)| {
            !file.starts_with("store") && words.iter().any(|word| code.contains(word))
        })
        .map(|(file, _)| file)
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn the_supervisor_knows_no_tensor_and_the_worker_no_database() {
    for (file, code) in files() {
        if file.starts_with("dispatcher") || file.starts_with("daemon") {
            assert!(!code.contains("z_image"), "{file}");
        }
        if file.starts_with("worker") || file.starts_with("engine") {
            assert!(!code.contains("crate::store"), "{file}");
        }
    }
}
