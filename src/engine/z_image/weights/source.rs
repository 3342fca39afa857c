//! Where tensors come from: files, one flat tensor, or a random generator.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};

use super::FlatLayout;
use super::problems::Problems;
use crate::engine::z_image::checkpoint::{Encoding, StoredTensor};

pub(super) enum Source {
    /// Files of weights, of which `place` is the file or the folder that errors name.
    Files { tensors: BTreeMap<String, StoredTensor>, place: PathBuf, problems: Problems },
    /// Views into one tensor.
    Flat { values: Tensor, layout: FlatLayout },
    /// Random numbers of any name and shape.
    Random,
}

impl Source {
    /// The tensor `name` as `dtype` on `device`, which `read` makes of what a file holds. A tensor
    /// that is missing or has another shape is noted, and zeros that take no memory stand in for
    /// it.
    pub(super) fn load(
        &self,
        name: &str,
        shape: &Shape,
        (dtype, device): (DType, &Device),
        read: impl FnOnce(&StoredTensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Source::Files { .. } => match self.stored(name, shape) {
                Some(tensor) => read(tensor),
                None => Tensor::zeros(1, dtype, device)?.broadcast_as(shape),
            },
            Source::Flat { values, layout } => layout.view(values, name, shape),
            Source::Random => random(shape, dtype, device),
        }
    }

    /// The rotated rows of 8 bits of the matrix `name`, where a flat tensor has it so.
    pub(super) fn int8_bits(&self, name: &str) -> Result<Option<Tensor>> {
        let Source::Flat { values, layout } = self else { return Ok(None) };
        layout.int8_bits(values, name)
    }

    /// The tensor `name` in its file, where it is there and has this shape. Else that is noted.
    pub(super) fn stored(&self, name: &str, shape: &Shape) -> Option<&StoredTensor> {
        let Source::Files { tensors, problems, .. } = self else { return None };
        let problem = match tensors.get(name) {
            Some(tensor) if tensor.fits(shape.dims()) => return Some(tensor),
            Some(tensor) => {
                format!("{name} has shape {:?}, not {:?}", tensor.shape(), shape.dims())
            }
            None => format!("{name} is missing"),
        };
        problems.note(problem);
        None
    }

    /// How the file has the tensor `name`; `None` where it does not come from a file.
    pub(super) fn encoding(&self, name: &str) -> Option<&Encoding> {
        let Source::Files { tensors, .. } = self else { return None };
        tensors.get(name).map(StoredTensor::encoding)
    }

    /// Notes where the tensor `name` is missing or has another shape.
    pub(super) fn expect(&self, name: &str, shape: &Shape) {
        self.stored(name, shape);
    }

    /// Rows `ids` of the matrix `name` (rows, width) as `dtype`: (ids, width).
    pub(super) fn rows(
        &self,
        name: &str,
        ids: &[u32],
        (rows, width): (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if matches!(self, Source::Random) {
            return random(&(ids.len(), width).into(), dtype, device);
        }
        match self.stored(name, &(rows, width).into()) {
            Some(tensor) => tensor.load_rows(ids, dtype, device),
            None => bail!("there is no {name} of {rows} rows"),
        }
    }

    /// All tensors of the files, sorted by name; none of other sources.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&String, &StoredTensor)> {
        let files = match self {
            Source::Files { tensors, .. } => Some(tensors),
            Source::Flat { .. } | Source::Random => None,
        };
        files.into_iter().flatten()
    }
}

/// Matrices keep the size of the activations that they multiply. Vectors (norms, biases) are ones.
fn random(shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    match shape.dims() {
        [_] => Tensor::ones(shape, dtype, device),
        [outputs, ..] => {
            let inputs = shape.elem_count() / outputs;
            Tensor::randn(0.0, (inputs as f64).powf(-0.5), shape, device)?.to_dtype(dtype)
        }
        [] => Tensor::zeros(shape, dtype, device),
    }
}
