//! What is there in place of a model's folder, and what would be right.

use std::fs;
use std::path::{Path, PathBuf};

use super::wrong_file::{hub_layout, other_kind, start_of, unfinished};

/// What makes a folder a model.
const INDEX: &str = "model_index.json";

/// How many entries of a folder are looked at.
const ENTRIES_MAX: usize = 1000;

/// Whether `model` is a folder in the layout of the hub.
pub fn has_index(model: &Path) -> bool {
    model.join(INDEX).exists()
}

/// What is wrong with `model`, which is to be a model of single files; `None` where it may be one.
/// It is a sentence without a subject.
pub fn problem(model: &Path) -> Option<String> {
    if model.is_dir() {
        return folder(model);
    }
    match start_of(model) {
        Ok(start) => other_kind(&start),
        Err(_) => Some(format!("there is no such file or folder; {}", hub_layout())),
    }
}

/// A folder without an index, in which there may be single files: the most likely mistake comes
/// first.
fn folder(path: &Path) -> Option<String> {
    if let Some(model) = model_near(path) {
        return Some(format!("is no model itself, but {0} is one: --model {0}", model.display()));
    }
    let names = names(path);
    let has = |name: &&str| names.iter().any(|found| found == name);
    if names.is_empty() {
        return Some(format!("is empty; {}", hub_layout()));
    }
    let in_parts = has(&"transformer") || has(&"scheduler");
    in_parts.then(|| unfinished(&format!("has no {INDEX}")))
}

/// A model just below `path` (of one in the hub's cache, its snapshot), or just above it.
fn model_near(path: &Path) -> Option<PathBuf> {
    let is_model = |path: &PathBuf| path.join(INDEX).exists();
    let inside = |folder: &Path| {
        names(folder).into_iter().map(|name| folder.join(name)).find(|path| is_model(path))
    };
    let above = path.parent().map(Path::to_owned).filter(is_model);
    let is_part = path.join("config.json").exists();
    inside(path).or_else(|| inside(&path.join("snapshots"))).or_else(|| above.filter(|_| is_part))
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        }
        folder
    }

    // newcomer 8
    #[test]
    fn each_wrong_folder_gets_its_own_sentence() {
        let cases: [(&[&str], &str); 5] = [
            (&[], "is empty"),
            (&["transformer/config.json"], "the model's download is incomplete"),
            (&["scheduler/scheduler_config.json"], "the model's download is incomplete"),
            (&["Z-Image-Turbo/model_index.json"], "/Z-Image-Turbo is one: --model "),
            (&["snapshots/1/model_index.json"], "snapshots/1 is one: --model "),
        ];
        for (files, expected) in cases {
            let folder = made(files);
            let told = problem(folder.path()).expect("no model");
            assert!(told.contains(expected), "{files:?}: {told}");
        }
    }

    // newcomer 8
    #[test]
    fn a_part_and_the_hubs_cache_lead_to_their_model() {
        let folder = made(&["model_index.json", "transformer/config.json"]);
        let told = problem(&folder.path().join("transformer")).expect("a part");
        assert!(told.contains(&format!("--model {}", folder.path().display())), "{told}");
        let cache = made(&["refs/main", "snapshots/abc/model_index.json"]);
        let told = problem(cache.path()).expect("a cache");
        assert!(told.contains("snapshots/abc is one"), "{told}");
        assert!(has_index(folder.path()) && !has_index(cache.path()));
    }

    // newcomer 8
    #[test]
    fn what_may_hold_single_files_is_looked_into_and_the_rest_is_told() {
        let folder = made(&["z.safetensors", "loras/b.safetensors"]);
        fs::write(folder.path().join("page.safetensors"), b"<!doctype html>").unwrap();
        let told = |name: &str| problem(&folder.path().join(name));
        assert_eq!(told(""), None);
        assert_eq!(told("z.safetensors"), None);
        assert!(told("page.safetensors").expect("no file").contains("a web page"));
        assert!(told("nothing").expect("no file").contains("there is no such file or folder"));
    }
}
