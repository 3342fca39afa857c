//! The header of a GGUF file: metadata, then names, shapes, types and offsets of the tensors.
//!
//! Source: docs/gguf.md of the repository ggml-org/ggml, versions 2 and 3.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::{Checkpoint, Encoding, HEADER_BYTES_MAX, OpenFile, TENSORS_MAX};
use crate::engine::ModelError;
use crate::engine::z_image::wrong_file;

/// What tensors are aligned to where the file says nothing.
const ALIGNMENT: u64 = 32;

/// Versions that have lengths of 64 bits.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;

/// No tensor of a model has more dimensions (`GGML_MAX_DIMS`).
const DIMENSIONS_MAX: u32 = 4;

/// Names of tensors and keys are shorter.
const NAME_BYTES_MAX: u64 = 1 << 16;

/// How deep arrays lie in arrays.
const DEPTH_MAX: u32 = 4;

/// Why a header cannot be read.
enum HeaderError {
    Io(io::Error),
    Wrong(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> HeaderError {
        HeaderError::Io(error)
    }
}

impl From<String> for HeaderError {
    fn from(what: String) -> HeaderError {
        HeaderError::Wrong(what)
    }
}

pub(super) fn read(file: &Arc<OpenFile>) -> Result<Checkpoint, ModelError> {
    let header = Reader::new(file).header().map_err(|error| match error {
        // The reader is not shorter than the file, up to the header's bound.
        HeaderError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            file.wrong(wrong_file::unfinished("ends in its header"))
        }
        HeaderError::Io(error) => ModelError::of_io(&file.path, &error),
        HeaderError::Wrong(what) => file.wrong(format!("{what}; {}", wrong_file::again())),
    })?;
    let mut tensors = BTreeMap::new();
    for Entry { name, shape, number, offset } in header.entries {
        let encoding = Encoding::of_gguf(number);
        let count = shape.iter().fold(1_usize, |count, &side| count.saturating_mul(side));
        let Some(bytes) = encoding.bytes(count) else {
            return Err(file.wrong(unread(&name, &encoding)));
        };
        let start = header.data.saturating_add(offset);
        let end = start.saturating_add(bytes as u64);
        let tensor = file.tensor(&name, encoding, shape, start, end)?;
        tensors.insert(name, tensor);
    }
    Ok(Checkpoint { tensors, metadata: header.metadata })
}

/// Why the tensor is not read, and what would be.
fn unread(name: &str, encoding: &Encoding) -> String {
    format!(
        "{name} is of type {encoding}, which zimaged does not read; use a file of Q8_0, Q6_K, \
         Q5_K, Q5_0, Q4_K or Q4_0"
    )
}

/// What the header says of a tensor; its shape begins with the slowest dimension.
struct Entry {
    name: String,
    shape: Vec<usize>,
    number: u32,
    offset: u64,
}

struct Header {
    metadata: HashMap<String, String>,
    entries: Vec<Entry>,
    /// Where the values begin.
    data: u64,
}

/// Reads a header, and counts its bytes.
struct Reader<R> {
    file: R,
    position: u64,
}

impl<'a> Reader<BufReader<io::Take<&'a std::fs::File>>> {
    fn new(file: &'a OpenFile) -> Self {
        Reader { file: BufReader::new((&file.file).take(HEADER_BYTES_MAX)), position: 0 }
    }
}

impl<R: Read> Reader<R> {
    fn header(mut self) -> Result<Header, HeaderError> {
        self.bytes::<4>()?; // "GGUF", which brought us here
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            return Err(format!("is a GGUF file of version {version}, and 2 and 3 are read").into());
        }
        let (tensors, keys) = (self.u64()?, self.u64()?);
        if tensors > TENSORS_MAX as u64 || keys > TENSORS_MAX as u64 {
            let told =
                "is damaged, or no GGUF file: it says that it has more tensors than any model";
            return Err(told.to_owned().into());
        }
        let mut metadata = HashMap::new();
        for _ in 0..keys {
            let key = self.text(NAME_BYTES_MAX)?;
            let kind = self.u32()?;
            if let Some(value) = self.value(kind, 0)? {
                metadata.insert(key, value);
            }
        }
        let entries = (0..tensors).map(|_| self.entry()).collect::<Result<_, _>>()?;
        let alignment = metadata.get("general.alignment").and_then(|text| text.parse().ok());
        let alignment = alignment.filter(|&bytes| bytes > 0).unwrap_or(ALIGNMENT);
        Ok(Header { metadata, entries, data: self.position.next_multiple_of(alignment) })
    }

    fn entry(&mut self) -> Result<Entry, HeaderError> {
        let name = self.text(NAME_BYTES_MAX)?;
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS_MAX {
            return Err(format!("{name} has {dimensions} dimensions").into());
        }
        let sides =
            (0..dimensions).map(|_| Ok(self.u64()?)).collect::<Result<Vec<_>, HeaderError>>()?;
        // The file has the fastest dimension first.
        let shape = sides.iter().rev().map(|&side| usize::try_from(side).unwrap_or(usize::MAX));
        Ok(Entry { name, shape: shape.collect(), number: self.u32()?, offset: self.u64()? })
    }

    /// A value of the metadata as text; `None` of an array, which nothing here needs.
    fn value(&mut self, kind: u32, depth: u32) -> Result<Option<String>, HeaderError> {
        let text = match kind {
            0 | 1 | 7 => self.bytes::<1>()?[0].to_string(),
            2 | 3 => u16::from_le_bytes(self.bytes()?).to_string(),
            4 | 5 => self.u32()?.to_string(),
            6 => f32::from_le_bytes(self.bytes()?).to_string(),
            8 => self.text(HEADER_BYTES_MAX)?,
            9 if depth < DEPTH_MAX => {
                let (kind, count) = (self.u32()?, self.u64()?);
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
                return Ok(None);
            }
            10 | 11 => self.u64()?.to_string(),
            12 => f64::from_le_bytes(self.bytes()?).to_string(),
            _ => return Err(format!("has a value of kind {kind} in its metadata").into()),
        };
        Ok(Some(text))
    }

    fn text(&mut self, bytes_max: u64) -> Result<String, HeaderError> {
        let length = self.u64()?;
        if length > bytes_max {
            return Err(format!("has a text of {length} bytes in its header").into());
        }
        let mut bytes = Vec::new();
        self.file.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.position += length;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], io::Error> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, io::Error> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, io::Error> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }
}
