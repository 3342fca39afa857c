//! GroupNorm with SiLU, of a whole activation or of its parts. No scratch on the fast path.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, silu, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::is_ours;
use super::group_moments::GroupMoments;
use super::moments::{Moments, standardise, widened};

/// GroupNorm of `x` (b, c, h, w) in `groups` groups of channels, `weight` and `bias` (c), then SiLU
/// if asked.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_group_norm_silu(x, weight, bias, groups, eps, silu);
    }
    let norm = GroupNormSilu { groups, eps, silu };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &norm)
}

struct GroupNormSilu {
    groups: usize,
    eps: f64,
    silu: bool,
}

impl CustomOp3 for GroupNormSilu {
    fn name(&self) -> &'static str {
        "group-norm-silu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let weights = values(weight, weight_layout)?;
        let biases = values(bias, bias_layout)?;
        let (_, c, h, w) = x_layout.shape().dims4()?;
        let members = c / self.groups;
        from_rows(x_layout.shape(), members * h * w, |group, out| {
            let xs = &xs[group * out.len()..][..out.len()];
            let channels = group % self.groups * members..;
            let affine = (&weights[channels.clone()][..members], &biases[channels][..members]);
            normalise_group(out, xs, affine, self.eps, self.silu);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let affine = [(weight, weight_layout), (bias, bias_layout)];
        cuda::group_norm((x, x_layout), affine, self.groups, self.eps, self.silu)
    }
}

/// As [`group_norm_silu`] with SiLU for `x` (1, c, h, w), a part of the activation that all of
/// `moments` are of.
pub fn group_norm_silu_of_part(
    x: &Tensor,
    moments: &GroupMoments,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_group_norm_silu_of_part(x, moments, weight, bias, eps);
    }
    let norm = GroupNormSiluOfPart { moments: &moments.groups, eps };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &norm)
}

struct GroupNormSiluOfPart<'a> {
    moments: &'a [Moments],
    eps: f64,
}

impl CustomOp3 for GroupNormSiluOfPart<'_> {
    fn name(&self) -> &'static str {
        "group-norm-silu-of-part"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let weights = values(weight, weight_layout)?;
        let biases = values(bias, bias_layout)?;
        let (_, c, h, w) = x_layout.shape().dims4()?;
        let plane = h * w;
        let members = c / self.moments.len();
        from_rows(x_layout.shape(), plane, |channel, out| {
            let moments = &self.moments[channel / members];
            let affine = Affine::of(moments, self.eps, weights[channel], biases[channel]);
            normalise_plane(out, &xs[channel * plane..][..plane], affine);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let affine = [(weight, weight_layout), (bias, bias_layout)];
        let on_card =
            |group: &Moments| [group.count, group.mean, group.deviation].map(|value| value as f32);
        let moments: Vec<[f32; 3]> = self.moments.iter().map(on_card).collect();
        cuda::group_norm_of_part((x, x_layout), &moments, affine, self.eps)
    }
}

vectorised! {
    /// One group's channels, with their weights and biases.
    fn normalise_group(
        out: &mut [f32],
        xs: &[f32],
        affine: (&[f32], &[f32]),
        eps: f64,
        with_silu: bool,
    ) {
        let moments = Moments::of(xs);
        let (weights, biases) = affine;
        let plane = xs.len() / weights.len();
        let planes = out.chunks_exact_mut(plane).zip(xs.chunks_exact(plane));
        for ((out, xs), (&weight, &bias)) in planes.zip(weights.iter().zip(biases)) {
            Affine::of(&moments, eps, weight, bias).apply(out, xs, with_silu);
        }
    }
}

vectorised! {
    /// One channel, then SiLU.
    fn normalise_plane(out: &mut [f32], xs: &[f32], affine: Affine) {
        affine.apply(out, xs, true);
    }
}

/// What normalises a channel: `x * scale + shift`.
#[derive(Clone, Copy)]
struct Affine {
    scale: f32,
    shift: f32,
}

impl Affine {
    /// To mean 0 and variance 1, then times `weight` plus `bias`.
    #[inline(always)]
    fn of(moments: &Moments, eps: f64, weight: f32, bias: f32) -> Affine {
        let (mean, factor) = moments.mean_and_factor(eps);
        let scale = factor * weight;
        Affine { scale, shift: bias - mean * scale }
    }

    #[inline(always)]
    fn apply(self, out: &mut [f32], xs: &[f32], with_silu: bool) {
        for (out, &x) in out.iter_mut().zip(xs) {
            let y = x.mul_add(self.scale, self.shift);
            *out = if with_silu { silu(y) } else { y };
        }
    }
}

fn plain_group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let wide = x.to_dtype(widened(x))?.reshape((x.dim(0)?, groups, ()))?;
    let normed = standardise(&wide, eps)?.reshape(x.shape())?.to_dtype(x.dtype())?;
    let scaled = scale_channels(&normed, weight, bias)?;
    if silu { scaled.silu() } else { Ok(scaled) }
}

/// Scratch: twice `x` in f32.
fn plain_group_norm_silu_of_part(
    x: &Tensor,
    moments: &GroupMoments,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let groups = moments.groups.len();
    let column = |value: &dyn Fn(&Moments) -> f64| {
        let values: Vec<f64> = moments.groups.iter().map(value).collect();
        Tensor::from_vec(values, (groups, 1), x.device())?.to_dtype(widened(x))
    };
    // One name for all, so that each result goes when the next has come.
    let mut y = x.to_dtype(widened(x))?.reshape((groups, ()))?;
    y = y.broadcast_sub(&column(&|moments| moments.mean)?)?;
    y = y.broadcast_mul(&column(&|moments| moments.factor(eps))?)?;
    y = y.to_dtype(x.dtype())?.reshape(x.shape())?;
    y = scale_channels(&y, weight, bias)?;
    y.silu()
}

/// `x` (b, c, h, w) times `weight` plus `bias`, both (c).
fn scale_channels(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let by_channel = |values: &Tensor| values.reshape((1, (), 1, 1));
    x.broadcast_mul(&by_channel(weight)?)?.broadcast_add(&by_channel(bias)?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    #[test]
    fn group_norm_is_by_group_with_and_without_silu() {
        let (x, weight, bias) = (values(&[2, 6, 37, 61], 1), values(&[6], 2), values(&[6], 3));
        for silu in [false, true] {
            let norm =
                |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 3, 1e-6, silu);
            assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-6, norm);
            assert_half_is_near([&x, &weight, &bias], DType::BF16, norm);
        }
    }

    #[test]
    fn group_norm_of_parts_is_that_of_the_whole() {
        let (x, weight, bias) = (values(&[1, 6, 37, 61], 1), values(&[6], 2), values(&[6], 3));
        // Rows of another mean and spread than the others', so that a part's own moments would not
        // do.
        let x = Tensor::cat(&[&x, &((&x * 3.0).expect("a product") + 5.0).expect("a sum")], 2)
            .expect("74 rows");
        let by_parts = |[x, weight, bias]: [&Tensor; 3]| {
            let parts = [x.narrow(2, 0, 1)?, x.narrow(2, 1, 40)?, x.narrow(2, 41, 33)?];
            let mut moments = GroupMoments::new(3);
            parts.iter().try_for_each(|part| moments.add(part))?;
            let norm = |part: &Tensor| group_norm_silu_of_part(part, &moments, weight, bias, 1e-6);
            Tensor::cat(&parts.iter().map(norm).collect::<Result<Vec<_>>>()?, 2)
        };
        let inputs = [&x, &weight, &bias];
        assert_fast_is_plain(inputs, 1e-6, by_parts);
        assert_half_is_near(inputs, DType::BF16, by_parts);
        assert_fast_is_plain(inputs, 1e-6, |[x, weight, bias]| match x.dtype() {
            DType::F32 => by_parts([x, weight, bias]),
            _ => group_norm_silu(x, weight, bias, 3, 1e-6, true),
        });
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_more_digits_than_it_must() {
        let x = (values(&[1, 2, 80, 80], 1) + 100.0).expect("a sum");
        let (weight, bias) = (values(&[2], 2), values(&[2], 3));
        let norm =
            |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 1, 1e-6, false);
        assert_fast_is_plain([&x, &weight, &bias], 2e-5, norm);
    }
}
