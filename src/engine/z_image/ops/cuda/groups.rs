//! GroupNorm: the groups' moments part by part, and with them the values.

use candle_core::{Result, Tensor};
use half::bf16;

use super::{Source, THREADS_MAX, launch, output, threads};

/// Into how many parts a group is divided for its moments, so that few groups still occupy a whole
/// card.
const MOMENTS_PARTS: usize = 32;

/// Values of a channel that one block normalises.
const NORM_VALUES: usize = 64 << 10;

/// Count, mean and sum of squared deviations of each part of each of `groups` groups of values of
/// `x`, counted over all items: (groups, parts, 3), f32.
pub fn moments(x: &Tensor, groups: usize) -> Result<Tensor> {
    let count = x.elem_count() / groups;
    let part = count.div_ceil(MOMENTS_PARTS);
    let parts = count.div_ceil(part);
    let x = x.contiguous()?;
    let xs = Source::of(&x)?;
    output::<f32>(&x, (groups, parts, 3), |device, out| {
        launch!(
            device,
            "moments",
            [parts, groups, 1],
            threads(part),
            xs.bf16()?,
            out.as_view(),
            count,
            part as u32
        );
        Ok(())
    })
}

/// GroupNorm of `x` (b, c, h, w) by `moments` (b * groups, parts, 3), then SiLU if asked.
pub fn group_norm(
    x: &Tensor,
    moments: &Tensor,
    affine: [&Tensor; 2],
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let (b, channels, h, w) = x.dims4()?;
    let (groups, parts, _) = moments.dims3()?;
    let plane = h * w;
    let (x, [weight, bias]) = (x.contiguous()?, affine);
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let (xs, moments) = (Source::of(&x)?, Source::of(moments)?);
    let (weights, biases) = (Source::of(&weight)?, Source::of(&bias)?);
    output::<bf16>(&x, x.shape(), |device, out| {
        let (xs, moments, out) = (xs.bf16()?, moments.values::<f32>()?, out.as_view());
        let (weights, biases, eps) = (weights.bf16()?, biases.bf16()?, eps as f32);
        let blocks = [plane.div_ceil(NORM_VALUES), b * channels, 1];
        let [part, channels, members, parts] =
            [NORM_VALUES, channels, b * channels / groups, parts].map(|size| size as u32);
        launch!(
            device,
            "group_norm",
            blocks,
            THREADS_MAX,
            xs,
            moments,
            weights,
            biases,
            out,
            plane,
            part,
            channels,
            members,
            parts,
            eps,
            silu
        );
        Ok(())
    })
}
