//! The weights of one part of the model: hub folders with one or several safetensors files, memory-mapped; or random.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Shape, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::config::read_json;
use super::linear::{Linear, Matrix};
use super::ops;
use super::quant::{self, QuantisedFile, QuantisedMatrix};
use crate::files::hex;
use crate::ladder::Precision;

/// How many missing tensors an error names.
const MISSING_NAMED: usize = 5;

/// Gives tensors by name, in the type and on the device that the part computes in.
///
/// A tensor that is missing or has another shape is noted, and zeros without memory stand in for it, so that
/// [`Weights::finish`] can tell the whole of it.
#[derive(Clone)]
pub struct Weights {
    source: Rc<Source>,
    prefix: String,
    dtype: DType,
    device: Device,
    precision: Precision,
    /// Where the matrices lie quantised already.
    quantised: Option<Rc<QuantisedFile>>,
}

enum Source {
    Files { files: MmapedSafetensors, folder: PathBuf, problems: RefCell<Vec<String>> },
    Random,
}

impl Weights {
    /// Maps `folder/STEM.safetensors`, or the files that `folder/STEM.safetensors.index.json` names.
    pub fn open(folder: &Path, stem: &str, dtype: DType, device: &Device) -> std::result::Result<Weights, String> {
        let paths = paths(folder, stem)?;
        // SAFETY: the files must not be changed while they are mapped. A model in use is not written to; where it is
        // cut short nevertheless, the process dies of SIGBUS, and only the worker maps models.
        let files = unsafe { MmapedSafetensors::multi(&paths) }.map_err(|error| error.to_string())?;
        let source = Source::Files { files, folder: folder.to_owned(), problems: RefCell::default() };
        Ok(Weights::new(source, dtype, device))
    }

    /// Random numbers of any name and shape, to measure speed without a model.
    pub fn random(dtype: DType, device: &Device) -> Weights {
        Weights::new(Source::Random, dtype, device)
    }

    fn new(source: Source, dtype: DType, device: &Device) -> Weights {
        let (prefix, precision) = (String::new(), Precision::Full);
        Weights { source: Rc::new(source), prefix, dtype, device: device.clone(), precision, quantised: None }
    }

    /// The same with the transformer's matrices at `precision`: from the file of them where there is one (see
    /// [`quant::quantise_model`]), else quantised as they are loaded, to the same numbers.
    ///
    /// Fails where there is a file that does not fit these weights; the error says what mends it.
    pub fn with_precision(&self, precision: Precision) -> std::result::Result<Weights, String> {
        let quantised = match &*self.source {
            Source::Files { folder, .. } => {
                QuantisedFile::open(folder, precision, &self.source_hash(), &self.quantised_matrices(precision))?
            }
            Source::Random => None,
        };
        Ok(Weights { precision, quantised: quantised.map(Rc::new), ..self.clone() })
    }

    /// The weights whose names begin with `name.`.
    pub fn at(&self, name: impl std::fmt::Display) -> Weights {
        Weights { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        match &*self.source {
            Source::Files { files, .. } => files.get(&format!("{}{name}", self.prefix)).is_ok(),
            Source::Random => true,
        }
    }

    /// The tensor `name`, in the type that the part computes in.
    pub fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        self.get_as_stored(name, shape)?.to_dtype(self.dtype)
    }

    /// The tensor `name`, in the type that the file has.
    pub fn get_as_stored(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        self.load(&format!("{}{name}", self.prefix), &shape.into(), &self.device)
    }

    /// The tensor of this whole name on `device`, in the type that the file has.
    fn load(&self, name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
        if let Some(stand_in) = self.stand_in(name, shape)? {
            return Ok(stand_in);
        }
        match &*self.source {
            Source::Files { files, .. } => files.load(name, device),
            Source::Random => random(shape, self.dtype, device),
        }
    }

    /// Zeros without memory, and a note for [`Weights::finish`], where there is no such tensor.
    fn stand_in(&self, name: &str, shape: &Shape) -> Result<Option<Tensor>> {
        let Source::Files { files, problems, .. } = &*self.source else { return Ok(None) };
        let Some(problem) = problem(files, name, shape) else { return Ok(None) };
        problems.borrow_mut().push(problem);
        Tensor::zeros(1, self.dtype, &self.device)?.broadcast_as(shape).map(Some)
    }

    /// `name.weight` and, if asked, `name.bias` of a linear layer. The matrix is quantised where the precision says so.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&format!("{}{name}.weight", self.prefix), (outputs, inputs).into())?;
        let bias = bias.then(|| self.get(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear::new(weight, bias))
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
        Ok(Matrix::Quantised(quantised))
    }

    /// What of these weights is quantised at `precision`, in the order of the names.
    pub fn quantised_matrices(&self, precision: Precision) -> Vec<QuantisedMatrix> {
        let Source::Files { files, .. } = &*self.source else { return Vec::new() };
        let quantised = |(name, view): (String, safetensors::tensor::TensorView)| {
            let &[_, columns] = view.shape() else { return None };
            let format = quant::format(precision, &name, columns)?;
            Some(QuantisedMatrix { name, shape: view.shape().into(), format, stored_bytes: view.data().len() })
        };
        let mut matrices: Vec<QuantisedMatrix> = files.tensors().into_iter().filter_map(quantised).collect();
        matrices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        matrices
    }

    /// [`Weights::describe`]'s hash of these weights alone, in hex.
    pub fn source_hash(&self) -> String {
        let mut hash = Sha256::new();
        self.describe(&mut hash);
        hex(hash)
    }

    /// After everything was asked for: an error that names the folder and the first tensors that were not there.
    pub fn finish(&self) -> std::result::Result<(), String> {
        let Source::Files { folder, problems, .. } = &*self.source else { return Ok(()) };
        let problems = problems.borrow();
        if problems.is_empty() {
            return Ok(());
        }
        let named = problems.iter().take(MISSING_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        Err(format!("{}: {} of the tensors do not fit its config.json: {named}", folder.display(), problems.len()))
    }

    /// Feeds the names, types and shapes of all tensors to `hash`, in the order of the names.
    pub fn describe(&self, hash: &mut Sha256) {
        let Source::Files { files, .. } = &*self.source else { return };
        let mut lines: Vec<String> = files.tensors().into_iter().map(|(name, view)| describe(&name, &view)).collect();
        lines.sort_unstable();
        lines.iter().for_each(|line| hash.update(line));
    }
}

fn describe(name: &str, view: &safetensors::tensor::TensorView) -> String {
    format!("{name} {:?} {:?} {}\n", view.dtype(), view.shape(), view.data().len())
}

fn problem(files: &MmapedSafetensors, name: &str, shape: &Shape) -> Option<String> {
    match files.get(name) {
        Err(_) => Some(format!("{name} is missing")),
        Ok(view) if view.shape() == shape.dims() => None,
        Ok(view) => Some(format!("{name} has shape {:?}, not {:?}", view.shape(), shape.dims())),
    }
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

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

fn paths(folder: &Path, stem: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let single = folder.join(format!("{stem}.safetensors"));
    if single.exists() {
        return Ok(vec![single]);
    }
    let index: Index = read_json(&folder.join(format!("{stem}.safetensors.index.json")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
