//! Normalisations: RMSNorm, LayerNorm without weights, GroupNorm with SiLU.

use candle_core::{D, DType, Result, Tensor};

/// RMSNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight`; `x` (.., d), `weight` (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean_square + eps)?.sqrt()?)?;
    normed.to_dtype(x.dtype())?.broadcast_mul(weight)
}

/// LayerNorm over the last dimension, without weight and bias.
pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    standardise(&wide, eps)?.to_dtype(x.dtype())
}

/// GroupNorm of `x` (b, c, h, w) in `groups` groups of channels, `weight` and `bias` (c), then SiLU if asked.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let (b, c, _, _) = x.dims4()?;
    let wide = x.to_dtype(DType::F32)?.reshape((b, groups, ()))?;
    let normed = standardise(&wide, eps)?.reshape(x.shape())?.to_dtype(x.dtype())?;
    let scaled = normed.broadcast_mul(&weight.reshape((1, c, 1, 1))?)?.broadcast_add(&bias.reshape((1, c, 1, 1))?)?;
    if silu { scaled.silu() } else { Ok(scaled) }
}

/// Mean 0 and variance 1 over the last dimension.
fn standardise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
