//! Pixels to PNG, JPEG or WebP in a file, with the texts of [`super::metadata`] inside.

use std::io;
use std::path::Path;

use super::metadata::Metadata;
use crate::engine::Pixels;
use crate::job::Format;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// Encodes and writes the picture to `path` (replacing a temporary file of an earlier death), fsynced.
pub fn write_picture(_path: &Path, _pixels: &Pixels, _format: Format, _metadata: &Metadata) -> io::Result<Written> {
    todo!()
}
