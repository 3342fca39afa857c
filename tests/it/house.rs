//! The house as ARCHITECTURE.md draws it: who may use whom, held over the source.

mod source;
mod unsafe_code;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use self::source::{Module, SourceFile, files, imports};

/// The modules of the crate; each uses only what stands before it.
const ORDER: &[&str] = &[
    "spelling",
    "problem",
    "table",
    "job",
    "ladder",
    "planner",
    "attempt",
    "clock",
    "moment",
    "countdown",
    "heartbeat",
    "recent_log",
    "public_address",
    "access",
    "files",
    "descriptors",
    "engine",
    "card",
    "config",
    "output",
    "thumbnails",
    "preview",
    "sheet",
    "inputs",
    "loras",
    "named_files",
    "worker",
    "store",
    "instance",
    "hub",
    "intake",
    "status",
    "queue",
    "at_work",
    "systemd",
    "mcp",
    "http",
    "dispatcher",
    "recovery",
    "caretaker",
    "awake",
    "hooks",
    "daemon",
    "report",
    "doctor",
    "cli",
    "internals",
    "main",
];

/// Crates that only one module may use, or two.
const OWNED: [(&str, &str); 13] = [
    ("sqlx", "store"),
    ("candle_core", "engine/z_image"),
    ("candle_nn", "engine/z_image"),
    ("tokenizers", "engine/z_image"),
    ("notify", "intake"),
    ("ureq", "hub hooks"),
    ("axum", "http"),
    ("hyper", "http"),
    ("prometheus_client", "http"),
    ("rmcp", "mcp"),
    ("clap", "cli"),
    ("sd_notify", "systemd"),
    ("nvml_wrapper", "card"),
];

/// Which other modules of `engine/z_image` each of its modules may name. A module that is not in
/// the list names none. Each names only modules that stand before it or are not in the list.
const ENGINE_ARROWS: [(&str, &[&str]); 36] = [
    ("wrong_folder", &["wrong_file"]),
    ("config", &["wrong_file"]),
    ("checkpoint", &["host", "rotation", "wrong_file"]),
    ("names", &["checkpoint"]),
    ("shapes", &["checkpoint", "config"]),
    ("model_files", &["checkpoint", "config", "names", "shapes", "wrong_file", "wrong_folder"]),
    ("prompt", &["wrong_file"]),
    ("embedder", &["prompt"]),
    ("schedule", &["config"]),
    ("ops", &["host", "rotation"]),
    ("linear", &["ops"]),
    ("quant", &["ops"]),
    ("weights", &["checkpoint", "linear", "model_files", "ops", "quant"]),
    ("cuda", &["checkpoint", "cuda_folders", "geometry", "host", "weights"]),
    ("device", &["cuda"]),
    ("device_memory", &["cuda", "host"]),
    ("stack", &["cuda", "device_memory", "weights"]),
    ("text_encoder", &["config", "device_memory", "linear", "ops", "stack", "weights"]),
    (
        "lora",
        &["checkpoint", "config", "device", "geometry", "linear", "model_files", "wrong_file"],
    ),
    (
        "transformer",
        &["config", "device_memory", "geometry", "linear", "lora", "ops", "stack", "weights"],
    ),
    ("solver", &["schedule"]),
    ("sampler", &["schedule", "solver", "transformer"]),
    ("vae", &["config", "device_memory", "geometry", "linear", "live", "ops", "weights"]),
    (
        "predict",
        &[
            "config",
            "embedder",
            "geometry",
            "prompt",
            "schedule",
            "text_encoder",
            "transformer",
            "vae",
        ],
    ),
    ("measure", &["cuda", "device", "ops", "weights"]),
    ("predictor", &["config", "host", "model_files", "predict"]),
    ("model_dir", &["config", "model_files", "prompt", "wrong_file"]),
    ("inspect", &["checkpoint", "config", "model_files", "names", "quant", "shapes"]),
    ("verify", &["model_files"]),
    ("quantise", &["model_files", "ops", "quant", "weights"]),
    (
        "new_model",
        &["checkpoint", "config", "geometry", "model_files", "prompt", "shapes", "verify"],
    ),
    ("oom", &["cuda", "device_memory"]),
    (
        "parts",
        &[
            "config",
            "cuda",
            "device",
            "device_memory",
            "model_files",
            "oom",
            "text_encoder",
            "transformer",
            "vae",
            "weights",
        ],
    ),
    ("wanted_loras", &["config", "device", "device_memory", "lora", "oom", "parts"]),
    ("beginning", &["noise", "oom", "parts", "sampler", "schedule", "solver", "vae"]),
    (
        "engine",
        &[
            "beginning",
            "config",
            "device",
            "device_memory",
            "embedder",
            "lora",
            "measure",
            "model_files",
            "oom",
            "parts",
            "picture",
            "predict",
            "prompt",
            "sampler",
            "schedule",
            "solver",
            "transformer",
            "wanted_loras",
        ],
    ),
];

#[test]
fn every_module_uses_only_what_stands_before_it() {
    let rank = |module: &Module| match module.first() {
        Some(first) => ORDER.iter().position(|known| known == first),
        None => Some(ORDER.len()), // main.rs, and the map in lib.rs
    };
    let files = files();
    let mut arrows_up = Vec::new();
    for (module, named) in imports(&files) {
        let own = rank(&module).unwrap_or_else(|| panic!("{module:?} is no module of ORDER"));
        let up = named.iter().filter(|named| rank(named).is_some_and(|rank| rank > own));
        arrows_up.extend(up.map(|named| format!("{module:?} uses {named:?}")));
    }
    assert!(arrows_up.is_empty(), "{arrows_up:#?}");
}

/// A folder's own file may be named by the files in the folder: it declares them.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = files();
    let folders: BTreeSet<&Module> =
        files.iter().filter(|file| file.is_folder).map(|file| &file.module).collect();
    let mut graph = imports(&files);
    for (module, named) in &mut graph {
        named.retain(|named| !(module.starts_with(named) && folders.contains(named)));
    }
    let in_circle: Vec<String> = graph
        .keys()
        .filter(|module| reachable(&graph, module).contains(module))
        .map(|module| module.join("::"))
        .collect();
    assert!(in_circle.is_empty(), "in a circle with one of the others: {in_circle:#?}");
}

/// All modules that `start` names, directly or through others.
fn reachable<'a>(
    graph: &'a BTreeMap<Module, BTreeSet<Module>>,
    start: &Module,
) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&Module> = graph[start].iter().collect();
    while let Some(module) = waiting.pop() {
        if found.insert(module) {
            waiting.extend(&graph[module]);
        }
    }
    found
}

/// The name of a module directly inside the engine's folder; that of what stands for `cuda` in
/// builds without it is `cuda`, too.
fn engine_part(module: &Module) -> Option<&str> {
    let inside = module.strip_prefix(["engine".to_owned(), "z_image".to_owned()].as_slice())?;
    match inside.first().map(String::as_str) {
        Some("no_cuda") => Some("cuda"),
        Some(part) => Some(part),
        None => Some("mod"),
    }
}

#[test]
fn the_engines_modules_name_exactly_those_that_are_listed() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, named) in imports(&files()) {
        let Some(part) = engine_part(&module).filter(|part| *part != "mod") else { continue };
        let arrows = found.entry(part.to_owned()).or_default();
        arrows.extend(named.iter().filter_map(engine_part).map(str::to_owned));
        arrows.remove(part);
    }
    let listed = ENGINE_ARROWS.map(|(part, named)| {
        (part.to_owned(), named.iter().map(|named| (*named).to_owned()).collect())
    });
    let listed: BTreeMap<String, BTreeSet<String>> = listed.into_iter().collect();
    let nothing = BTreeSet::new();
    let mut differences = Vec::new();
    for part in found.keys().chain(listed.keys()).collect::<BTreeSet<_>>() {
        let of = |arrows: &BTreeMap<_, _>| -> BTreeSet<String> {
            arrows.get(part).unwrap_or(&nothing).clone()
        };
        let (found, listed) = (of(&found), of(&listed));
        differences
            .extend(found.difference(&listed).map(|to| format!("not listed: {part} to {to}")));
        differences.extend(listed.difference(&found).map(|to| format!("unused: {part} to {to}")));
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn the_list_of_the_engines_arrows_has_no_circle() {
    let place = |part: &str| ENGINE_ARROWS.iter().position(|(listed, _)| *listed == part);
    for (part, named) in ENGINE_ARROWS {
        let later = named.iter().filter(|named| place(named) >= place(part));
        let later: Vec<_> = later.filter(|named| place(named).is_some()).collect();
        assert!(later.is_empty(), "{part} names {later:?}, which stand after it");
    }
}

#[test]
fn only_the_seam_of_the_engines_knows_the_real_one() {
    let strays: Vec<String> = imports(&files())
        .into_iter()
        .filter(|(module, named)| {
            let is_engine = module.first().is_some_and(|first| first == "engine");
            let is_seam = ["engine", "engine::predictor"].contains(&module.join("::").as_str());
            is_engine
                && !is_seam
                && engine_part(module).is_none()
                && named.iter().any(|named| engine_part(named).is_some())
        })
        .map(|(module, _)| module.join("::"))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn outside_crates_stay_in_their_modules() {
    let mut strays = Vec::new();
    for (name, owner) in OWNED {
        let path = Regex::new(&format!(r"\b{name}::")).expect("a pattern");
        let users = files().into_iter().filter(|file| path.is_match(&file.code));
        let outside = users.filter(|file| !owner.split(' ').any(|it| file.name.starts_with(it)));
        strays.extend(outside.map(|file| format!("{} uses {name} of {owner}", file.name)));
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn sql_is_written_only_in_the_store() {
    let words = ["SELECT ", "UPDATE ", "INSERT INTO", "DELETE FROM", "PRAGMA "];
    let is_stray = |file: &SourceFile| {
        !file.name.starts_with("store") && words.iter().any(|word| file.with_strings.contains(word))
    };
    let strays: Vec<_> = files().into_iter().filter(is_stray).map(|file| file.name).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn the_supervisor_knows_no_tensor_and_the_worker_no_database() {
    for (module, named) in imports(&files()) {
        let first = module.first().map(String::as_str).unwrap_or_default();
        let uses = |path: &[&str]| named.iter().any(|named| named.starts_with(&owned(path)));
        if ["dispatcher", "daemon"].contains(&first) {
            assert!(!uses(&["engine", "z_image"]), "{module:?}");
        }
        if ["worker", "engine"].contains(&first) {
            assert!(!uses(&["store"]), "{module:?}");
        }
    }
}

fn owned(path: &[&str]) -> Module {
    path.iter().map(|name| (*name).to_owned()).collect()
}

/// Each error of a module may have its own short `Result`.
#[test]
fn no_two_public_types_share_a_name() {
    let public_type = Regex::new(
        r"(?m)^\s*pub(?:\([a-z ]+\))?\s+(?:struct|enum|trait|type|union)\s+([A-Za-z0-9_]+)",
    );
    let public_type = public_type.expect("a pattern");
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files() {
        for found in public_type.captures_iter(&file.code) {
            homes.entry(found[1].to_owned()).or_default().push(file.name.clone());
        }
    }
    homes.retain(|name, homes| homes.len() > 1 && name != "Result");
    assert!(homes.is_empty(), "{homes:#?}");
}

/// What users, other programs' troubles and an attack met is marked at its tests (CONTRIBUTING.md).
#[test]
fn every_point_of_the_trials_is_marked_at_a_test() {
    let mark = Regex::new(r"(?i)\b(newcomer|case|chaos) ([0-9]+|[A-F])\b").expect("a pattern");
    let texts = ["src", "tests/it", "tests/faults"].map(source::texts).into_iter().flatten();
    let marked: BTreeSet<String> = texts
        .flat_map(|text| {
            mark.find_iter(&text).map(|found| found.as_str().to_lowercase()).collect::<Vec<_>>()
        })
        .collect();
    let points = (1..=40).map(|point| format!("newcomer {point}"));
    let kinds = ('a'..='f').map(|kind| format!("case {kind}"));
    let attacks = (1..=10).map(|kind| format!("chaos {kind}"));
    let missing: Vec<String> =
        points.chain(kinds).chain(attacks).filter(|point| !marked.contains(point)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What the folder of the source holds, without the endings of files.
fn parts(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let entries = fs::read_dir(path).expect("a folder of the source");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let names = entries.map(|entry| name(entry.expect("an entry of it")));
    let parts = names.map(|name| name.trim_end_matches(".rs").to_owned());
    parts.filter(|part| !["mod", "tests"].contains(&part.as_str())).collect()
}

#[test]
fn the_map_names_every_file_of_the_folders_that_it_looks_into() {
    let map = include_str!("../../ARCHITECTURE.md").split("\n### Inside `").skip(1);
    let mut looked_into = 0;
    for section in map.filter_map(|section| section.split("\n## ").next()) {
        let (folder, told) = section.split_once("/`\n").expect("the name of a folder");
        for part in parts(folder) {
            let is_named = ["", "/"].iter().any(|end| told.contains(&format!("`{part}{end}`")));
            assert!(is_named, "ARCHITECTURE.md does not say what {folder}/{part} is for");
        }
        looked_into += 1;
    }
    assert!(looked_into > 3, "{looked_into}");
}
