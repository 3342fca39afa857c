//! A linear layer whose matrix is dense or quantised.

use candle_core::quantized::QTensor;
use candle_core::{Module, Result, Tensor};

use super::ops;

/// `x W^T + b`. Made by [`super::weights::Weights::linear`].
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

/// (outputs, inputs).
pub enum Matrix {
    Dense(Tensor),
    /// Made dense for each product: only one such copy at a time is in memory.
    Quantised(QTensor),
}

impl Linear {
    /// `bias` is (outputs), of the same type as what goes through the layer.
    pub fn new(weight: Matrix, bias: Option<Tensor>) -> Linear {
        Linear { weight, bias }
    }

    /// What the matrix takes on its device.
    pub fn weight_bytes(&self) -> usize {
        match &self.weight {
            Matrix::Dense(weight) => weight.elem_count() * weight.dtype().size_in_bytes(),
            Matrix::Quantised(weight) => weight.storage_size_in_bytes(),
        }
    }

    /// What [`Module::forward`] takes beside its input and output, at most: four bytes a weight where it is quantised,
    /// be it for an f32 copy, or for one in f16 while it becomes bf16.
    pub fn scratch_bytes(&self) -> usize {
        match &self.weight {
            Matrix::Dense(_) => 0,
            Matrix::Quantised(weight) => weight.shape().elem_count() * size_of::<f32>(),
        }
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = match &self.weight {
            Matrix::Dense(weight) => weight.clone(),
            Matrix::Quantised(weight) => ops::dequantise(weight, x.dtype())?,
        };
        candle_nn::Linear::new(weight, self.bias.clone()).forward(x)
    }
}
