//! What is there in place of a model's folder, and what would be right.

use std::fs;
use std::path::{Path, PathBuf};

use super::wrong_file::{hub_layout, other_kind, start_of, unfinished};

/// What makes a folder a model.
const INDEX: &str = "model_index.json";

/// Folders of ComfyUI's `models`, which holds single files.
const COMFY: [&str; 6] =
    ["checkpoints", "clip", "diffusion_models", "loras", "text_encoders", "unet"];

/// Folders that every model of this kind has.
const PARTS: [&str; 4] = ["transformer", "text_encoder", "vae", "scheduler"];

/// How many entries of a folder are looked at.
const ENTRIES_MAX: usize = 1000;

/// What is wrong with `model`, which should be the folder of a model; `None` where it may be one.
/// It is a sentence without a subject.
pub fn problem(model: &Path) -> Option<String> {
    if model.is_dir() {
        return (!model.join(INDEX).exists()).then(|| folder(model));
    }
    let found = match start_of(model) {
        Ok(start) => other_kind(&start).unwrap_or_else(|| file(model)),
        Err(_) => format!("there is no such folder; {}", hub_layout()),
    };
    Some(found)
}

/// A file that no magic bytes tell anything of.
fn file(path: &Path) -> String {
    let is_weights = path.extension().is_some_and(|end| end == "safetensors");
    let what = if is_weights {
        "is a single file of weights, and zimaged needs the whole model, with its text encoder, \
         its tokenizer and its VAE"
    } else {
        "is a file"
    };
    format!("{what}; {}", hub_layout())
}

/// A folder without an index: the most likely mistake comes first.
fn folder(path: &Path) -> String {
    if let Some(model) = model_near(path) {
        return format!("is no model itself, but {0} is one: --model {0}", model.display());
    }
    let names = names(path);
    let has = |name: &&str| names.iter().any(|found| found == name);
    let comfy_root = path.join("models/checkpoints").is_dir();
    if comfy_root || COMFY.iter().filter(|name| has(name)).count() >= 2 {
        return format!(
            "is a folder of ComfyUI's, whose single files zimaged does not read; {}",
            hub_layout()
        );
    }
    if PARTS.iter().any(has) || has(&".cache") {
        return unfinished(&format!("has no {INDEX}"));
    }
    let ends = |end: &str| names.iter().any(|name| name.ends_with(end));
    let what = match names.is_empty() {
        true => "is empty".to_owned(),
        false if ends(".gguf") => "holds GGUF files, which zimaged does not read".to_owned(),
        false if ends(".safetensors") => {
            "holds single files of weights, and zimaged needs the whole model".to_owned()
        }
        false => format!("has no {INDEX}, so it is no model"),
    };
    format!("{what}; {}", hub_layout())
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
        let cases: [(&[&str], &str); 9] = [
            (&[], "is empty"),
            (&["checkpoints/a.safetensors", "loras/b.safetensors"], "ComfyUI"),
            (&["main.py", "models/checkpoints/a.safetensors"], "ComfyUI"),
            (&["z_image_turbo_bf16.safetensors"], "single files of weights"),
            (&["z_image_turbo-Q8_0.gguf"], "holds GGUF files"),
            (&["transformer/config.json"], "the model's download is incomplete"),
            (&[".cache/huggingface/x.lock"], "the model's download is incomplete"),
            (&["notes.txt"], "has no model_index.json"),
            (&["Z-Image-Turbo/model_index.json"], "/Z-Image-Turbo is one: --model "),
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
        assert_eq!(problem(folder.path()), None);
    }

    // newcomer 8
    #[test]
    fn a_file_in_the_place_of_the_folder_is_told_by_its_kind() {
        let folder = made(&["z.safetensors", "readme.md"]);
        let write = |name: &str, content: &[u8]| {
            fs::write(folder.path().join(name), content).unwrap();
        };
        write("z.gguf", b"GGUF\x03\0\0\0");
        write("page.safetensors", b"<!doctype html>");
        let told = |name: &str| problem(&folder.path().join(name)).expect("no model");
        assert!(told("z.safetensors").contains("a single file of weights"));
        assert!(told("readme.md").starts_with("is a file; "));
        assert!(told("z.gguf").contains("GGUF"));
        assert!(told("page.safetensors").contains("a web page"));
        assert!(told("nothing").contains("there is no such folder"));
    }
}
