//! Norms and softmax over the last dimension.

use candle_core::{CpuStorage, CudaStorage, InplaceOp1, Layout, Result, Shape, bail};
use half::bf16;

use super::{Operand, kernels, output, values};
use crate::engine::z_image::ops::cpu::row_length;

pub fn rms_norm(x: Operand, weight: Operand, eps: f64) -> Result<(CudaStorage, Shape)> {
    let (xs, weights) = (values(x)?, values(weight)?);
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::rms_norm(&x.0.device, &xs, &weights, &mut out, eps as f32)
    })
}

pub fn layer_norm(x: Operand, eps: f64) -> Result<(CudaStorage, Shape)> {
    let xs = values(x)?;
    let row = row_length(x.1)?;
    output(&x.0.device, x.1.shape(), |mut out| {
        kernels::layer_norm(&x.0.device, &xs, &mut out, row, eps as f32)
    })
}

/// Softmax of `scores * scale` over the keys seen, in place: (.., queries, keys), contiguous. The
/// first query sees `first_seen` keys, and each query one more than the one before it, to all.
///
/// A card's alone: on a CPU attention works head by head, and its softmax is part of that.
pub struct Softmax {
    pub scale: f64,
    pub first_seen: usize,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "scaled-causal-softmax"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("this softmax is a card's")
    }

    fn cuda_fwd(&self, scores: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let [.., queries, keys] = *layout.dims() else { bail!("scores have queries and keys") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("scores are contiguous")
        };
        let device = scores.device.clone();
        let mut scores = scores.as_cuda_slice_mut::<bf16>()?.slice_mut(start..end);
        let first_seen = self.first_seen.min(keys);
        kernels::softmax(&device, &mut scores, (queries, keys), first_seen, self.scale as f32)
    }
}
