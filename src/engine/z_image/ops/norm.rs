//! Normalisations of rows: RMSNorm, and LayerNorm without a bias. None needs scratch on the fast
//! path.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, row_length, sum_of, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::has_our_rows;
use super::moments::{Moments, standardise, widened};

/// RMSNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight`; `x` (.., d), `weight`
/// (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_our_rows(x) {
        return plain_rms_norm(x, weight, eps);
    }
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &RowNorm::Rms { eps })
}

/// LayerNorm over the last dimension, without a bias; `x` (.., d), `weight` (d).
pub fn layer_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_our_rows(x) {
        let normed = standardise(&x.to_dtype(widened(x))?, eps)?.to_dtype(x.dtype())?;
        return normed.broadcast_mul(weight);
    }
    x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &RowNorm::Layer { eps })
}

/// The norms by row.
enum RowNorm {
    Rms { eps: f64 },
    Layer { eps: f64 },
}

impl CustomOp2 for RowNorm {
    fn name(&self) -> &'static str {
        match self {
            RowNorm::Rms { .. } => "rms-norm",
            RowNorm::Layer { .. } => "layer-norm",
        }
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
            let xs = &xs[row * d..][..d];
            match *self {
                RowNorm::Rms { eps } => rms_norm_row(out, xs, weights, eps),
                RowNorm::Layer { eps } => layer_norm_row(out, xs, weights, eps),
            }
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
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        match *self {
            RowNorm::Rms { eps } => cuda::rms_norm(x, weight, eps),
            RowNorm::Layer { eps } => cuda::layer_norm(x, weight, eps),
        }
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(super) fn inverse_rms(xs: &[f32], eps: f64) -> f32 {
    let mean_square = f64::from(sum_of(xs, |x| x * x)) / xs.len() as f64;
    (1.0 / (mean_square + eps).sqrt()) as f32
}

vectorised! {
    fn rms_norm_row(out: &mut [f32], xs: &[f32], weights: &[f32], eps: f64) {
        let factor = inverse_rms(xs, eps);
        for ((out, &x), &weight) in out.iter_mut().zip(xs).zip(weights) {
            *out = x * factor * weight;
        }
    }
}

vectorised! {
    fn layer_norm_row(out: &mut [f32], xs: &[f32], weights: &[f32], eps: f64) {
        let (mean, factor) = Moments::of(xs).mean_and_factor(eps);
        for ((out, &x), &weight) in out.iter_mut().zip(xs).zip(weights) {
            *out = (x - mean) * factor * weight;
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

    /// Widths of which a card's own kernels take the first and not the second.
    const WIDTHS: [usize; 3] = [136, 133, 4096];

    #[test]
    fn rms_norm_is_by_row() {
        for width in WIDTHS {
            let (x, weight) = (values(&[2, 3, width], 1), values(&[width], 2));
            assert_fast_is_plain([&strided(&x), &weight], 1e-6, |[x, weight]| {
                rms_norm(x, weight, 1e-5)
            });
            assert_half_is_near([&x, &weight], DType::BF16, |[x, w]| rms_norm(x, w, 1e-5));
        }
    }

    #[test]
    fn layer_norm_is_by_row() {
        for width in WIDTHS {
            let (x, weight) = (values(&[2, 3, width], 1), values(&[width], 2));
            assert_fast_is_plain([&strided(&x), &weight], 1e-6, |[x, weight]| {
                layer_norm(x, weight, 1e-6)
            });
            assert_half_is_near([&x, &weight], DType::BF16, |[x, w]| layer_norm(x, w, 1e-6));
        }
    }
}
