//! Pictures as files: encoded with their metadata, written to a temporary name, fsynced, renamed into place.

pub mod encode;
pub mod metadata;

use std::io;
use std::path::{Path, PathBuf};

/// Temporary files begin with this, so that the next start can remove them.
pub const TEMP_PREFIX: &str = ".zimaged-";

/// The temporary file of an attempt, in the output folder.
pub fn temp_path(outputs: &Path, attempt_id: i64) -> PathBuf {
    outputs.join(format!("{TEMP_PREFIX}{attempt_id}.part"))
}

/// Checks size and hash of the temporary file, then gives it its final name without replacing anything, and fsyncs
/// the folder. `AlreadyExists` when the name is taken.
pub fn publish(_temp: &Path, _bytes: u64, _sha256: &str, _final_path: &Path) -> io::Result<()> {
    todo!()
}

/// Removes what earlier starts left behind.
pub fn remove_temporaries(_outputs: &Path) -> io::Result<u32> {
    todo!()
}

/// The attempt id written into a picture of ours, if it is one.
pub fn attempt_of(_path: &Path) -> Option<i64> {
    todo!()
}
