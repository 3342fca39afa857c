//! Rotary position embedding, in both layouts of the pairs.

use candle_core::{D, DType, Result, Tensor};

/// Rotates neighbours: the pair (2i, 2i+1) of `x` (b, s, heads, head_dim) by angle i of its row of `cos` and `sin`
/// (s, head_dim / 2).
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (b, s, heads, dim) = x.dims4()?;
    let pairs = x.to_dtype(DType::F32)?.reshape((b, s, heads, dim / 2, 2))?;
    let (even, odd) = (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?);
    let (real, imaginary) = rotate(&even, &odd, cos, sin)?;
    Tensor::stack(&[real, imaginary], D::Minus1)?.reshape(x.shape())?.to_dtype(x.dtype())
}

/// Rotates halves (Qwen): the pair (i, i + head_dim / 2) of `x` (b, s, heads, head_dim) by angle i of its row of
/// `cos` and `sin` (s, head_dim / 2).
pub fn rope_halves(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let wide = x.to_dtype(DType::F32)?;
    let (real, imaginary) = rotate(&wide.narrow(3, 0, half)?, &wide.narrow(3, half, half)?, cos, sin)?;
    Tensor::cat(&[real, imaginary], D::Minus1)?.to_dtype(x.dtype())
}

/// The complex product of (a, b), each (b, s, heads, n), and (cos, sin), each (s, n).
fn rotate(a: &Tensor, b: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<(Tensor, Tensor)> {
    let (cos, sin) = (cos.to_dtype(DType::F32)?.unsqueeze(1)?, sin.to_dtype(DType::F32)?.unsqueeze(1)?);
    let real = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let imaginary = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Ok((real, imaginary))
}
