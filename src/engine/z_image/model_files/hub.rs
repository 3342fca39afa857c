//! The files of a part in a folder of the hub's layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::ModelError;
use crate::engine::z_image::config::read_json;
use crate::engine::z_image::wrong_file::unfinished;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files of the part whose files are called `stem`, in `folder`. The error names those that are
/// missing.
pub(super) fn paths(folder: &Path, stem: &str) -> Result<Vec<PathBuf>, ModelError> {
    let [single, index] = ["", ".index.json"].map(|end| format!("{stem}.safetensors{end}"));
    let names = if folder.join(&single).exists() {
        BTreeSet::from([single])
    } else if folder.join(&index).exists() {
        read_json::<Index>(&folder.join(&index))?.weight_map.into_values().collect()
    } else {
        let missing = format!("neither {single} nor {index} is there");
        return Err(ModelError::wrong(folder, unfinished(&missing)));
    };
    if let Some(name) = names.iter().find(|name| Path::new(name).components().count() != 1) {
        let outside = format!("names {name}, which is no file of its folder");
        return Err(ModelError::wrong(&folder.join(index), outside));
    }
    let missing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !folder.join(name).exists()).collect();
    if !missing.is_empty() {
        let missing = format!("{} is missing", missing.join(", "));
        return Err(ModelError::wrong(folder, unfinished(&missing)));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
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
        assert!(
            error
                .contains("the model's download is incomplete: finish it, or get one with zimaged"),
            "{error}"
        );
        let index =
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}}"#;
        let error = error_with(&[("model.safetensors.index.json", index), ("2.safetensors", "")]);
        assert!(
            error.contains("1.safetensors, 3.safetensors is missing: the model's download"),
            "{error}"
        );
    }

    #[test]
    fn an_index_that_points_out_of_its_folder_is_refused() {
        for name in ["../other.safetensors", "/etc/passwd", "a/b.safetensors"] {
            let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let error = error_with(&[("model.safetensors.index.json", &index)]);
            assert!(error.contains(&format!("names {name}, which is no file")), "{error}");
        }
    }
}
