//! What a picture says of itself, read back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::metadata::{KEY, Metadata};
use super::{Owner, exif, measure};
use crate::attempt::Timings;

/// Memory for the texts of a PNG and a row of its pixels: anybody can put a picture into the
/// folder.
pub(super) const PNG_BYTES_MAX: usize = 8 << 20;

/// The longest JSON of ours: two prompts of 64 KiB with every character escaped, and facts.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;

/// A larger file is not one of ours: 8192 by 8192 pixels, uncompressed.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A picture of ours, found under some name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub owner: Owner,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// As far as they were known when the picture was written.
    pub timings: Timings,
}

/// The picture at `path`, if it is one of ours. Its name does not matter.
pub fn inspect(path: &Path) -> Option<Picture> {
    let mut file = open(path).ok()?;
    let Metadata { queue, timings, .. } = metadata(&file).ok()??;
    file.rewind().ok()?;
    let (bytes, sha256) = measure(&mut file).ok()?;
    Some(Picture { owner: queue.owner, bytes, sha256, timings: timings.into() })
}

/// What the picture at `path` says of itself, if it is one of ours and can be read.
pub fn metadata_of(path: &Path) -> Option<Metadata> {
    read_metadata(path).ok()?
}

/// As [`metadata_of`], for a picture that has to be there: what cannot be read is an error.
pub(super) fn read_metadata(path: &Path) -> io::Result<Option<Metadata>> {
    metadata(&open(path)?)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let facts = file.metadata()?;
    match facts.is_file() && facts.len() <= FILE_BYTES_MAX {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no picture of ours")),
    }
}

fn metadata(file: &File) -> io::Result<Option<Metadata>> {
    let mut reader = BufReader::new(file);
    let text = match reader.fill_buf()?.starts_with(b"\x89PNG") {
        true => png_text(reader),
        false => exif_text(reader),
    };
    Ok(text.as_deref().and_then(parsed))
}

/// The facts that a text of ours holds.
pub(super) fn parsed(text: &str) -> Option<Metadata> {
    (text.len() <= JSON_BYTES_MAX).then(|| serde_json::from_str(text).ok())?
}

fn exif_text(mut reader: impl BufRead + Seek) -> Option<String> {
    exif::json(&::exif::Reader::new().read_from_container(&mut reader).ok()?)
}

/// Reads no further than the first pixels: our texts stand before them.
fn png_text(reader: impl BufRead + Seek) -> Option<String> {
    let reader = png::Decoder::new_with_limits(reader, png::Limits { bytes: PNG_BYTES_MAX })
        .read_info()
        .ok()?;
    let mut chunk = reader.info().utf8_text.iter().find(|chunk| chunk.keyword == KEY)?.clone();
    chunk.decompress_text_with_limit(JSON_BYTES_MAX).ok()?;
    chunk.get_text().ok()
}
