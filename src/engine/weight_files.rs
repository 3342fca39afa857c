//! The files that hold a model's weights, and a fingerprint of them that costs no reading.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::hex;

/// The weight files of one model, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightFiles(Vec<WeightFile>);

/// One file of weights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightFile {
    /// Relative to the model's folder, like `vae/diffusion_pytorch_model.safetensors`.
    pub name: String,
    pub path: PathBuf,
}

/// What the system says of a file. It changes whenever the file is edited, replaced or moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Absolute, without links.
    pub path: PathBuf,
    pub bytes: u64,
    pub modified_s: i64,
    pub modified_ns: i64,
}

impl Stamp {
    /// The stamp of the file at `path` as it is now.
    pub fn of(path: &Path) -> io::Result<Stamp> {
        let path = fs::canonicalize(path)?;
        let file = fs::metadata(&path)?;
        Ok(Stamp {
            path,
            bytes: file.len(),
            modified_s: file.mtime(),
            modified_ns: file.mtime_nsec(),
        })
    }
}

impl WeightFiles {
    /// The files at `paths`, which lie in the model's folder `model`.
    pub fn new(model: &Path, paths: impl IntoIterator<Item = PathBuf>) -> WeightFiles {
        let file = |path: PathBuf| {
            let name = path.strip_prefix(model).unwrap_or(&path).to_string_lossy().into_owned();
            WeightFile { name, path }
        };
        let mut files: Vec<WeightFile> = paths.into_iter().map(file).collect();
        files.sort_unstable();
        WeightFiles(files)
    }

    pub fn iter(&self) -> impl Iterator<Item = &WeightFile> {
        self.0.iter()
    }

    /// Those in the folder `folder` of the model.
    pub fn within(&self, folder: &str) -> WeightFiles {
        let inside = |file: &&WeightFile| Path::new(&file.name).starts_with(folder);
        WeightFiles(self.iter().filter(inside).cloned().collect())
    }

    /// A hash of the files' paths, sizes and times of change, in hex. It is there at once, and
    /// tells any two sets of files on one machine apart, equal copies included.
    pub fn fingerprint(&self) -> io::Result<String> {
        let mut hash = Sha256::new();
        for file in self.iter() {
            hash.update(format!("{:?}\n", Stamp::of(&file.path)?));
        }
        Ok(hex(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_changes_with_an_edit_in_place_and_with_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/vae/1", "a/transformer/1", "b/vae/1", "b/transformer/1"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "weights").unwrap();
        }
        let files = |model: &str| {
            let model = folder.path().join(model);
            WeightFiles::new(&model, ["vae/1", "transformer/1"].map(|name| model.join(name)))
        };
        let before = files("a").fingerprint().unwrap();
        assert_eq!(files("a").fingerprint().unwrap(), before);
        assert_ne!(files("b").fingerprint().unwrap(), before);
        let vae = files("a").within("vae").fingerprint().unwrap();
        fs::write(folder.path().join("a/transformer/1"), "other weights").unwrap();
        assert_ne!(files("a").fingerprint().unwrap(), before);
        assert_eq!(files("a").within("vae").fingerprint().unwrap(), vae);
    }
}
