//! A LoRA's tensors brought to a device, checked on the way.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Error, Shape, Tensor};

use super::adapter::{Adapter, Delta, Factor, Magnitude, MagnitudeKind};
use super::file::{LoraFile, ModuleChange};
use super::form::{self, ChangeForm};
use super::modules::{Module, Modules};
use super::size;
use crate::engine::ModelError;
use crate::engine::z_image::checkpoint::StoredTensor;
use crate::engine::z_image::device;
use crate::job::lora::LoraSize;

/// Why a LoRA did not come to a device.
#[derive(Debug)]
pub enum LoadError {
    /// The file's fault.
    File(ModelError),
    /// The device has no room, or fails.
    Device(Error),
}

impl From<Error> for LoadError {
    fn from(error: Error) -> LoadError {
        LoadError::Device(error)
    }
}

type Result<T> = std::result::Result<T, LoadError>;

/// A LoRA in the device's memory.
pub struct LoadedLora {
    /// Of the file's content.
    pub sha256: String,
    pub size: LoraSize,
    /// By the modules that they change.
    pub adapters: Vec<(Module, Arc<Adapter>)>,
}

impl LoadedLora {
    /// Brings all changes of `file`, whose content has this hash, to `device`.
    pub fn load(
        file: &LoraFile,
        sha256: &str,
        modules: &Modules,
        device: &Device,
    ) -> Result<LoadedLora> {
        let loader = Loader { path: &file.path, device, dtype: device::dtype(device) };
        let mut adapters = Vec::with_capacity(file.modules_hit());
        for change in &file.changes {
            let whole = loader.change(change)?;
            let places = change.target.places();
            for (nth, place) in places.iter().enumerate() {
                let module = modules.at(*place);
                let adapter = whole.part(nth, module.outputs, places.len())?;
                adapters.push((module.clone(), Arc::new(adapter)));
            }
        }
        Ok(LoadedLora { sha256: sha256.to_owned(), size: size::of_file(file, modules), adapters })
    }
}

struct Loader<'a> {
    path: &'a Path,
    device: &'a Device,
    dtype: DType,
}

/// A change of one module, or of three in one.
struct Whole {
    delta: Option<Delta>,
    scale: f64,
    magnitude: Option<Arc<Magnitude>>,
    bias: Option<Tensor>,
}

impl Loader<'_> {
    fn change(&self, change: &ModuleChange) -> Result<Whole> {
        let delta = change.form.as_ref().map(|form| self.delta(form)).transpose()?;
        let magnitude = match &change.magnitude {
            Some(magnitude) => {
                // The writers are told apart by what they make of the matrix' lengths.
                let kind = match magnitude.shape() {
                    [_] => MagnitudeKind::WeighedRows,
                    [1, _] => MagnitudeKind::Columns,
                    _ => MagnitudeKind::Rows,
                };
                let count = magnitude.shape().iter().product::<usize>();
                let values = self.tensor_as(magnitude, count.into(), DType::F32)?;
                Some(Arc::new(Magnitude::new(values, kind)))
            }
            None => None,
        };
        let bias = match &change.bias {
            Some(bias) => Some(self.tensor(bias, bias.shape().iter().product::<usize>())?),
            None => None,
        };
        Ok(Whole { delta, scale: self.scale(change)?, magnitude, bias })
    }

    fn delta(&self, form: &ChangeForm) -> Result<Delta> {
        Ok(match form {
            ChangeForm::LowRank { down, up } => {
                Delta::LowRank { down: self.matrix(down)?, up: self.matrix(up)? }
            }
            ChangeForm::Kron(first, second) => Delta::Kron {
                first: self.factor(first)?,
                second: self.factor(second)?,
                from: 0,
                outputs: 0,
            },
            ChangeForm::Hadamard([a1, b1, a2, b2]) => Delta::Hadamard([
                self.matrix(a1)?,
                self.matrix(b1)?,
                self.matrix(a2)?,
                self.matrix(b2)?,
            ]),
            ChangeForm::Dense(diff) => Delta::Dense(self.matrix(diff)?),
        })
    }

    fn factor(&self, factor: &form::StoredFactor) -> Result<Factor> {
        Ok(match factor {
            form::StoredFactor::Whole(whole) => Factor::Whole(self.matrix(whole)?),
            form::StoredFactor::Product(a, b) => Factor::Product(self.matrix(a)?, self.matrix(b)?),
        })
    }

    /// What the change is multiplied by. Alpha counts by the rank, and where there is no rank it
    /// does not count.
    fn scale(&self, change: &ModuleChange) -> Result<f64> {
        let number = |tensor: &Option<StoredTensor>| match tensor {
            Some(tensor) => {
                let values = self.tensor_as(tensor, 1.into(), DType::F32)?.to_vec1::<f32>()?;
                Ok(values.first().copied().map(f64::from))
            }
            None => Result::Ok(None),
        };
        if let Some(scale) = number(&change.scale)? {
            return Ok(scale);
        }
        match (number(&change.alpha)?, change.rank()) {
            (_, 0) => Ok(1.0),
            (Some(alpha), rank) => Ok(alpha / rank as f64),
            (None, _) => Ok(change.peft_scale.unwrap_or(1.0)),
        }
    }

    fn matrix(&self, stored: &StoredTensor) -> Result<Tensor> {
        match form::matrix(stored) {
            Some([rows, columns]) => self.tensor(stored, (rows, columns)),
            None => Err(self.wrong(format!("{stored:?} is no matrix"))),
        }
    }

    fn tensor(&self, stored: &StoredTensor, shape: impl Into<Shape>) -> Result<Tensor> {
        self.tensor_as(stored, shape.into(), self.dtype)
    }

    fn tensor_as(&self, stored: &StoredTensor, shape: Shape, dtype: DType) -> Result<Tensor> {
        let values = stored.load(&shape, dtype, &Device::Cpu);
        let values = values.map_err(|error| self.wrong(format!("{stored:?}: {error}")))?;
        match is_finite(&values)? {
            true => Ok(values.to_device(self.device)?),
            false => Err(self.wrong(format!("{stored:?} holds NaN or infinity"))),
        }
    }

    fn wrong(&self, what: String) -> LoadError {
        LoadError::File(ModelError::wrong(self.path, what))
    }
}

/// Whether no value is NaN or infinite. Nothing times zero is zero but those.
fn is_finite(values: &Tensor) -> candle_core::Result<bool> {
    let zero = (values.flatten_all()? * 0.0)?.to_dtype(DType::F32)?.sum_all()?;
    Ok(zero.to_scalar::<f32>()? == 0.0)
}

impl Whole {
    /// That of module `nth` of `count`, which gives so many outputs.
    fn part(&self, nth: usize, outputs: usize, count: usize) -> Result<Adapter> {
        let from = nth * outputs;
        let rows = |tensor: &Tensor| -> Result<Tensor> {
            Ok(match count {
                1 => tensor.clone(),
                // A copy, so that what is multiplied lies in one piece.
                _ => tensor.narrow(0, from, outputs)?.copy()?,
            })
        };
        let delta = match &self.delta {
            Some(Delta::LowRank { down, up }) => {
                Some(Delta::LowRank { down: down.clone(), up: rows(up)? })
            }
            Some(Delta::Kron { first, second, .. }) => {
                Some(Delta::Kron { first: first.clone(), second: second.clone(), from, outputs })
            }
            Some(Delta::Hadamard([a1, b1, a2, b2])) => {
                Some(Delta::Hadamard([rows(a1)?, b1.clone(), rows(a2)?, b2.clone()]))
            }
            Some(Delta::Dense(diff)) => Some(Delta::Dense(rows(diff)?)),
            None => None,
        };
        let magnitude = match &self.magnitude {
            Some(all) if all.kind == MagnitudeKind::Columns => Some(all.clone()),
            Some(all) => Some(Arc::new(Magnitude::new(rows(&all.values)?, all.kind))),
            None => None,
        };
        let bias = self.bias.as_ref().map(rows).transpose()?;
        Ok(Adapter { delta, scale: self.scale, magnitude, bias })
    }
}
