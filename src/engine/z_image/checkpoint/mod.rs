//! Files of weights as people have them: what tensors they hold, and how these are read.
//!
//! Nothing is memory-mapped: a file that is cut short while it is used, or a disk that fails, is an
//! error of a read, and not the end of the process.

mod encoding;
mod gguf;
mod safetensors;
mod scale;
mod stored;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub use self::encoding::Encoding;
pub use self::scale::Scale;
pub use self::stored::StoredTensor;
pub use self::write::{FloatFormat, NewTensor, write_safetensors};
use super::wrong_file;
use crate::engine::ModelError;
use crate::files;

/// The longest header of a file: safetensors' own bound.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// More tensors than any model of this family has.
const TENSORS_MAX: usize = 100_000;

/// The tensors of one file or of several, by the names that the files have for them.
#[derive(Debug, Default)]
pub struct Checkpoint {
    pub tensors: BTreeMap<String, StoredTensor>,
    /// What the files say of themselves.
    pub metadata: HashMap<String, String>,
}

impl Checkpoint {
    /// Reads the header of the file at `path`, a safetensors or a GGUF file by its content. Errors
    /// name the file, and the tensor where one is wrong.
    pub fn read(path: &Path) -> Result<Checkpoint, ModelError> {
        wrong_file::refuse(path)?;
        let file = files::open_plain(path).map_err(|error| ModelError::of_io(path, &error))?;
        let bytes = file.metadata().map_err(|error| ModelError::of_io(path, &error))?.len();
        let file = Arc::new(OpenFile { file, path: path.to_owned(), bytes });
        match wrong_file::is_gguf(path)? {
            true => gguf::read(&file),
            false => safetensors::read(&file),
        }
    }

    /// The tensors of all files at `paths`.
    pub fn read_all<'a>(
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Checkpoint, ModelError> {
        let mut all = Checkpoint::default();
        for path in paths {
            let one = Checkpoint::read(path)?;
            all.tensors.extend(one.tensors);
            all.metadata.extend(one.metadata);
        }
        Ok(all)
    }
}

/// A file that tensors are read from.
#[derive(Debug)]
struct OpenFile {
    file: File,
    path: std::path::PathBuf,
    bytes: u64,
}

impl OpenFile {
    /// An error that names the file.
    fn wrong(&self, what: impl std::fmt::Display) -> ModelError {
        ModelError::wrong(&self.path, what)
    }

    /// The tensor `name` whose values are the bytes from `start` to `end`. An error where that is
    /// not what its shape takes, or not in the file.
    fn tensor(
        self: &Arc<Self>,
        name: &str,
        encoding: Encoding,
        shape: Vec<usize>,
        start: u64,
        end: u64,
    ) -> Result<StoredTensor, ModelError> {
        let count = shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side));
        let Some(count) = count else {
            return Err(
                self.wrong(format!("{name} has the shape {shape:?}, which no memory holds"))
            );
        };
        let taken = encoding.bytes(count).map_or_else(|| end.saturating_sub(start), |n| n as u64);
        if start > end || end - start != taken {
            let has = end.saturating_sub(start);
            return Err(self.wrong(format!(
                "{name} has {has} bytes, and {shape:?} values of {encoding} take {taken}"
            )));
        }
        if end > self.bytes {
            let cut = format!("has {} of its {end} bytes ({name} lies behind its end)", self.bytes);
            return Err(self.wrong(wrong_file::unfinished(&cut)));
        }
        Ok(StoredTensor::new(self.clone(), name, encoding, shape, start))
    }
}
