//! Models written anew, in the hub's layout: converted from another layout, or of random weights.

mod convert;
mod synth;
mod tensors;
mod texts;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, flock};
use serde::Serialize;

use self::tensors::{of_text_encoder, of_transformer, of_vae};
use super::checkpoint::{FloatFormat, NewTensor};
use super::config::ModelConfig;
use super::verify::verify_weights;
use crate::engine::ModelPlace;
use crate::engine::provenance::Part;
use crate::files;

pub use self::convert::{Conversion, convert_model};
pub use self::synth::{Geometry, Synthesis, synthesise_model};

/// So much stays free on the disk: the JSON files, and what other programs need meanwhile.
const SPARE_BYTES: u64 = 64 << 20;

/// What lies in a folder that is being written: only such a folder is ever removed.
const MARK: &str = ".zimaged-writing";

/// A model that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WrittenModel {
    /// Its folder.
    pub path: PathBuf,
    /// How many tensors it has.
    pub tensors: usize,
    /// What its weights take.
    pub bytes: u64,
}

/// Errors name the file, and the tensor where one is at fault.
type Result<T> = std::result::Result<T, String>;

/// The tensors of a part, and where its file is in the folder.
struct NewPart {
    part: Part,
    tensors: Vec<NewTensor>,
}

impl NewPart {
    /// All parts of a model of these dimensions.
    fn all(config: &ModelConfig) -> [NewPart; 3] {
        let new = |part, tensors| NewPart { part, tensors };
        [
            new(Part::Transformer, of_transformer(&config.transformer)),
            new(Part::TextEncoder, of_text_encoder(&config.text_encoder)),
            new(Part::Vae, of_vae(&config.vae)),
        ]
    }

    fn path(&self, model: &Path) -> PathBuf {
        model.join(match self.part {
            Part::Transformer => "transformer/diffusion_pytorch_model.safetensors",
            Part::TextEncoder => "text_encoder/model.safetensors",
            Part::Vae => "vae/diffusion_pytorch_model.safetensors",
        })
    }
}

/// What the weights take.
fn bytes(parts: &[NewPart], format: FloatFormat) -> u64 {
    let counts = parts.iter().flat_map(|part| &part.tensors).map(NewTensor::count);
    counts.sum::<usize>() as u64 * format.bytes() as u64
}

/// Makes the folder `to`, whole or not at all: `write` fills another one beside it, which is read
/// through and gets the name in the end. What a kill leaves there is removed by the next try.
fn make(
    to: &Path,
    parts: &[NewPart],
    format: FloatFormat,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<WrittenModel> {
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if fs::symlink_metadata(to).is_ok() {
        return Err(format!("{}: is there already; name another folder", to.display()));
    }
    let temporary = to.with_added_extension("part");
    let _lock = begin(&temporary)?;
    let written = require_room(&temporary, bytes(parts, format))
        .and_then(|()| write(&temporary))
        .and_then(|()| require_right(&temporary))
        .and_then(|()| finish(&temporary, to).map_err(|error| told(to, error)));
    if let Err(error) = written {
        // What cannot be removed is removed by the next try.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let tensors = parts.iter().map(|part| part.tensors.len()).sum();
    Ok(WrittenModel { path: to.to_owned(), tensors, bytes: bytes(parts, format) })
}

/// An empty folder of ours, locked as long as the answer lives.
fn begin(temporary: &Path) -> Result<File> {
    let told = |error: std::io::Error| format!("{}: {error}", temporary.display());
    let mark = temporary.join(MARK);
    if temporary.exists() && !mark.exists() {
        let path = temporary.display();
        return Err(format!("{path}: is in the way, and was not written by zimaged"));
    }
    fs::create_dir_all(temporary).map_err(told)?;
    let lock = File::options().create(true).append(true).open(&mark).map_err(told)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(format!("{}: another zimaged is writing it", temporary.display()));
    }
    for entry in fs::read_dir(temporary).map_err(told)? {
        let path = entry.map_err(told)?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(&path).map_err(told)?,
            false if path == mark => {}
            false => fs::remove_file(&path).map_err(told)?,
        }
    }
    Ok(lock)
}

fn require_room(folder: &Path, bytes: u64) -> Result<()> {
    let free = files::free_bytes(folder);
    let free = free.map_err(|error| format!("{}: {error}", folder.display()))?;
    let needed = bytes.saturating_add(SPARE_BYTES);
    match needed <= free {
        true => Ok(()),
        false => Err(format!(
            "{}: the disk has {free} bytes free, and {needed} are needed; make room, or name a \
             folder on another disk",
            folder.display()
        )),
    }
}

/// Reads all of what was written.
fn require_right(folder: &Path) -> Result<()> {
    let parts = verify_weights(&ModelPlace::at(folder)).map_err(|error| error.to_string())?;
    match parts.into_iter().flat_map(|part| part.problems).next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// The files are on the disk; their names follow, and then that of the folder.
fn finish(temporary: &Path, to: &Path) -> std::io::Result<()> {
    fs::remove_file(temporary.join(MARK))?;
    for entry in fs::read_dir(temporary)? {
        let path = entry?.path();
        if path.is_dir() {
            File::open(path)?.sync_all()?;
        }
    }
    File::open(temporary)?.sync_all()?;
    files::rename_new(CWD, temporary, CWD, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_has_no_room_for_is_told_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(require_room(folder.path(), 1), Ok(()));
        let error = require_room(folder.path(), 1 << 60).unwrap_err();
        assert!(error.contains("bytes free, and 1152921504673955840 are needed"), "{error}");
    }
}
