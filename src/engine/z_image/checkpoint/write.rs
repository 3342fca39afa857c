//! Writing a safetensors file, some megabytes at a time.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{Error, Result};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// About so many values are made by one thread at a time.
const CHUNK_VALUES: usize = 64 << 10;

/// So many chunks are in memory together, and then written.
const CHUNKS: usize = 64;

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTensor {
    pub name: String,
    pub shape: Vec<usize>,
}

impl NewTensor {
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// A vector is one row.
    fn rows(&self) -> usize {
        match *self.shape {
            [] | [_] => 1,
            [rows, ..] => rows,
        }
    }

    pub fn columns(&self) -> usize {
        self.count() / self.rows().max(1)
    }
}

/// How the values of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFormat {
    F32,
    Bf16,
}

impl FloatFormat {
    pub fn bytes(self) -> usize {
        match self {
            FloatFormat::F32 => size_of::<f32>(),
            FloatFormat::Bf16 => size_of::<bf16>(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            FloatFormat::F32 => "F32",
            FloatFormat::Bf16 => "BF16",
        }
    }

    fn write(self, values: &[f32], out: &mut [u8]) {
        let rounded = match self {
            FloatFormat::F32 => None,
            FloatFormat::Bf16 => {
                let mut rounded = vec![bf16::ZERO; values.len()];
                rounded.convert_from_f32_slice(values);
                Some(rounded)
            }
        };
        let bytes = match &rounded {
            None => bytemuck::cast_slice(values),
            Some(rounded) => bytemuck::cast_slice(rounded),
        };
        out.copy_from_slice(bytes);
    }
}

/// Writes a new file at `path` through to the disk. `values` gives those of a tensor, by its place
/// among `tensors`, from a row on; it is asked by all threads.
pub fn write_safetensors(
    path: &Path,
    format: FloatFormat,
    tensors: &[NewTensor],
    values: impl Fn(usize, usize, &mut [f32]) -> Result<()> + Sync,
) -> Result<()> {
    let of_file = |error: std::io::Error| Error::Msg(format!("{}: {error}", path.display()));
    let mut file = File::create_new(path).map_err(of_file)?;
    file.write_all(&header(format, tensors)).map_err(of_file)?;
    let mut bytes = Vec::new();
    for (place, tensor) in tensors.iter().enumerate() {
        let row_bytes = tensor.columns() * format.bytes();
        let chunk_rows = (CHUNK_VALUES / tensor.columns().max(1)).max(1);
        for first_row in (0..tensor.rows()).step_by(CHUNKS * chunk_rows) {
            let rows = (CHUNKS * chunk_rows).min(tensor.rows() - first_row);
            bytes.resize(rows * row_bytes, 0);
            let chunks = bytes.par_chunks_mut((chunk_rows * row_bytes).max(1)).enumerate();
            chunks.try_for_each(|(chunk, out)| {
                let mut of_chunk = vec![0.0; out.len() / format.bytes()];
                values(place, first_row + chunk * chunk_rows, &mut of_chunk)?;
                format.write(&of_chunk, out);
                Result::Ok(())
            })?;
            file.write_all(&bytes).map_err(of_file)?;
        }
    }
    file.sync_all().map_err(of_file)
}

/// The length of the header, and the header, which ends at a multiple of eight bytes.
fn header(format: FloatFormat, tensors: &[NewTensor]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.count() * format.bytes();
        let offsets = [start, end];
        let entry =
            json!({ "dtype": format.name(), "shape": tensor.shape, "data_offsets": offsets });
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}
