//! The matrices of the weights, dense or in a lower precision.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape};
use sha2::{Digest, Sha256};

use super::Weights;
use super::source::Source;
use crate::engine::z_image::linear::{Linear, Matrix};
use crate::engine::z_image::ops;
use crate::engine::z_image::quant::{self, QuantisedFile, QuantisedMatrix};
use crate::files::hex;
use crate::ladder::Precision;

/// How many bytes of each tensor's values go into [`Weights::fingerprint`].
const SAMPLE_BYTES: usize = 64;

impl Weights {
    /// The same weights with the transformer's matrices at `precision`. They come from the file of
    /// quantised matrices where there is one, and are else quantised as they are loaded, to the
    /// same numbers.
    ///
    /// Fails where there is a file that does not fit these weights. The error says what mends it.
    pub fn with_precision(&self, precision: Precision) -> std::result::Result<Weights, String> {
        let quantised = match &*self.source {
            Source::Files { folder, .. } if precision != Precision::Full => QuantisedFile::open(
                folder,
                precision,
                &self.fingerprint(),
                &self.quantised_matrices(precision),
            )?,
            _ => None,
        };
        Ok(Weights { precision, quantised: quantised.map(Arc::new), ..self.clone() })
    }

    /// `name.weight` and, if asked, `name.bias` of a linear layer. The matrix is quantised where
    /// the precision says so.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&self.full_name(&format!("{name}.weight")), [outputs, inputs])?;
        let bias = bias.then(|| self.get(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// The matrix of this whole name, (outputs, inputs).
    fn matrix(&self, name: &str, [outputs, inputs]: [usize; 2]) -> Result<Matrix> {
        let shape = Shape::from((outputs, inputs));
        let load = |device: &Device| self.source.load(name, &shape, self.dtype, device);
        let format = quant::format(self.precision, name, inputs);
        let Some(format) = format.filter(|_| self.source.fits(name, &shape)) else {
            return Ok(Matrix::Dense(load(&self.device)?.to_dtype(self.dtype)?));
        };
        let quantised = match &self.quantised {
            Some(file) => file.matrix(name, &self.device)?,
            None => {
                ops::quantise(&load(&Device::Cpu)?.to_dtype(DType::F32)?, format, &self.device)?
            }
        };
        Ok(Matrix::Quantised(Box::new(quantised)))
    }

    /// What of these weights is quantised at `precision`, sorted by name.
    pub fn quantised_matrices(&self, precision: Precision) -> Vec<QuantisedMatrix> {
        let tensors = self.source.tensors();
        let quantised = tensors.into_iter().filter_map(|(name, view)| {
            let &[_, columns] = view.shape() else { return None };
            let format = quant::format(precision, &name, columns)?;
            let shape = view.shape().into();
            Some(QuantisedMatrix { name, shape, format, stored_bytes: view.data().len() })
        });
        quantised.collect()
    }

    /// A hash of the names, types, shapes and first values of all tensors, in hex. It tells one
    /// training from another without reading gigabytes, but not every change of a value.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut lines: Vec<String> = Vec::new();
        for (name, view) in self.source.tensors() {
            let sample = &view.data()[..view.data().len().min(SAMPLE_BYTES)];
            lines.push(format!("{name} {:?} {:?} {sample:02x?}\n", view.dtype(), view.shape()));
        }
        lines.sort_unstable();
        lines.iter().for_each(|line| hash.update(line));
        hex(hash)
    }
}
