//! What attention in blocks of queries needs: its softmax, and the exchange of two dimensions.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, InplaceOp1, Layout, Result, Shape, bail};
use half::bf16;

use super::{kernels, output, values};

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

/// (b, rows, columns, d) as contiguous (b, columns, rows, d).
///
/// A card's alone: on a CPU attention reads its heads where they are.
pub struct Transpose;

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        "transpose-rows"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("this transpose is a card's")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let xs = values((x, layout))?;
        let (b, rows, columns, d) = layout.shape().dims4()?;
        output(&x.device, (b, columns, rows, d), |mut out| {
            kernels::transpose(&x.device, &xs, &mut out, (b, rows, columns, d))
        })
    }
}
