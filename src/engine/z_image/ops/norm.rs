//! Normalisations: RMSNorm, LayerNorm without weights, GroupNorm with SiLU. None needs scratch on the fast path.

use candle_core::{D, DType, Result, Tensor};

use super::cpu::{from_rows, is_cpu_f32, silu, sum_of, vectorised, with_values};

/// RMSNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight`; `x` (.., d), `weight` (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
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

/// GroupNorm of `x` (b, c, h, w) in `groups` groups of channels, `weight` and `bias` (c), then SiLU if asked.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    if !is_cpu_f32(x) {
        return plain_group_norm_silu(x, weight, bias, groups, eps, silu);
    }
    let (_, c, h, w) = x.dims4()?;
    let (plane, members) = (h * w, c / groups);
    with_values([&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?], |[xs, weights, biases]| {
        from_rows(x.shape(), members * plane, |group, out| {
            let xs = &xs[group * out.len()..][..out.len()];
            let channels = group % groups * members..;
            let affine = (&weights[channels.clone()][..members], &biases[channels][..members]);
            normalise_group(out, xs, affine, eps, silu);
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

vectorised! {
    /// One group's channels, with their weights and biases.
    fn normalise_group(out: &mut [f32], xs: &[f32], affine: (&[f32], &[f32]), eps: f64, with_silu: bool) {
        let (mean, factor) = Moments::of(xs).mean_and_factor(eps);
        let (weights, biases) = affine;
        let plane = xs.len() / weights.len();
        let planes = out.chunks_exact_mut(plane).zip(xs.chunks_exact(plane));
        for ((out, xs), (&weight, &bias)) in planes.zip(weights.iter().zip(biases)) {
            let scale = factor * weight;
            let shift = bias - mean * scale;
            for (out, &x) in out.iter_mut().zip(xs) {
                let y = x.mul_add(scale, shift);
                *out = if with_silu { silu(y) } else { y };
            }
        }
    }
}

/// Count, mean and sum of squared deviations of some values.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    deviation: f64,
}

impl Moments {
    /// Values summed in f32 at once: few enough to keep the rounding small and to read them twice from the first cache.
    const CHUNK: usize = 4096;

    /// By chunks, each centred on its own mean: what is left is exact enough in f32 however large the mean.
    #[inline(always)]
    fn of(values: &[f32]) -> Moments {
        let mut all = Moments { count: 0.0, mean: 0.0, deviation: 0.0 };
        for chunk in values.chunks(Self::CHUNK) {
            let mean = sum_of(chunk, |x| x) / chunk.len() as f32;
            let deviation = sum_of(chunk, |x| (x - mean) * (x - mean));
            all.join(chunk.len() as f64, f64::from(mean), f64::from(deviation));
        }
        all
    }

    /// Chan's update of the moments by those of other values.
    #[inline(always)]
    fn join(&mut self, count: f64, mean: f64, deviation: f64) {
        let total = self.count + count;
        let step = mean - self.mean;
        self.mean += step * count / total;
        self.deviation += deviation + step * step * self.count * count / total;
        self.count = total;
    }

    /// What to subtract and what to multiply with to get mean 0 and variance 1.
    #[inline(always)]
    fn mean_and_factor(&self, eps: f64) -> (f32, f32) {
        let variance = self.deviation / self.count;
        (self.mean as f32, (1.0 / (variance + eps).sqrt()) as f32)
    }
}

fn plain_rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(widened(x))?;
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean_square + eps)?.sqrt()?)?;
    normed.to_dtype(x.dtype())?.broadcast_mul(weight)
}

fn plain_group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let (b, c, _, _) = x.dims4()?;
    let wide = x.to_dtype(widened(x))?.reshape((b, groups, ()))?;
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

/// The type to sum `x` in: at least f32.
fn widened(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    #[test]
    fn rms_norm_is_by_row() {
        let (x, weight) = (values(&[2, 3, 133], 1), values(&[133], 2));
        assert_fast_is_plain([&strided(&x), &weight], 1e-6, |[x, weight]| rms_norm(x, weight, 1e-5));
        assert_half_is_near([&x, &weight], DType::BF16, |[x, weight]| rms_norm(x, weight, 1e-5));
    }

    #[test]
    fn layer_norm_is_by_row() {
        let x = values(&[2, 3, 133], 1);
        assert_fast_is_plain([&strided(&x)], 1e-6, |[x]| layer_norm(x, 1e-6));
        assert_half_is_near([&x], DType::BF16, |[x]| layer_norm(x, 1e-6));
    }

    #[test]
    fn group_norm_is_by_group_with_and_without_silu() {
        let (x, weight, bias) = (values(&[2, 6, 37, 61], 1), values(&[6], 2), values(&[6], 3));
        for silu in [false, true] {
            let norm = |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 3, 1e-6, silu);
            assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-6, norm);
            assert_half_is_near([&x, &weight, &bias], DType::BF16, norm);
        }
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_more_digits_than_it_must() {
        let x = (values(&[1, 2, 80, 80], 1) + 100.0).expect("a sum");
        let (weight, bias) = (values(&[2], 2), values(&[2], 3));
        let norm = |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 1, 1e-6, false);
        assert_fast_is_plain([&x, &weight, &bias], 2e-5, norm);
    }
}
