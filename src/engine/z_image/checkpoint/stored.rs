//! One tensor of a file, and how its values are brought into memory.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytemuck::Pod;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Error, Result, Shape, Tensor, WithDType, bail};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::{Encoding, OpenFile, Scale};
use crate::engine::z_image::host;
use crate::engine::z_image::rotation::{is_group, rotate};

/// About so many values are read and converted at a time by a thread: few enough to stay in its
/// cache, enough that a read's own cost does not count.
const CHUNK_VALUES: usize = 64 << 10;

/// A tensor in a file. Nothing of it is in memory.
#[derive(Clone)]
pub struct StoredTensor {
    file: Arc<OpenFile>,
    /// What the file calls it, for errors.
    name: String,
    encoding: Encoding,
    shape: Vec<usize>,
    /// Where its first value is in the file, in bytes.
    start: u64,
    /// What its values are multiplied by.
    scale: Option<Arc<Scale>>,
    /// How many inputs each were rotated together before they were rounded.
    rotated: Option<usize>,
}

impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.encoding, self.shape)
    }
}

impl StoredTensor {
    pub(super) fn new(
        file: Arc<OpenFile>,
        name: &str,
        encoding: Encoding,
        shape: Vec<usize>,
        start: u64,
    ) -> StoredTensor {
        let name = name.to_owned();
        StoredTensor { file, name, encoding, shape, start, scale: None, rotated: None }
    }

    /// The same values, each multiplied by its scale.
    pub fn scaled(self, scale: Scale) -> StoredTensor {
        StoredTensor { scale: Some(Arc::new(scale)), ..self }
    }

    /// The same values with each `group` of inputs rotated back; `None` where that is no size of a
    /// group.
    pub fn rotated_back(self, group: usize) -> Option<StoredTensor> {
        is_group(group, self.columns()).then_some(StoredTensor { rotated: Some(group), ..self })
    }

    /// Only these rows; `None` where it has not so many, or they are no whole bytes.
    pub fn slice_rows(&self, rows: Range<usize>) -> Option<StoredTensor> {
        let (&[_, ref rest @ ..], true) = (&*self.shape, rows.end <= self.rows()) else {
            return None;
        };
        let start = self.start + self.encoding.bytes(rows.start * self.columns())? as u64;
        let scale = match &self.scale {
            Some(scale) => Some(Arc::new(scale.slice_rows(rows.clone())?)),
            None => None,
        };
        let shape = [&[rows.len()], rest].concat();
        Some(StoredTensor { start, scale, shape, ..self.clone() })
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Whether it has this shape, apart from dimensions of one, which some writers drop and others
    /// add.
    pub fn fits(&self, shape: &[usize]) -> bool {
        let sides = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|&side| side != 1).collect()
        };
        sides(&self.shape) == sides(shape)
    }

    /// What its values take in the file, in bytes.
    pub fn bytes(&self) -> usize {
        self.encoding.bytes(self.count()).unwrap_or(0)
    }

    /// The first bytes of its values, at most `most`. Where its encoding is not known, a value has
    /// one.
    pub fn raw_bytes(&self, most: usize) -> Result<Vec<u8>> {
        let all = self.encoding.bytes(self.count()).unwrap_or(self.count());
        let mut bytes = vec![0; all.min(most)];
        self.read_at(&mut bytes, self.start)?;
        Ok(bytes)
    }

    /// Its values as `dtype`, with this shape, on `device`. They are converted on the host, so that
    /// no more than the result goes to a card.
    pub fn load(&self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        match dtype {
            DType::F32 => Tensor::from_vec(self.values::<f32>()?, shape, device),
            DType::BF16 => Tensor::from_vec(self.values::<bf16>()?, shape, device),
            _ => Tensor::from_vec(self.values::<f32>()?, shape, device)?.to_dtype(dtype),
        }
    }

    /// Fills `out` with the rows from `first_row` on, as many as it holds, as bf16. All threads
    /// read, each a part of them.
    pub fn read_bf16(&self, first_row: usize, out: &mut [bf16]) -> Result<()> {
        self.read(first_row, out)
    }

    /// Rows `ids` as `dtype`: (ids, columns).
    pub fn load_rows(&self, ids: &[u32], dtype: DType, device: &Device) -> Result<Tensor> {
        let mut values = vec![0.0; ids.len() * self.columns()];
        for (&id, out) in ids.iter().zip(values.chunks_mut(self.columns().max(1))) {
            let id = id as usize;
            match self.slice_rows(id..id + 1) {
                Some(row) => row.decode(0, &mut Vec::new(), out)?,
                None => bail!("{} has no row {id}", self.name),
            }
        }
        Tensor::from_vec(values, (ids.len(), self.columns()), device)?.to_dtype(dtype)
    }

    /// Fails where a value is NaN or infinite, or cannot be read. All of them are read, and none is
    /// kept.
    pub fn check_finite(&self) -> Result<()> {
        let columns = self.columns().max(1);
        let rows = (CHUNK_VALUES / columns).max(1);
        (0..self.rows().div_ceil(rows)).into_par_iter().try_for_each(|chunk| {
            let first_row = chunk * rows;
            let mut values = vec![0.0; rows.min(self.rows() - first_row) * columns];
            self.decode(first_row, &mut Vec::new(), &mut values)?;
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(()),
                false => {
                    let (file, name) = (self.file.path.display(), &self.name);
                    bail!("{file}: {name} holds a value that is NaN or infinite")
                }
            }
        })
    }

    /// Its values from number `first` on, where a row begins, as many rows as `out` holds.
    pub fn decode_from(&self, first: usize, out: &mut [f32]) -> Result<()> {
        self.decode(first / self.columns().max(1), &mut Vec::new(), out)
    }

    /// The rows from `first_row` on, as many as `out` holds.
    pub fn decode_rows(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.decode(first_row, &mut Vec::new(), out)
    }

    /// Its blocks as they are in the file, where they have this format and nothing changes them.
    pub fn load_blocks(&self, format: GgmlDType, device: &Device) -> Result<Option<QTensor>> {
        let plain = self.scale.is_none() && self.rotated.is_none();
        if self.encoding != Encoding::Blocks(format) || !plain {
            return Ok(None);
        }
        let bytes = self.raw_bytes(usize::MAX)?;
        let storage = QStorage::from_data(Cow::Owned(bytes), device, format)?;
        Ok(Some(QTensor::new(storage, self.shape.clone())?))
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// A vector is one row.
    pub fn rows(&self) -> usize {
        match *self.shape {
            [] | [_] => 1,
            [rows, ..] => rows,
        }
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.count() / self.rows().max(1)
    }

    /// All values, read and converted by all threads.
    fn values<T: Value>(&self) -> Result<Vec<T>> {
        let mut values = bytemuck::zeroed_vec(self.count());
        host::prefer_large_pages(&mut values);
        self.read(0, &mut values)?;
        Ok(values)
    }

    /// Fills `out` with the rows from `first_row` on, which all threads read and convert.
    fn read<T: Value>(&self, first_row: usize, out: &mut [T]) -> Result<()> {
        let columns = self.columns().max(1);
        let rows = (CHUNK_VALUES / columns).max(1);
        let is_plain = self.scale.is_none() && self.rotated.is_none();
        let as_it_is = is_plain && self.encoding == T::ENCODING && cfg!(target_endian = "little");
        let chunks = out.par_chunks_mut(rows * columns).enumerate();
        chunks.try_for_each_init(Vec::new, |bytes, (chunk, out)| {
            let first_row = first_row + chunk * rows;
            if as_it_is {
                let start = first_row * columns * size_of::<T>();
                return self.read_at(bytemuck::cast_slice_mut(out), self.start + start as u64);
            }
            T::fill(out, |out| self.decode(first_row, bytes, out))
        })
    }

    /// The values of the rows from `first_row` on, as many as `out` holds. `bytes` is room for what
    /// is read.
    fn decode(&self, first_row: usize, bytes: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        let before = first_row * self.columns();
        let [start, length] = [before, out.len()].map(|count| self.encoding.bytes(count));
        let (Some(start), Some(length)) = (start, length) else {
            bail!("{}: its rows of {} are no whole bytes", self.name, self.encoding);
        };
        bytes.resize(length, 0);
        self.read_at(bytes, self.start + start as u64)?;
        self.encoding.decode(bytes, out)?;
        if let Some(scale) = &self.scale {
            scale.apply(first_row, self.columns(), out);
        }
        if let Some(group) = self.rotated {
            rotate(out, group);
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], start: u64) -> Result<()> {
        self.file.file.read_exact_at(bytes, start).map_err(|error| {
            let (file, name) = (self.file.path.display(), &self.name);
            let what = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the file was cut short".to_owned(),
                _ => error.to_string(),
            };
            Error::Msg(format!("{file}: {name} cannot be read: {what}"))
        })
    }
}

/// What weights are computed with.
trait Value: WithDType + Pod + Send {
    /// How files write it.
    const ENCODING: Encoding;

    /// Fills `out` with what `decode` gives.
    fn fill(out: &mut [Self], decode: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()>;
}

impl Value for f32 {
    const ENCODING: Encoding = Encoding::F32;

    fn fill(out: &mut [f32], decode: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
        decode(out)
    }
}

impl Value for bf16 {
    const ENCODING: Encoding = Encoding::Bf16;

    fn fill(out: &mut [bf16], decode: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
        let mut values = vec![0.0; out.len()];
        decode(&mut values)?;
        out.convert_from_f32_slice(&values);
        Ok(())
    }
}
