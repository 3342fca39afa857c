//! Normalisations of rows: RMSNorm, and LayerNorm without weights. None needs scratch on the fast
//! path.

use candle_core::{D, Result, Tensor};

use super::cpu::{from_rows, is_cpu_f32, sum_of, vectorised, with_values};
#[cfg(feature = "cuda")]
use super::cuda;
use super::moments::{Moments, standardise, widened};

/// RMSNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight`; `x` (.., d), `weight`
/// (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::rms_norm(x, weight, eps);
    }
    if !is_cpu_f32(x) {
        return plain_rms_norm(x, weight, eps);
    }
    let d = x.dim(D::Minus1)?;
    with_values([&x.contiguous()?, &weight.contiguous()?], |[xs, weights]| {
        from_rows(x.shape(), d, |row, out| {
            rms_norm_row(out, &xs[row * d..][..d], weights, eps);
        })
    })
}

/// LayerNorm over the last dimension, without weight and bias.
pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::layer_norm(x, eps);
    }
    if !is_cpu_f32(x) {
        return standardise(&x.to_dtype(widened(x))?, eps)?.to_dtype(x.dtype());
    }
    let d = x.dim(D::Minus1)?;
    with_values([&x.contiguous()?], |[xs]| {
        from_rows(x.shape(), d, |row, out| {
            layer_norm_row(out, &xs[row * d..][..d], eps);
        })
    })
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
