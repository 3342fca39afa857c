//! Which files hold a part's weights, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Shape;
use candle_core::safetensors::MmapedSafetensors;
use serde::Deserialize;

use crate::engine::ModelError;
use crate::engine::z_image::config::read_json;
use crate::engine::z_image::wrong_file::{refuse_weights, unfinished};

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files of the part whose files are called `stem`, in `folder`. The error names those that are
/// missing, or the first that is not whole or is something else.
pub fn paths(folder: &Path, stem: &str) -> std::result::Result<Vec<PathBuf>, ModelError> {
    let [single, index] = ["", ".index.json"].map(|end| format!("{stem}.safetensors{end}"));
    let names = if folder.join(&single).exists() {
        BTreeSet::from([single])
    } else if folder.join(&index).exists() {
        read_json::<Index>(&folder.join(index))?.weight_map.into_values().collect()
    } else {
        let missing = format!("neither {single} nor {index} is there");
        return Err(ModelError::wrong(folder, unfinished(&missing)));
    };
    let missing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !folder.join(name).exists()).collect();
    if !missing.is_empty() {
        let missing = format!("{} is missing", missing.join(", "));
        return Err(ModelError::wrong(folder, unfinished(&missing)));
    }
    let paths: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
    paths.iter().try_for_each(|path| refuse_weights(path))?;
    Ok(paths)
}

/// What is wrong with the tensor `name`, which should have this shape.
pub(super) fn problem(files: &MmapedSafetensors, name: &str, shape: &Shape) -> Option<String> {
    match files.get(name) {
        Err(_) => Some(format!("{name} is missing")),
        Ok(view) if view.shape() == shape.dims() => None,
        Ok(view) => Some(format!("{name} has shape {:?}, not {:?}", view.shape(), shape.dims())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn error_with(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        paths(folder.path(), "model").unwrap_err().to_string()
    }

    #[test]
    fn what_an_incomplete_download_lacks_is_named() {
        let error = error_with(&[]);
        assert!(
            error.contains("neither model.safetensors nor model.safetensors.index.json is there"),
            "{error}"
        );
        assert!(error.contains("the model's download is incomplete; hf download "), "{error}");
        let index =
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}}"#;
        let error = error_with(&[("model.safetensors.index.json", index), ("2.safetensors", "")]);
        assert!(
            error.contains("1.safetensors, 3.safetensors is missing: the model's download"),
            "{error}"
        );
    }

    #[test]
    fn a_pointer_in_the_place_of_a_file_is_recognised() {
        let pointer =
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9973693184\n";
        let error = error_with(&[("model.safetensors", pointer)]);
        assert!(
            error.contains("model.safetensors: is Git LFS's pointer")
                && error.contains("git lfs pull"),
            "{error}"
        );
    }
}
