//! A linear layer whose matrix is dense or quantised.

use candle_core::quantized::QTensor;
use candle_core::{DType, Module, Result, Tensor};

use super::ops::{self, Int8Rows};

/// `x W^T + b`. Made by [`super::weights::Weights::linear`].
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

/// (outputs, inputs).
pub enum Matrix {
    /// In the type of what goes through the layer, or in bf16 beside f32 on a CPU.
    Dense(Tensor),
    /// Made dense for each product: only one such copy at a time is in memory.
    Quantised(Box<QTensor>),
    /// Multiplied as it is; what it multiplies is rounded to 8 bits as well.
    Int8(Int8Rows),
}

/// What several layers multiply, rounded to rows of 8 bits once the first of them needs that.
#[derive(Default)]
pub struct Rounded(Option<Int8Rows>);

impl Rounded {
    fn of(&mut self, x: &Tensor) -> Result<&Int8Rows> {
        match &mut self.0 {
            Some(rows) => Ok(rows),
            none => Ok(none.insert(Int8Rows::of(x)?)),
        }
    }
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
            Matrix::Int8(weight) => weight.dense(dtype),
        }
    }

    /// `x W^T`.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        self.product_rounded(x, &mut Rounded::default())
    }

    fn product_rounded(&self, x: &Tensor, rounded: &mut Rounded) -> Result<Tensor> {
        match &self.weight {
            Matrix::Int8(weight) => int8_product(x, rounded, weight),
            Matrix::Dense(weight) if ops::is_bf16_beside_f32(weight, x) => {
                ops::bf16_product(x, weight)
            }
            _ => candle_nn::Linear::new(self.dense(x.dtype())?, None).forward(x),
        }
    }

    /// As [`Module::forward`], where several layers multiply the same `x`, each with this
    /// `rounded`.
    pub fn forward_rounded(&self, x: &Tensor, rounded: &mut Rounded) -> Result<Tensor> {
        let product = self.product_rounded(x, rounded)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
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
        self.forward_rounded(x, &mut Rounded::default())
    }
}

/// `x` (.., inputs), rounded to 8 bits by rows, times the transposed `weight`, in the type of `x`.
fn int8_product(x: &Tensor, rounded: &mut Rounded, weight: &Int8Rows) -> Result<Tensor> {
    let mut sides = x.dims().to_vec();
    if let Some(last) = sides.last_mut() {
        *last = weight.count();
    }
    rounded.of(x)?.product(weight)?.reshape(sides)
}
