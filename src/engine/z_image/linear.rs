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
    Quantised(Box<QTensor>),
}

impl Linear {
    /// `bias` is (outputs), of the same type as what goes through the layer.
    pub fn new(weight: Matrix, bias: Option<Tensor>) -> Linear {
        Linear { weight, bias }
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
