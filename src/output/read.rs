//! Our JSON, read back from a picture.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use super::exif;
use super::metadata::KEY;

/// Memory for the texts of a PNG and a row of its pixels: anybody can put a picture into the folder.
const PNG_BYTES_MAX: usize = 8 << 20;

/// The longest JSON of ours: two prompts of 64 KiB with every character escaped, and facts.
const JSON_BYTES_MAX: usize = 1 << 20;

/// A larger file is not one of ours: 8192 by 8192 pixels, uncompressed.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The attempt id written into a picture of ours, if it is one. The name does not matter.
pub fn attempt_of(path: &Path) -> Option<i64> {
    json_of(path)?.get("attempt_id")?.as_i64()
}

/// What a picture of ours says of itself, see [`super::metadata::Metadata::json`].
pub fn json_of(path: &Path) -> Option<Map<String, Value>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut reader = BufReader::new(file);
    let text = if reader.fill_buf().ok()?.starts_with(b"\x89PNG") {
        png_text(reader)?
    } else {
        exif::json(&::exif::Reader::new().read_from_container(&mut reader).ok()?)?
    };
    if text.len() > JSON_BYTES_MAX {
        return None;
    }
    serde_json::from_str(&text).ok()
}

/// Reads no further than the first pixels: our texts stand before them.
fn png_text(reader: impl BufRead + Seek) -> Option<String> {
    let reader = png::Decoder::new_with_limits(reader, png::Limits { bytes: PNG_BYTES_MAX }).read_info().ok()?;
    let mut chunk = reader.info().utf8_text.iter().find(|chunk| chunk.keyword == KEY)?.clone();
    chunk.decompress_text_with_limit(JSON_BYTES_MAX).ok()?;
    chunk.get_text().ok()
}
