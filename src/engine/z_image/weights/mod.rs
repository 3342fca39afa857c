//! The weights of one part of the model, by name.

mod carrier;
mod flat;
mod matrices;
mod problems;
mod source;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

pub use self::carrier::{Carrier, StreamHandle};
pub use self::flat::FlatLayout;
use self::problems::Problems;
use self::source::Source;
use super::checkpoint::{Encoding, StoredTensor};
use super::model_files::PartFiles;
use super::quant::{self, QuantisedFile};
use crate::engine::ModelError;
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
    /// The type of matrices that are not quantised.
    matrix_dtype: DType,
    device: Device,
    precision: Precision,
    /// The file of matrices that are quantised already, where there is one.
    quantised: Option<Arc<QuantisedFile>>,
    /// What brings bf16 to a card; nothing else needs it.
    carrier: Option<Arc<dyn Carrier>>,
}

impl Weights {
    /// Those of one part of the model. Only headers are read. Errors name the file and what is
    /// wrong with it.
    pub fn open(
        files: &PartFiles,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Weights, ModelError> {
        Ok(Weights::new(files.tensors()?, files.place(), dtype, device))
    }

    fn new(
        tensors: BTreeMap<String, StoredTensor>,
        place: &Path,
        dtype: DType,
        device: &Device,
    ) -> Weights {
        let (place, problems) = (place.to_owned(), Problems::default());
        Weights::from(Source::Files { tensors, place, problems }, dtype, device)
    }

    /// Random numbers of any name and shape, to measure speed without a model.
    pub fn random(dtype: DType, device: &Device) -> Weights {
        Weights::from(Source::Random, dtype, device)
    }

    fn from(source: Source, dtype: DType, device: &Device) -> Weights {
        Weights {
            source: Arc::new(source),
            prefix: String::new(),
            dtype,
            matrix_dtype: dtype,
            device: device.clone(),
            precision: Precision::Full,
            quantised: None,
            carrier: None,
        }
    }

    /// The same, brought to their card by `carrier`, where there is one.
    pub fn carried_by(self, carrier: Option<Arc<dyn Carrier>>) -> Weights {
        Weights { carrier, ..self }
    }

    /// The same with matrices in bf16, which [`Linear`] multiplies with any type.
    ///
    /// [`Linear`]: crate::engine::z_image::linear::Linear
    pub fn with_bf16_matrices(self) -> Weights {
        Weights { matrix_dtype: DType::BF16, ..self }
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

    /// Whether the files have a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.source.encoding(&self.full_name(name)).is_some()
    }

    /// The tensor `name`, in the type that the part computes in.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        self.load(&self.full_name(name), &shape.into(), self.dtype)
    }

    /// The tensor of this whole name.
    fn load(&self, name: &str, shape: &Shape, dtype: DType) -> Result<Tensor> {
        let device = &self.device;
        self.source.load(name, shape, (dtype, device), |stored| match &self.carrier {
            Some(carrier) if dtype == DType::BF16 => {
                // SAFETY: the copies fill all of it, and whatever reads it comes after them in the
                // device's stream.
                let to = unsafe { Tensor::empty(shape, dtype, device) }?;
                carrier.carry(stored, &to, None)?;
                Ok(to)
            }
            _ => stored.load(shape, dtype, device),
        })
    }

    /// Rows `ids` of the matrix `name` (rows, width), in the type that the part computes in:
    /// (ids, width). The matrix itself stays on the host.
    pub fn rows(&self, name: &str, ids: &[u32], shape: (usize, usize)) -> Result<Tensor> {
        let name = self.full_name(name);
        self.source.rows(&name, ids, shape, self.dtype, &self.device)
    }

    /// Notes for [`Weights::finish`] where a tensor is missing or has another shape.
    pub fn expect(&self, name: &str, shape: impl Into<Shape>) {
        self.source.expect(&self.full_name(name), &shape.into());
    }

    /// The type of floats that the weight `name` was before it was quantised: that of the file
    /// where it holds floats of 16 bits or more, else bf16, in which these models are published.
    pub fn trained_dtype(&self, name: &str) -> DType {
        match self.source.encoding(&self.full_name(name)) {
            Some(Encoding::F32) => DType::F32,
            Some(Encoding::F16) => DType::F16,
            Some(_) => DType::BF16,
            None => self.dtype,
        }
    }

    /// Notes for [`Weights::finish`] where layer `other` has not the tensors of layer `first` in
    /// their shapes.
    pub fn require_alike(&self, first: usize, other: usize) {
        for (name, shape) in self.prefixed(first).shapes() {
            self.prefixed(other).expect(&name, shape);
        }
    }

    /// What the tensors under this prefix, of which all that have columns are matrices of linear
    /// layers, take on the device.
    pub fn bytes(&self) -> usize {
        let bytes = |(name, shape): &(String, Shape)| {
            let Some(&columns) = shape.dims().get(1) else {
                return shape.elem_count() * self.dtype.size_in_bytes();
            };
            match quant::format(self.precision, &self.full_name(name), columns) {
                Some(format) => format.bytes(shape),
                None => shape.elem_count() * self.matrix_dtype.size_in_bytes(),
            }
        };
        self.shapes().iter().map(bytes).sum()
    }

    /// The tensors under this prefix, sorted by name; none of random weights.
    fn shapes(&self) -> Vec<(String, Shape)> {
        let under_prefix = self.source.tensors().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(&self.prefix)?;
            Some((name.to_owned(), Shape::from(tensor.shape())))
        });
        under_prefix.collect()
    }

    /// To be called after everything was asked for. The error names the file or folder and the
    /// first tensors that did not fit.
    pub fn finish(&self) -> std::result::Result<(), String> {
        match &*self.source {
            Source::Files { place, problems, .. } => problems.finish(place),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::engine::z_image::checkpoint::Checkpoint;

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
        let path = folder.path().join("m.safetensors");
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let tensors = Checkpoint::read(&path).unwrap().tensors;
        let weights = Weights::new(tensors, folder.path(), DType::F32, &Device::Cpu);
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
