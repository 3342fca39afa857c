//! GroupNorm: the groups' moments part by part, and with them the values.

use candle_core::cuda_backend::cudarc::driver::CudaView;
use candle_core::{CudaStorage, Result, Shape};

use super::kernels::{self, GroupNormSizes};
use super::{Operand, output, values};

/// Into how many parts a group is divided for its moments, so that few groups still occupy a whole
/// card.
const MOMENTS_PARTS: usize = 32;

/// Count, mean and sum of squared deviations of each part of each of `groups` groups of values of
/// `x`, counted over all items: (groups, parts, 3), f32.
pub fn moments(x: Operand, groups: usize) -> Result<(CudaStorage, Shape)> {
    let xs = values(x)?;
    let count = xs.len() / groups;
    let part = count.div_ceil(MOMENTS_PARTS);
    let parts = count.div_ceil(part);
    output(&x.0.device, (groups, parts, 3), |mut out| {
        kernels::moments(&x.0.device, &xs, &mut out, groups, part)
    })
}

/// GroupNorm of `x` (b, c, h, w) in `groups` groups of channels, then SiLU if asked.
pub fn group_norm(
    x: Operand,
    affine: [Operand; 2],
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<(CudaStorage, Shape)> {
    let groups = x.1.shape().dims4()?.0 * groups;
    let (moments, _) = moments(x, groups)?;
    normalise(x, &moments.as_cuda_slice::<f32>()?.as_view(), groups, affine, eps, silu)
}

/// GroupNorm of `x` (1, c, h, w), then SiLU: count, mean and sum of squared deviations of each
/// group are given.
pub fn group_norm_of_part(
    x: Operand,
    groups: &[[f32; 3]],
    affine: [Operand; 2],
    eps: f64,
) -> Result<(CudaStorage, Shape)> {
    let moments = x.0.device.clone_htod(groups.as_flattened())?;
    normalise(x, &moments.as_view(), groups.len(), affine, eps, true)
}

fn normalise(
    x: Operand,
    moments: &CudaView<f32>,
    groups: usize,
    [weight, bias]: [Operand; 2],
    eps: f64,
    silu: bool,
) -> Result<(CudaStorage, Shape)> {
    let (b, channels, h, w) = x.1.shape().dims4()?;
    let (xs, weights, biases) = (values(x)?, values(weight)?, values(bias)?);
    let norm = GroupNormSizes { items: b, channels, plane: h * w, groups, eps: eps as f32, silu };
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::group_norm(&x.0.device, &xs, moments, &weights, &biases, &mut out, &norm)
    })
}
