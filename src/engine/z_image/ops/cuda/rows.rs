//! Norms and softmax over the last dimension: a block for each row.

use candle_core::{CpuStorage, CudaStorage, D, InplaceOp1, Layout, Result, Tensor, bail};
use half::bf16;

use super::{Source, launch, output, threads};
use crate::engine::z_image::ops::attention::Seen;

pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (xs, weights) = (Source::of(&x)?, Source::of(&weight)?);
    output::<bf16>(&x, x.shape(), |device, out| {
        let (xs, weights, blocks) = (xs.bf16()?, weights.bf16()?, [x.elem_count() / d, 1, 1]);
        launch!(
            device,
            "rms_norm",
            blocks,
            threads(d),
            xs,
            weights,
            out.as_view(),
            d as u32,
            eps as f32
        );
        Ok(())
    })
}

pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    let x = x.contiguous()?;
    let xs = Source::of(&x)?;
    output::<bf16>(&x, x.shape(), |device, out| {
        let (xs, blocks) = (xs.bf16()?, [x.elem_count() / d, 1, 1]);
        launch!(device, "layer_norm", blocks, threads(d), xs, out.as_view(), d as u32, eps as f32);
        Ok(())
    })
}

/// Softmax of `scores * scale` over the keys seen, in place: (.., queries, keys), contiguous and
/// nobody else's.
pub fn softmax(scores: &Tensor, scale: f64, seen: Seen) -> Result<()> {
    scores.inplace_op1(&Softmax { scale: scale as f32, seen })
}

struct Softmax {
    scale: f32,
    seen: Seen,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("this softmax is a card's")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let [.., queries, keys] = *layout.dims() else { bail!("scores have queries and keys") };
        let Some((0, count)) = layout.contiguous_offsets() else { bail!("scores are contiguous") };
        let (device, scores) =
            (storage.device.clone(), storage.as_cuda_slice_mut::<bf16>()?.as_view());
        let [row, queries, first_seen] =
            [keys, queries, self.seen.first.min(keys)].map(|size| size as u32);
        launch!(
            device,
            "softmax",
            [count / keys, 1, 1],
            threads(keys),
            scores,
            row,
            queries,
            first_seen,
            self.scale
        );
        Ok(())
    }
}
