//! Normalisations of rows: RMSNorm, and LayerNorm without weights. None needs scratch on the fast
//! path.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, row_length, sum_of, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::is_ours;
use super::moments::{Moments, standardise, widened};

/// RMSNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight`; `x` (.., d), `weight`
/// (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_rms_norm(x, weight, eps);
    }
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &RowRmsNorm { eps })
}

/// LayerNorm over the last dimension, without weight and bias.
pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    if !is_ours(x) {
        return standardise(&x.to_dtype(widened(x))?, eps)?.to_dtype(x.dtype());
    }
    x.contiguous()?.apply_op1_no_bwd(&RowLayerNorm { eps })
}

struct RowRmsNorm {
    eps: f64,
}

impl CustomOp2 for RowRmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let weights = values(weight, weight_layout)?;
        let d = row_length(x_layout)?;
        from_rows(x_layout.shape(), d, |row, out| {
            rms_norm_row(out, &xs[row * d..][..d], weights, self.eps);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::rms_norm((x, x_layout), (weight, weight_layout), self.eps)
    }
}

struct RowLayerNorm {
    eps: f64,
}

impl CustomOp1 for RowLayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, layout)?;
        let d = row_length(layout)?;
        from_rows(layout.shape(), d, |row, out| {
            layer_norm_row(out, &xs[row * d..][..d], self.eps);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::layer_norm((x, layout), self.eps)
    }
}

vectorised! {
    fn rms_norm_row(out: &mut [f32], xs: &[f32], weights: &[f32], eps: f64) {
        let mean_square = f64::from(sum_of(xs, |x| x * x)) / xs.len() as f64;
        let factor = (1.0 / (mean_square + eps).sqrt()) as f32;
        for ((out, &x), &weight) in out.iter_mut().zip(xs).zip(weights) {
            *out = x * factor * weight;
        }
    }
}

vectorised! {
    fn layer_norm_row(out: &mut [f32], xs: &[f32], eps: f64) {
        let (mean, factor) = Moments::of(xs).mean_and_factor(eps);
        for (out, &x) in out.iter_mut().zip(xs) {
            *out = (x - mean) * factor;
        }
    }
}

fn plain_rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(widened(x))?;
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean_square + eps)?.sqrt()?)?;
    normed.to_dtype(x.dtype())?.broadcast_mul(weight)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    #[test]
    fn rms_norm_is_by_row() {
        let (x, weight) = (values(&[2, 3, 133], 1), values(&[133], 2));
        assert_fast_is_plain([&strided(&x), &weight], 1e-6, |[x, weight]| {
            rms_norm(x, weight, 1e-5)
        });
        assert_half_is_near([&x, &weight], DType::BF16, |[x, weight]| rms_norm(x, weight, 1e-5));
    }

    #[test]
    fn layer_norm_is_by_row() {
        let x = values(&[2, 3, 133], 1);
        assert_fast_is_plain([&strided(&x)], 1e-6, |[x]| layer_norm(x, 1e-6));
        assert_half_is_near([&x], DType::BF16, |[x]| layer_norm(x, 1e-6));
    }
}
