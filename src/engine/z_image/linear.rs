//! A linear layer whose matrix is dense or quantised.

use candle_core::quantized::QTensor;
use candle_core::{DType, Module, Result, Tensor};

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

    /// The matrix as `dtype`, made dense where it is not.
    pub fn dense(&self, dtype: DType) -> Result<Tensor> {
        match &self.weight {
            Matrix::Dense(weight) => weight.to_dtype(dtype),
            Matrix::Quantised(weight) => ops::dequantise(weight, dtype),
        }
    }

    /// `x W^T`.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::Linear::new(self.dense(x.dtype())?, None).forward(x)
    }

    /// `y`, what [`Module::forward`] has given, as [`Linear::product`] gives it.
    pub fn without_bias(&self, y: &Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => y.broadcast_sub(bias),
            None => Ok(y.clone()),
        }
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::Linear::new(self.dense(x.dtype())?, self.bias.clone()).forward(x)
    }
}
