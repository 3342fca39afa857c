//! Convolution and upsampling of the VAE.

use candle_core::{Result, Tensor};

/// Convolution with stride 1 of `x` (b, i, h, w) with `weight` (o, i, k, k), `bias` (o), zeros around.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    let y = x.conv2d(weight, padding, 1, 1, 1)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Twice the height and width of `x` (b, c, h, w), each pixel repeated.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    x.upsample_nearest2d(2 * h, 2 * w)
}
