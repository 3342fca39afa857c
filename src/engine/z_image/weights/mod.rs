//! The weights of one part of the model, by name.

mod files;
mod flat;
mod matrices;
mod problems;
mod source;

use std::path::Path;
use std::sync::Arc;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Shape, Tensor};

pub use self::files::paths;
pub use self::flat::FlatLayout;
use self::problems::Problems;
use self::source::Source;
use super::quant::{self, QuantisedFile};
use crate::ladder::Precision;

/// Gives tensors by name, in the type and on the device that the part computes in.
///
/// A tensor that is missing or has another shape is noted, and zeros that take no memory stand in
/// for it, so that [`Weights::finish`] can tell all that is wrong.
#[derive(Clone)]
pub struct Weights {
    source: Arc<Source>,
    /// What all names that are asked for begin with.
    prefix: String,
    dtype: DType,
    device: Device,
    precision: Precision,
    /// The file of matrices that are quantised already, where there is one.
    quantised: Option<Arc<QuantisedFile>>,
}

impl Weights {
    /// Maps `folder/STEM.safetensors`, or the files that `folder/STEM.safetensors.index.json`
    /// names.
    pub fn open(
        folder: &Path,
        stem: &str,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Weights, String> {
        let paths = paths(folder, stem)?;
        // SAFETY: the files must not be changed while they are mapped. A model in use is not
        // written to. Where it is cut short nevertheless, the process dies of SIGBUS, and only the
        // worker maps models.
        let files = unsafe { MmapedSafetensors::multi(&paths) }
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let folder = folder.to_owned();
        let problems = Problems::default();
        Ok(Weights::new(Source::Files { files, folder, problems }, dtype, device))
    }

    /// Random numbers of any name and shape, to measure speed without a model.
    pub fn random(dtype: DType, device: &Device) -> Weights {
        Weights::new(Source::Random, dtype, device)
    }

    fn new(source: Source, dtype: DType, device: &Device) -> Weights {
        Weights {
            source: Arc::new(source),
            prefix: String::new(),
            dtype,
            device: device.clone(),
            precision: Precision::Full,
            quantised: None,
        }
    }

    /// The weights whose names begin with `name.`.
    pub fn prefixed(&self, name: impl std::fmt::Display) -> Weights {
        Weights { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.source.contains(&self.full_name(name))
    }

    /// The tensor `name`, in the type that the part computes in.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        let name = self.full_name(name);
        self.source.load(&name, &shape.into(), self.dtype, &self.device)?.to_dtype(self.dtype)
    }

    /// Rows `ids` of the matrix `name` (rows, width), in the type that the part computes in:
    /// (ids, width). The matrix itself stays on the host.
    pub fn rows(&self, name: &str, ids: &[u32], shape: (usize, usize)) -> Result<Tensor> {
        let name = self.full_name(name);
        self.source.rows(&name, ids, shape, self.dtype, &self.device)?.to_dtype(self.dtype)
    }

    /// Notes for [`Weights::finish`] where a tensor is missing or has another shape. Gives the type
    /// that the file has it in.
    pub fn expect(&self, name: &str, shape: impl Into<Shape>) -> DType {
        let name = self.full_name(name);
        self.source.expect(&name, &shape.into());
        self.source.stored_dtype(&name).unwrap_or(self.dtype)
    }

    /// Notes for [`Weights::finish`] where layer `other` has not the tensors of layer `first` in
    /// their shapes.
    pub fn require_alike(&self, first: usize, other: usize) {
        for (name, shape) in self.prefixed(first).shapes() {
            self.prefixed(other).expect(&name, shape);
        }
    }

    /// What the tensors under this prefix take on the device.
    pub fn bytes(&self) -> usize {
        let bytes = |(name, shape): &(String, Shape)| {
            let columns = shape.dims().get(1).copied();
            let format = columns
                .and_then(|columns| quant::format(self.precision, &self.full_name(name), columns));
            match format {
                Some(format) => shape.elem_count() / format.block_size() * format.type_size(),
                None => shape.elem_count() * self.dtype.size_in_bytes(),
            }
        };
        self.shapes().iter().map(bytes).sum()
    }

    /// The tensors under this prefix, sorted by name; none of random weights.
    fn shapes(&self) -> Vec<(String, Shape)> {
        let tensors = self.source.tensors();
        let under_prefix = tensors.iter().filter_map(|(name, view)| {
            let name = name.strip_prefix(&self.prefix)?;
            Some((name.to_owned(), Shape::from(view.shape())))
        });
        under_prefix.collect()
    }

    /// To be called after everything was asked for. The error names the folder and the first
    /// tensors that did not fit.
    pub fn finish(&self) -> std::result::Result<(), String> {
        match &*self.source {
            Source::Files { folder, problems, .. } => problems.finish(folder),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A folder with two layers of a matrix and a vector, of another number of values than the
    /// alignment.
    pub fn files() -> (tempfile::TempDir, Weights) {
        let folder = tempfile::tempdir().unwrap();
        let tensors: HashMap<String, Tensor> = [("0", 1.0), ("1", 2.0)]
            .into_iter()
            .flat_map(|(layer, scale)| {
                let values =
                    |count: usize| Tensor::arange(0.0, count as f64, &Device::Cpu).unwrap();
                let matrix = (values(15) * scale).unwrap().reshape((3, 5)).unwrap();
                let vector = (values(7) * scale).unwrap();
                [(format!("{layer}.w.weight"), matrix), (format!("{layer}.norm"), vector)]
            })
            .map(|(name, tensor)| (name, tensor.to_dtype(DType::F32).unwrap()))
            .collect();
        candle_core::safetensors::save(&tensors, folder.path().join("m.safetensors")).unwrap();
        let weights = Weights::open(folder.path(), "m", DType::F32, &Device::Cpu).unwrap();
        (folder, weights)
    }

    pub fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn layers_that_differ_are_named() {
        let (_folder, weights) = files();
        weights.require_alike(0, 1);
        weights.finish().unwrap();
        weights.require_alike(0, 2);
        let error = weights.finish().unwrap_err();
        assert!(
            error.contains("2.w.weight is missing") && error.contains("2.norm is missing"),
            "{error}"
        );
    }

    #[test]
    fn rows_are_those_of_the_matrix_and_no_others() {
        let (_folder, weights) = files();
        let rows = weights.rows("1.w.weight", &[2, 0], (3, 5)).unwrap();
        assert_eq!(values(&rows), [20.0, 22.0, 24.0, 26.0, 28.0, 0.0, 2.0, 4.0, 6.0, 8.0]);
        assert!(weights.rows("1.w.weight", &[3], (3, 5)).is_err());
    }
}
