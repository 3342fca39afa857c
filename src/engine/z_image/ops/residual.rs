//! A residual connection behind a norm, with the next norm or without. None needs scratch on the
//! fast path.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, row_length, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use super::dispatch::has_card_rows;
use super::dispatch::has_our_rows;
use super::norm::{inverse_rms, rms_norm};

/// `x + rms_norm(y, weight)`: `x` and `y` (.., d), `weight` (d).
pub fn add_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_our_rows(x) {
        return x + rms_norm(y, weight, eps)?;
    }
    let (x, y, weight) = (x.contiguous()?, y.contiguous()?, weight.contiguous()?);
    x.apply_op3_no_bwd(&y, &weight, &AddNorm { eps })
}

/// What [`add_norm`] gives, and the RMSNorm of that with the weight `next`: on a card in one pass.
pub fn add_norm_and_norm(
    x: &Tensor,
    y: &Tensor,
    [weight, next]: [&Tensor; 2],
    eps: f64,
) -> Result<[Tensor; 2]> {
    #[cfg(feature = "cuda")]
    if has_card_rows(x) {
        let (x, y, weight, next) =
            (x.contiguous()?, y.contiguous()?, weight.contiguous()?, next.contiguous()?);
        return cuda::add_norm_and_norm([&x, &y], [&weight, &next], eps);
    }
    let sum = add_norm(x, y, weight, eps)?;
    let normed = rms_norm(&sum, next, eps)?;
    Ok([sum, normed])
}

struct AddNorm {
    eps: f64,
}

impl CustomOp3 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let ys = values(y, y_layout)?;
        let weights = values(weight, weight_layout)?;
        let d = row_length(x_layout)?;
        from_rows(x_layout.shape(), d, |row, out| {
            add_norm_row(out, &xs[row * d..][..d], &ys[row * d..][..d], weights, self.eps);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::add_norm([(x, x_layout), (y, y_layout), (weight, weight_layout)], self.eps)
    }
}

vectorised! {
    fn add_norm_row(out: &mut [f32], xs: &[f32], ys: &[f32], weights: &[f32], eps: f64) {
        let factor = inverse_rms(ys, eps);
        for (((out, &x), &y), &weight) in out.iter_mut().zip(xs).zip(ys).zip(weights) {
            *out = (y * factor).mul_add(weight, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    /// Widths of which a card's own kernels take the first and not the second.
    const WIDTHS: [usize; 3] = [136, 133, 4096];

    #[test]
    fn a_norm_is_added_by_row() {
        for width in WIDTHS {
            let (x, y) = (values(&[2, 3, width], 1), values(&[2, 3, width], 2));
            let weight = values(&[width], 3);
            assert_fast_is_plain([&x, &strided(&y), &weight], 1e-6, |[x, y, weight]| {
                add_norm(x, y, weight, 1e-5)
            });
            assert_half_is_near([&x, &y, &weight], DType::BF16, |[x, y, weight]| {
                add_norm(x, y, weight, 1e-5)
            });
        }
    }

    #[test]
    fn the_sum_and_its_norm_are_two_results() {
        for width in WIDTHS {
            let (x, y) = (values(&[2, 3, width], 1), values(&[2, 3, width], 2));
            let (weight, next) = (values(&[width], 3), values(&[width], 4));
            let both = |[x, y, weight, next]: [&Tensor; 4]| {
                Tensor::cat(&add_norm_and_norm(x, y, [weight, next], 1e-5)?, 0)
            };
            assert_fast_is_plain([&strided(&x), &y, &weight, &next], 1e-6, both);
            assert_half_is_near([&x, &y, &weight, &next], DType::BF16, both);
        }
    }
}
