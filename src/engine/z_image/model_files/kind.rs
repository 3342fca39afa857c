//! Which training of Z-Image a file holds: its tensors do not tell it, but its content's hash does,
//! its name, and where it was fetched from.

use std::fs;
use std::path::Path;

use crate::engine::ModelKind;
use crate::engine::provenance::{FetchedWeights, PUBLISHED};

/// How a base model's name goes on after `z_image`: its precision, or that it is the base.
const AFTER_BASE: [&str; 10] =
    ["base", "_base", "_bf16", "_fp", "_f16", "_f32", "_q", "_int8", "_gguf", "_mxfp8"];

/// Where Hugging Face's cache has the files of the repository OWNER/NAME:
/// `models--OWNER--NAME/blobs`, each by its hash.
const BLOBS: &str = "blobs";
const REPOSITORY: &str = "models--";

/// What is known of the training of the transformer in the file `transformer` of the model at
/// `path`. A hash says what the content is; the file's own name says more than its repository's,
/// and that more than the name of a folder, which may hold anything.
pub(super) fn of_single_file(transformer: &Path, path: &Path) -> Option<ModelKind> {
    let origin = Origin::of(transformer);
    let published = PUBLISHED.iter().find(|one| origin.sha256.as_deref() == Some(one.sha256));
    let known = published.map(|one| one.kind).or_else(|| of_stem(transformer));
    let of_repository = || origin.repository.as_deref().and_then(of_name);
    known.or_else(of_repository).or_else(|| if path.is_dir() { of_folder(path) } else { None })
}

/// What the repository of a folder of the hub's layout, or else its name, says beyond its schedule:
/// De-Turbo has Turbo's. In Hugging Face's cache the folder is called by a revision.
pub(super) fn beyond_schedule(hub: &Path) -> Option<ModelKind> {
    let origin = Origin::of(&hub.join("model_index.json"));
    let known = origin.repository.as_deref().and_then(of_name).or_else(|| of_folder(hub));
    known.filter(|kind| *kind == ModelKind::DeTurbo)
}

/// Where a file comes from, as far as it stands beside it.
#[derive(Default)]
struct Origin {
    sha256: Option<String>,
    /// NAME of OWNER/NAME.
    repository: Option<String>,
}

impl Origin {
    fn of(path: &Path) -> Origin {
        let last = |repository: &str| repository.rsplit('/').next().map(str::to_owned);
        match FetchedWeights::of(path) {
            Some(fetched) => Origin {
                sha256: Some(fetched.sha256),
                repository: last(&fetched.source.repository),
            },
            None => Origin::in_cache(path).unwrap_or_default(),
        }
    }

    /// That of a link into Hugging Face's cache.
    fn in_cache(path: &Path) -> Option<Origin> {
        let blob = fs::canonicalize(path).ok()?;
        let folder = blob.parent().filter(|folder| folder.ends_with(BLOBS))?;
        let repository = folder.parent()?.file_name()?.to_str()?.strip_prefix(REPOSITORY)?;
        Some(Origin {
            sha256: blob.file_name()?.to_str().map(str::to_owned),
            repository: repository.rsplit("--").next().map(str::to_owned),
        })
    }
}

fn of_stem(file: &Path) -> Option<ModelKind> {
    of_name(&file.file_stem()?.to_string_lossy())
}

fn of_folder(folder: &Path) -> Option<ModelKind> {
    of_name(&folder.file_name()?.to_string_lossy())
}

/// What the name of a file, a folder or a repository says of the training.
fn of_name(name: &str) -> Option<ModelKind> {
    let name = name.to_lowercase().replace(['-', ' ', '.'], "_");
    let is_de_turbo = name.starts_with("de_turbo") || name.contains("_de_turbo");
    if is_de_turbo || name.contains("deturbo") {
        return Some(ModelKind::DeTurbo);
    }
    if name.contains("turbo") {
        return Some(ModelKind::Turbo);
    }
    let rest = name.strip_prefix("z_image").or_else(|| name.strip_prefix("zimage"))?;
    let is_base = rest.is_empty() || AFTER_BASE.iter().any(|after| rest.starts_with(after));
    is_base.then_some(ModelKind::Base)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::engine::provenance::{FETCH_RECORD, TURBO_INT8_CONVROT};

    const BASE: Option<ModelKind> = Some(ModelKind::Base);
    const TURBO: Option<ModelKind> = Some(ModelKind::Turbo);
    const DE_TURBO: Option<ModelKind> = Some(ModelKind::DeTurbo);

    #[test]
    fn the_names_that_people_have_say_the_training() {
        for (name, kind) in [
            ("z_image_bf16.safetensors", BASE),
            ("z_image.safetensors", BASE),
            ("Z-Image-Q4_K_M.gguf", BASE),
            ("z-image-base-Q8_0.gguf", BASE),
            ("zImageBase_v10.safetensors", BASE),
            ("z_image_turbo_bf16.safetensors", TURBO),
            ("z_image_turbo_int8_convrot.safetensors", TURBO),
            ("zImageTurbo_v10.safetensors", TURBO),
            ("moody_made_turbo.safetensors", TURBO),
            ("z_image_de_turbo_v1_bf16.safetensors", DE_TURBO),
            ("Z-Image-De-Turbo-Q8_0.gguf", DE_TURBO),
            ("zImageDeturbo.safetensors", DE_TURBO),
            ("fine-tune.safetensors", None),
            ("z_image_omni.safetensors", None),
        ] {
            assert_eq!(of_stem(Path::new(name)), kind, "{name}");
        }
    }

    /// An empty file, with what lies around it.
    fn file(folder: &Path, name: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn a_file_says_more_than_the_folder_around_it() {
        let around = tempfile::tempdir().unwrap();
        for (folder, name, kind) in [
            ("Z-Image", "z_image_turbo_bf16.safetensors", TURBO),
            ("z_image", "z_image_turbo_bf16.safetensors", TURBO),
            ("Z-Image-Turbo", "z_image_bf16.safetensors", BASE),
            ("Z-Image-Turbo", "model.safetensors", TURBO),
            ("models", "model.safetensors", None),
        ] {
            let folder = around.path().join(folder);
            let transformer = file(&folder, name);
            assert_eq!(of_single_file(&transformer, &folder), kind, "{folder:?} {name}");
        }
        let path = file(around.path(), "Z-Image-De-Turbo/model_index.json");
        assert_eq!(beyond_schedule(path.parent().unwrap()), DE_TURBO);
        assert_eq!(beyond_schedule(&around.path().join("Z-Image")), None, "its schedule says it");
    }

    #[test]
    fn what_was_fetched_is_known_by_its_hash_and_its_repository_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "my.safetensors");
        let fetched = |repository: &str, sha256: &str| {
            let record = format!(
                r#"{{"hub": "hf", "repo": "{repository}", "revision": "c0ffee", "files":
                [{{"path": "my.safetensors", "bytes": 0, "sha256": "{sha256}"}}]}}"#
            );
            fs::write(folder.path().join(FETCH_RECORD), record).unwrap();
            of_single_file(&path, &path)
        };
        assert_eq!(of_single_file(&path, &path), None);
        assert_eq!(fetched("somebody/models", "5a"), None);
        assert_eq!(fetched("somebody/models", TURBO_INT8_CONVROT.sha256), TURBO);
        assert_eq!(fetched("Comfy-Org/z_image_turbo", "5a"), TURBO);
        assert_eq!(fetched("Comfy-Org/z_image", "5a"), BASE);
        assert_eq!(fetched("ostris/Z-Image-De-Turbo", "5a"), DE_TURBO);
    }

    #[test]
    fn a_link_into_hugging_faces_cache_is_known_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let linked = |repository: &str, sha256: &str| {
            let blob = file(folder.path(), &format!("models--{repository}/blobs/{sha256}"));
            let link = folder.path().join("my.safetensors");
            let _ = fs::remove_file(&link);
            symlink(&blob, &link).unwrap();
            of_single_file(&link, &link)
        };
        assert_eq!(linked("somebody--models", "5a"), None);
        assert_eq!(linked("somebody--models", TURBO_INT8_CONVROT.sha256), TURBO);
        assert_eq!(linked("Tongyi-MAI--Z-Image", "5a"), BASE);
        let repository = folder.path().join("models--ostris--Z-Image-De-Turbo");
        let blob = file(&repository, "blobs/5b");
        let snapshot = repository.join("snapshots/c0ffee");
        fs::create_dir_all(&snapshot).unwrap();
        symlink(blob, snapshot.join("model_index.json")).unwrap();
        assert_eq!(beyond_schedule(&snapshot), DE_TURBO);
    }
}
