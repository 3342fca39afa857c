//! The header of a safetensors file: eight bytes of length, then JSON.
//!
//! Source: the format's description in the repository huggingface/safetensors.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Checkpoint, Encoding, HEADER_BYTES_MAX, OpenFile, TENSORS_MAX};
use crate::engine::ModelError;
use crate::engine::z_image::wrong_file;

/// The length of the header, which the file begins with.
const LENGTH_BYTES: u64 = 8;

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The key of what is no tensor.
const METADATA: &str = "__metadata__";

pub(super) fn read(file: &Arc<OpenFile>) -> Result<Checkpoint, ModelError> {
    let (mut header, data) = header(file)?;
    let metadata = header.remove(METADATA).map(texts).unwrap_or_default();
    let entries = header.into_iter().map(|(name, entry)| match serde_json::from_value(entry) {
        Ok(entry) => Ok((name, entry)),
        Err(error) => Err(file.wrong(format!("{name} in its header: {error}"))),
    });
    let entries = entries.collect::<Result<Vec<(String, Entry)>, _>>()?;
    check_length(file, &entries, data)?;
    let mut tensors = BTreeMap::new();
    for (name, Entry { dtype, shape, data_offsets }) in entries {
        let [start, end] = data_offsets.map(|offset| data.saturating_add(offset));
        let encoding = Encoding::of_safetensors(&dtype);
        let tensor = file.tensor(&name, encoding, shape, start, end)?;
        tensors.insert(name, tensor);
    }
    Ok(Checkpoint { tensors, metadata })
}

/// The values end where the file does.
fn check_length(file: &OpenFile, entries: &[(String, Entry)], data: u64) -> Result<(), ModelError> {
    let ends = entries.iter().map(|(_, Entry { data_offsets: [_, end], .. })| *end);
    let whole = data.saturating_add(ends.max().unwrap_or(0));
    if file.bytes < whole {
        let cut = format!("has {} of its {whole} bytes", file.bytes);
        return Err(file.wrong(wrong_file::unfinished(&cut)));
    }
    if file.bytes > whole {
        let more = format!("has {} bytes, more than the {whole} of its header", file.bytes);
        return Err(file.wrong(format!("{more}; {}", wrong_file::again())));
    }
    Ok(())
}

/// The header's entries, and where the values begin.
fn header(file: &OpenFile) -> Result<(HashMap<String, Value>, u64), ModelError> {
    let mut length = [0; LENGTH_BYTES as usize];
    if file.bytes < LENGTH_BYTES {
        let cut = format!("has only {} bytes", file.bytes);
        return Err(file.wrong(wrong_file::unfinished(&cut)));
    }
    let unreadable = |error: io::Error| ModelError::of_io(&file.path, &error);
    file.file.read_exact_at(&mut length, 0).map_err(unreadable)?;
    let header_bytes = u64::from_le_bytes(length);
    let no_header = || file.wrong(wrong_file::no_weights(&file.path));
    if header_bytes > HEADER_BYTES_MAX {
        return Err(no_header());
    }
    let data = LENGTH_BYTES + header_bytes;
    if data > file.bytes {
        let cut = format!("has {} bytes, and its header alone {data}", file.bytes);
        return Err(file.wrong(wrong_file::unfinished(&cut)));
    }
    let mut json = vec![0; header_bytes as usize];
    file.file.read_exact_at(&mut json, LENGTH_BYTES).map_err(unreadable)?;
    let entries: HashMap<String, Value> =
        serde_json::from_reader(json.take(header_bytes)).map_err(|_| no_header())?;
    match entries.len() <= TENSORS_MAX {
        true => Ok((entries, data)),
        false => Err(file.wrong(format!("has more than {TENSORS_MAX} tensors"))),
    }
}

/// Texts of the metadata; other values are not in the format.
fn texts(metadata: Value) -> HashMap<String, String> {
    let Value::Object(entries) = metadata else { return HashMap::new() };
    let texts = entries.into_iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some((key, text)),
        _ => None,
    });
    texts.collect()
}
