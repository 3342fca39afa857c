//! The matrices of the weights, dense or in a lower precision.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape};
use sha2::{Digest, Sha256};

use super::Weights;
use super::source::Source;
use crate::engine::z_image::linear::{Linear, Matrix};
use crate::engine::z_image::ops::{self, Int8Rows};
use crate::engine::z_image::quant::{self, MatrixFormat, QuantisedFile, QuantisedMatrix};
use crate::files::hex;
use crate::ladder::Precision;

/// How many bytes of each tensor's values go into [`Weights::fingerprint`].
const SAMPLE_BYTES: usize = 64;

impl Weights {
    /// The same weights with the transformer's matrices at `precision`. They come from the file of
    /// quantised matrices where there is one, and are else quantised as they are loaded, to the
    /// same numbers. Rotated rows of 8 bits have no file.
    ///
    /// Fails where there is a file that does not fit these weights. The error says what mends it.
    pub fn with_precision(&self, precision: Precision) -> std::result::Result<Weights, String> {
        let quantised = match &*self.source {
            Source::Files { place, .. } if precision != Precision::Full => QuantisedFile::open(
                place,
                precision,
                &self.fingerprint()?,
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
        if let Some(bits) = self.source.int8_bits(name)? {
            return Ok(Matrix::Int8(Int8Rows::new(bits, [outputs, inputs])?));
        }
        let format = match quant::format(self.precision, name, inputs) {
            None => return self.dense(name, &shape),
            Some(MatrixFormat::Int8) => return self.int8(name, [outputs, inputs]),
            Some(MatrixFormat::Blocks(format)) => format,
        };
        let quantised = match (&self.quantised, self.source.stored(name, &shape)) {
            (_, None) => return self.dense(name, &shape),
            (Some(file), Some(_)) => file.matrix(name, &self.device)?,
            (None, Some(stored)) => match stored.load_blocks(format, &self.device)? {
                Some(blocks) => blocks,
                None => {
                    let dense = stored.load(&shape, DType::F32, &Device::Cpu)?;
                    ops::quantise(&dense, format, &self.device)?
                }
            },
        };
        Ok(Matrix::Quantised(Box::new(quantised)))
    }

    fn int8(&self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let whole = Shape::from((shape[0], shape[1]));
        match self.source.stored(name, &whole) {
            Some(stored) => {
                let read = |row, out: &mut [f32]| stored.decode_rows(row, out);
                Ok(Matrix::Int8(Int8Rows::read(shape, &self.device, read)?))
            }
            None => self.dense(name, &whole),
        }
    }

    fn dense(&self, name: &str, shape: &Shape) -> Result<Matrix> {
        Ok(Matrix::Dense(self.load(name, shape, self.matrix_dtype)?))
    }

    /// What of these weights is quantised at `precision`, sorted by name.
    pub fn quantised_matrices(&self, precision: Precision) -> Vec<QuantisedMatrix> {
        let quantised = self.source.tensors().filter_map(|(name, tensor)| {
            let &[_, columns] = tensor.shape() else { return None };
            let format = quant::format(precision, name, columns)?;
            let (name, shape) = (name.clone(), tensor.shape().into());
            Some(QuantisedMatrix { name, shape, format, stored_bytes: tensor.bytes() })
        });
        quantised.collect()
    }

    /// A hash of the names, types, shapes and first values of all tensors, in hex. It tells one
    /// training from another without reading gigabytes, but not every change of a value.
    pub fn fingerprint(&self) -> std::result::Result<String, String> {
        let mut hash = Sha256::new();
        for (name, tensor) in self.source.tensors() {
            let sample = tensor.raw_bytes(SAMPLE_BYTES).map_err(|error| error.to_string())?;
            let (encoding, shape) = (tensor.encoding(), tensor.shape());
            hash.update(format!("{name} {encoding} {shape:?} {sample:02x?}\n"));
        }
        Ok(hex(hash))
    }
}
