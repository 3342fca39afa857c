//! The weights of one part of the model: hub folders with one or several safetensors files,
//! memory-mapped; or random.

mod files;
mod flat;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use self::files::{describe, paths, problem};
pub use self::flat::{FlatLayout, FlatTensor};
use super::linear::{Linear, Matrix};
use super::ops;
use super::quant::{self, QuantisedFile, QuantisedMatrix};
use crate::files::hex;
use crate::ladder::Precision;

/// How many missing tensors an error names.
const MISSING_NAMED: usize = 5;

/// Gives tensors by name, in the type and on the device that the part computes in.
///
/// A tensor that is missing or has another shape is noted, and zeros without memory stand in for
/// it, so that [`Weights::finish`] can tell the whole of it.
#[derive(Clone)]
pub struct Weights {
    source: Arc<Source>,
    prefix: String,
    dtype: DType,
    device: Device,
    precision: Precision,
    /// Where the matrices lie quantised already.
    quantised: Option<Arc<QuantisedFile>>,
}

enum Source {
    /// Views into one tensor.
    Flat {
        values: Tensor,
        layout: FlatLayout,
    },
    Files {
        files: MmapedSafetensors,
        folder: PathBuf,
        problems: Mutex<Vec<String>>,
    },
    Random,
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
        // written to; where it is cut short nevertheless, the process dies of SIGBUS, and only the
        // worker maps models.
        let files =
            unsafe { MmapedSafetensors::multi(&paths) }.map_err(|error| error.to_string())?;
        let source = Source::Files { files, folder: folder.to_owned(), problems: Mutex::default() };
        Ok(Weights::new(source, dtype, device))
    }

    /// Random numbers of any name and shape, to measure speed without a model.
    pub fn random(dtype: DType, device: &Device) -> Weights {
        Weights::new(Source::Random, dtype, device)
    }

    fn new(source: Source, dtype: DType, device: &Device) -> Weights {
        let (prefix, precision) = (String::new(), Precision::Full);
        Weights {
            source: Arc::new(source),
            prefix,
            dtype,
            device: device.clone(),
            precision,
            quantised: None,
        }
    }

    /// The same with the transformer's matrices at `precision`: from the file of them where there
    /// is one (see [`quant::quantise_model`]), else quantised as they are loaded, to the same
    /// numbers.
    ///
    /// Fails where there is a file that does not fit these weights; the error says what mends it.
    pub fn with_precision(&self, precision: Precision) -> std::result::Result<Weights, String> {
        let quantised = match &*self.source {
            Source::Files { folder, .. } if precision != Precision::Full => QuantisedFile::open(
                folder,
                precision,
                &self.source_hash(),
                &self.quantised_matrices(precision),
            )?,
            _ => None,
        };
        Ok(Weights { precision, quantised: quantised.map(Arc::new), ..self.clone() })
    }

    /// The weights whose names begin with `name.`.
    pub fn prefixed(&self, name: impl std::fmt::Display) -> Weights {
        Weights { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
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
        match &*self.source {
            Source::Files { files, .. } => files.get(&format!("{}{name}", self.prefix)).is_ok(),
            Source::Flat { layout, .. } => layout.contains(name),
            Source::Random => true,
        }
    }

    /// The tensor `name`, in the type that the part computes in.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        self.load(&format!("{}{name}", self.prefix), &shape.into(), &self.device)?
            .to_dtype(self.dtype)
    }

    /// The tensor of this whole name on `device`, in the type that the file has.
    fn load(&self, name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
        if let Some(stand_in) = self.stand_in(name, shape)? {
            return Ok(stand_in);
        }
        match &*self.source {
            Source::Flat { values, layout } => layout.view(values, name, shape),
            Source::Files { files, .. } => files.load(name, device),
            Source::Random => random(shape, self.dtype, device),
        }
    }

    /// Zeros without memory, and a note for [`Weights::finish`], where there is no such tensor.
    fn stand_in(&self, name: &str, shape: &Shape) -> Result<Option<Tensor>> {
        let Source::Files { files, problems, .. } = &*self.source else { return Ok(None) };
        let Some(problem) = problem(files, name, shape) else { return Ok(None) };
        note(problems, Some(problem));
        Tensor::zeros(1, self.dtype, &self.device)?.broadcast_as(shape).map(Some)
    }

    /// `name.weight` and, if asked, `name.bias` of a linear layer. The matrix is quantised where
    /// the precision says so.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight =
            self.matrix(&format!("{}{name}.weight", self.prefix), (outputs, inputs).into())?;
        let bias = bias.then(|| self.get(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// Rows `ids` of the matrix `name` (rows, `width`), in the type that the part computes in:
    /// (ids, width). The matrix itself stays on the host.
    pub fn rows(&self, name: &str, ids: &[u32], shape: (usize, usize)) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let Source::Files { files, .. } = &*self.source else {
            return random(&(ids.len(), shape.1).into(), self.dtype, &self.device);
        };
        let view = files.get(&name)?;
        let row_bytes = view.data().len() / shape.0;
        let mut rows = Vec::with_capacity(ids.len() * row_bytes);
        for &id in ids {
            match view.data().get(id as usize * row_bytes..).and_then(|from| from.get(..row_bytes))
            {
                Some(row) => rows.extend_from_slice(row),
                None => bail!("{name} has no row {id}"),
            }
        }
        let dtype = view.dtype().try_into()?;
        Tensor::from_raw_buffer(&rows, dtype, &[ids.len(), shape.1], &self.device)?
            .to_dtype(self.dtype)
    }

    /// Notes for [`Weights::finish`] where a tensor is missing or has another shape; gives its type
    /// in the file.
    pub fn expect(&self, name: &str, shape: impl Into<Shape>) -> DType {
        let name = format!("{}{name}", self.prefix);
        let Source::Files { files, problems, .. } = &*self.source else { return self.dtype };
        note(problems, problem(files, &name, &shape.into()));
        files.get(&name).ok().and_then(|view| view.dtype().try_into().ok()).unwrap_or(self.dtype)
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
            let format = shape.dims().get(1).and_then(|columns| {
                quant::format(self.precision, &format!("{}{name}", self.prefix), *columns)
            });
            let (block, block_bytes) =
                format.map_or((1, self.dtype.size_in_bytes()), |f| (f.block_size(), f.type_size()));
            shape.elem_count() / block * block_bytes
        };
        self.shapes().iter().map(bytes).sum()
    }

    /// The tensors under this prefix, by name; empty for random ones.
    fn shapes(&self) -> Vec<(String, Shape)> {
        let Source::Files { files, .. } = &*self.source else { return Vec::new() };
        let under = |(name, view): (String, TensorView)| {
            name.strip_prefix(&self.prefix).map(|name| (name.to_owned(), Shape::from(view.shape())))
        };
        let mut shapes: Vec<_> = files.tensors().into_iter().filter_map(under).collect();
        shapes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        shapes
    }

    fn matrix(&self, name: &str, shape: Shape) -> Result<Matrix> {
        let Some(format) = quant::format(self.precision, name, shape.dims()[1]) else {
            return Ok(Matrix::Dense(self.load(name, &shape, &self.device)?.to_dtype(self.dtype)?));
        };
        if let Some(stand_in) = self.stand_in(name, &shape)? {
            return Ok(Matrix::Dense(stand_in));
        }
        let quantised = match &self.quantised {
            Some(file) => file.matrix(name, &self.device)?,
            None => {
                let dense = self.load(name, &shape, &Device::Cpu)?.to_dtype(DType::F32)?;
                ops::quantise(&dense, format, &self.device)?
            }
        };
        Ok(Matrix::Quantised(Box::new(quantised)))
    }

    /// What of these weights is quantised at `precision`, in the order of the names.
    pub fn quantised_matrices(&self, precision: Precision) -> Vec<QuantisedMatrix> {
        let Source::Files { files, .. } = &*self.source else { return Vec::new() };
        let quantised = |(name, view): (String, safetensors::tensor::TensorView)| {
            let &[_, columns] = view.shape() else { return None };
            let format = quant::format(precision, &name, columns)?;
            Some(QuantisedMatrix {
                name,
                shape: view.shape().into(),
                format,
                stored_bytes: view.data().len(),
            })
        };
        let mut matrices: Vec<QuantisedMatrix> =
            files.tensors().into_iter().filter_map(quantised).collect();
        matrices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        matrices
    }

    /// [`Weights::describe`]'s hash of these weights alone, in hex.
    pub fn source_hash(&self) -> String {
        let mut hash = Sha256::new();
        self.describe(&mut hash);
        hex(hash)
    }

    /// After everything was asked for: an error that names the folder and the first tensors that
    /// were not there.
    pub fn finish(&self) -> std::result::Result<(), String> {
        let Source::Files { folder, problems, .. } = &*self.source else { return Ok(()) };
        let problems = problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.is_empty() {
            return Ok(());
        }
        let named =
            problems.iter().take(MISSING_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        Err(format!(
            "{}: {} of the tensors do not fit its config.json: {named}",
            folder.display(),
            problems.len()
        ))
    }

    /// Feeds the names, types, shapes and first values of all tensors to `hash`, in the order of
    /// the names.
    pub fn describe(&self, hash: &mut Sha256) {
        let Source::Files { files, .. } = &*self.source else { return };
        let mut lines: Vec<String> =
            files.tensors().into_iter().map(|(name, view)| describe(&name, &view)).collect();
        lines.sort_unstable();
        lines.iter().for_each(|line| hash.update(line));
    }
}

fn note(problems: &Mutex<Vec<String>>, problem: Option<String>) {
    problems.lock().unwrap_or_else(PoisonError::into_inner).extend(problem);
}

/// Matrices keep the size of what goes through them; vectors (norms, biases) are all ones.
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
