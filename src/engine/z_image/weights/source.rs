//! Where tensors come from: files, one flat tensor, or a random generator.

use std::path::PathBuf;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use safetensors::tensor::TensorView;

use super::FlatLayout;
use super::files::problem;
use super::problems::Problems;

pub(super) enum Source {
    /// The safetensors files of a folder, memory-mapped.
    Files { files: MmapedSafetensors, folder: PathBuf, problems: Problems },
    /// Views into one tensor.
    Flat { values: Tensor, layout: FlatLayout },
    /// Random numbers of any name and shape.
    Random,
}

impl Source {
    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Source::Files { files, .. } => files.get(name).is_ok(),
            Source::Flat { layout, .. } => layout.contains(name),
            Source::Random => true,
        }
    }

    /// The tensor `name` on `device`: in the type that the file has, or in `dtype` where it is
    /// made. A tensor that is missing or has another shape is noted, and zeros that take no memory
    /// stand in for it.
    pub(super) fn load(
        &self,
        name: &str,
        shape: &Shape,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        match self {
            Source::Files { files, .. } if self.fits(name, shape) => files.load(name, device),
            Source::Files { .. } => {
                self.expect(name, shape);
                Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
            }
            Source::Flat { values, layout } => layout.view(values, name, shape),
            Source::Random => random(shape, dtype, device),
        }
    }

    /// Whether the tensor `name` is there and has this shape.
    pub(super) fn fits(&self, name: &str, shape: &Shape) -> bool {
        match self {
            Source::Files { files, .. } => problem(files, name, shape).is_none(),
            Source::Flat { .. } | Source::Random => true,
        }
    }

    /// Notes where the tensor `name` is missing or has another shape.
    pub(super) fn expect(&self, name: &str, shape: &Shape) {
        if let Source::Files { files, problems, .. } = self {
            problems.note(problem(files, name, shape));
        }
    }

    /// The type that the file has the tensor `name` in; `None` where it does not come from a file.
    pub(super) fn stored_dtype(&self, name: &str) -> Option<DType> {
        let Source::Files { files, .. } = self else { return None };
        files.get(name).ok()?.dtype().try_into().ok()
    }

    /// Rows `ids` of the matrix `name` (rows, width), in the type that the file has: (ids, width).
    pub(super) fn rows(
        &self,
        name: &str,
        ids: &[u32],
        (rows, width): (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let Source::Files { files, .. } = self else {
            return random(&(ids.len(), width).into(), dtype, device);
        };
        let view = files.get(name)?;
        let row_bytes = view.data().len() / rows;
        let mut bytes = Vec::with_capacity(ids.len() * row_bytes);
        for &id in ids {
            let start = id as usize * row_bytes;
            match view.data().get(start..start + row_bytes) {
                Some(row) => bytes.extend_from_slice(row),
                None => bail!("{name} has no row {id}"),
            }
        }
        Tensor::from_raw_buffer(&bytes, view.dtype().try_into()?, &[ids.len(), width], device)
    }

    /// All tensors of the files, sorted by name; none of other sources.
    pub(super) fn tensors(&self) -> Vec<(String, TensorView<'_>)> {
        let Source::Files { files, .. } = self else { return Vec::new() };
        let mut tensors = files.tensors();
        tensors.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        tensors
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
