//! Finished latents kept in a small file beside the attempt, so that a failed decode is repeated alone.
//!
//! A safetensors file whose metadata holds what the latents were made for and the hash of their values. It is only
//! ever a saving of time: whatever is wrong with it, the answer is to denoise again.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Latents, Recipe};

const TENSOR: &str = "latents";
const KEY: &str = "key";
const HASH: &str = "sha256";

/// Latents of 4096x4096 pixels are 16 MiB; more than this is not a file of ours.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the latents depend on: kept latents are used only for exactly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentsKey {
    pub model_hash: String,
    pub recipe: Recipe,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
}

/// The name of the file that keeps the latents of the render with this id.
pub fn file_name(render_id: i64) -> String {
    format!("{render_id}.safetensors")
}

/// The id in a name of [`file_name`]'s, or in that of its temporary file; `None` for every other name.
pub fn render_id(name: &OsStr) -> Option<i64> {
    let name = name.to_str()?;
    let name = name.strip_suffix(".part").unwrap_or(name);
    let render_id = name.strip_suffix(".safetensors")?.parse().ok()?;
    // Not 007 or +7.
    (name == file_name(render_id)).then_some(render_id)
}

/// Keeps `latents` at `path` (temporary file, fsync, rename).
pub fn save(path: &Path, key: &LatentsKey, latents: &Latents) -> io::Result<()> {
    let values: Vec<u8> = latents.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let metadata = HashMap::from([(KEY.to_owned(), text(key)?), (HASH.to_owned(), hash(&values))]);
    let view = TensorView::new(Dtype::F32, latents.shape.to_vec(), &values).map_err(io::Error::other)?;
    let file = safetensors::serialize([(TENSOR, view)], Some(metadata)).map_err(io::Error::other)?;
    let temporary = path.with_added_extension("part");
    let mut written = File::create(&temporary)?;
    written.write_all(&file)?;
    written.sync_all()?;
    fs::rename(&temporary, path)
}

/// The latents kept at `path`, if the file is whole (its hash fits) and was made for `key`.
pub fn load(path: &Path, key: &LatentsKey) -> Option<Latents> {
    if fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let file = fs::read(path).ok()?;
    let (_, header) = SafeTensors::read_metadata(&file).ok()?;
    let metadata = header.metadata().as_ref()?;
    let tensors = SafeTensors::deserialize(&file).ok()?;
    let tensor = tensors.tensor(TENSOR).ok()?;
    // Compared as text: a number read back from JSON may differ in its last bit.
    let made_for_key = *metadata.get(KEY)? == text(key).ok()?;
    if !made_for_key || *metadata.get(HASH)? != hash(tensor.data()) || tensor.dtype() != Dtype::F32 {
        return None;
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Some(Latents { shape: tensor.shape().try_into().ok()?, values })
}

fn text(key: &LatentsKey) -> io::Result<String> {
    serde_json::to_string(key).map_err(io::Error::other)
}

fn hash(values: &[u8]) -> String {
    Sha256::digest(values).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn key() -> LatentsKey {
        let recipe =
            Recipe { prompt: "一只猫".into(), negative_prompt: String::new(), guidance: 0.1 + 0.2, seed: 7 };
        LatentsKey { model_hash: "m".into(), recipe, width: 32, height: 16, steps: 8 }
    }

    fn latents() -> Latents {
        Latents { shape: [2, 2, 4], values: (0..16).map(|n| n as f32 / 3.0).collect() }
    }

    fn kept() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.safetensors");
        save(&path, &key(), &latents()).unwrap();
        (folder, path)
    }

    #[test]
    fn kept_latents_come_back_to_the_bit_and_leave_no_temporary_file() {
        let (folder, path) = kept();
        assert_eq!(load(&path, &key()), Some(latents()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_our_own_names_say_whose_latents_they_keep() {
        for name in [file_name(7), file_name(7) + ".part"] {
            assert_eq!(render_id(OsStr::new(&name)), Some(7), "{name}");
        }
        for name in ["7", "007.safetensors", "+7.safetensors", "fox.safetensors", "7.safetensors.bak", ".part"] {
            assert_eq!(render_id(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn latents_of_anything_else_are_not_used() {
        let (folder, path) = kept();
        let mut other = key();
        other.recipe.seed = 8;
        assert_eq!(load(&path, &other), None);
        assert_eq!(load(&path, &LatentsKey { steps: 9, ..key() }), None);
        assert_eq!(load(&folder.path().join("absent"), &key()), None);
    }

    #[test]
    fn latents_cut_short_or_changed_are_not_used() {
        let (_folder, path) = kept();
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 40, whole.len() - 4, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(load(&path, &key()), None, "{length} bytes");
        }
        let mut changed = whole;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(load(&path, &key()), None);
    }
}
