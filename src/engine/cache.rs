//! A cache of tensors: each is kept in a small file, to save the time of computing it again.
//!
//! That is a safetensors file whose metadata has the key that the tensor was computed for, and its
//! hash. Whatever is wrong with a file, the answer is to compute again.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use crate::files::{self, Unsynced, hex};

const TENSOR: &str = "values";
const KEY: &str = "key";
const HASH: &str = "sha256";

/// Latents of 4096x4096 pixels are 16 MiB, embeddings of 512 tokens 5 MiB; more than this is not a
/// file of ours.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A tensor on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Keeps `values`, made for `key`, at `path`.
pub fn save(path: &Path, key: &str, values: &Values) -> io::Result<()> {
    put(path, key, values).and_then(Unsynced::sync)
}

/// As [`save`], for whoever has it written through to the disk later: until then a power cut may
/// leave nothing, or what [`load`] does not take.
pub fn put(path: &Path, key: &str, values: &Values) -> io::Result<Unsynced> {
    let bytes: Vec<u8> = values.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let metadata =
        HashMap::from([(KEY.to_owned(), key.to_owned()), (HASH.to_owned(), hex_hash(&bytes))]);
    let view =
        TensorView::new(Dtype::F32, values.shape.clone(), &bytes).map_err(io::Error::other)?;
    let file =
        safetensors::serialize([(TENSOR, view)], Some(metadata)).map_err(io::Error::other)?;
    files::put(path, &file)
}

/// The values kept at `path`, if the file is whole (its hash fits) and was made for `key`.
pub fn load(path: &Path, key: &str) -> Option<Values> {
    let file = files::read_whole(path, FILE_BYTES_MAX).ok()?;
    let (_, header) = SafeTensors::read_metadata(&file).ok()?;
    let metadata = header.metadata().as_ref()?;
    let tensors = SafeTensors::deserialize(&file).ok()?;
    let tensor = tensors.tensor(TENSOR).ok()?;
    let made_for_key = metadata.get(KEY)? == key;
    if !made_for_key
        || *metadata.get(HASH)? != hex_hash(tensor.data())
        || tensor.dtype() != Dtype::F32
    {
        return None;
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Some(Values { shape: tensor.shape().to_vec(), values })
}

/// SHA-256 in lower-case hexadecimal.
pub fn hex_hash(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn values() -> Values {
        Values { shape: vec![2, 2, 4], values: (0..16).map(|n| n as f32 / 3.0).collect() }
    }

    fn cached() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.safetensors");
        save(&path, "key", &values()).unwrap();
        (folder, path)
    }

    #[test]
    fn cached_values_come_back_to_the_bit_and_leave_no_temporary_file() {
        let (folder, path) = cached();
        assert_eq!(load(&path, "key"), Some(values()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn values_of_another_key_are_not_used() {
        let (folder, path) = cached();
        assert_eq!(load(&path, "other"), None);
        assert_eq!(load(&folder.path().join("absent"), "key"), None);
    }

    #[test]
    fn values_cut_short_or_changed_are_not_used() {
        let (_folder, path) = cached();
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 40, whole.len() - 4, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(load(&path, "key"), None, "{length} bytes");
        }
        let mut changed = whole;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(load(&path, "key"), None);
    }
}
