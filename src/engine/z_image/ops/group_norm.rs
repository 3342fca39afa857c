//! GroupNorm with SiLU, of a whole activation or of its parts. No scratch on the fast path.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{from_rows, is_cpu_f32, silu, vectorised, with_values};
#[cfg(feature = "cuda")]
use super::cuda;
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
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::group_norm(
            x,
            &cuda::moments(x, x.dim(0)? * groups)?,
            [weight, bias],
            eps,
            silu,
        );
    }
    if !is_cpu_f32(x) {
        return plain_group_norm_silu(x, weight, bias, groups, eps, silu);
    }
    let (_, c, h, w) = x.dims4()?;
    let (plane, members) = (h * w, c / groups);
    with_values(
        [&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?],
        |[xs, weights, biases]| {
            from_rows(x.shape(), members * plane, |group, out| {
                let xs = &xs[group * out.len()..][..out.len()];
                let channels = group % groups * members..;
                let affine = (&weights[channels.clone()][..members], &biases[channels][..members]);
                normalise_group(out, xs, affine, eps, silu);
            })
        },
    )
}

/// GroupNorm's statistics of an activation that is at hand only part by part: the moments of each
/// group of channels.
pub struct GroupMoments {
    groups: Vec<Moments>,
}

impl GroupMoments {
    /// Those of nothing yet, in `groups` groups.
    pub fn new(groups: usize) -> GroupMoments {
        GroupMoments { groups: vec![Moments::NONE; groups] }
    }

    /// Counts in one more part, `x` (1, c, h, w).
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        #[cfg(feature = "cuda")]
        if cuda::is_cuda_bf16(x) {
            return self.join_all(&cuda::moments(x, self.groups.len())?);
        }
        if !is_cpu_f32(x) {
            return self.plain_add(x);
        }
        with_values([&x.contiguous()?], |[xs]| {
            let by_group = xs.par_chunks_exact(xs.len() / self.groups.len());
            self.groups
                .par_iter_mut()
                .zip(by_group)
                .for_each(|(moments, xs)| count_in(moments, xs));
            Ok(())
        })
    }

    /// `parts` (groups, parts, 3): count, mean and sum of squared deviations.
    #[cfg(feature = "cuda")]
    fn join_all(&mut self, parts: &Tensor) -> Result<()> {
        for (moments, parts) in self.groups.iter_mut().zip(parts.to_vec3::<f32>()?) {
            for part in parts {
                let [count, mean, deviation] = [0, 1, 2].map(|i| f64::from(part[i]));
                moments.join(Moments { count, mean, deviation });
            }
        }
        Ok(())
    }

    /// On `device`, (groups, 1, 3).
    #[cfg(feature = "cuda")]
    fn on(&self, device: &candle_core::Device) -> Result<Tensor> {
        let values =
            |group: &Moments| [group.count, group.mean, group.deviation].map(|value| value as f32);
        Tensor::from_iter(self.groups.iter().flat_map(values), device)?.reshape(((), 1, 3))
    }

    /// Scratch: twice `x` in f32.
    fn plain_add(&mut self, x: &Tensor) -> Result<()> {
        // One name for all, so that each result goes when the next has come.
        let mut y = x.to_dtype(widened(x))?.reshape((self.groups.len(), ()))?;
        let count = y.dim(1)? as f64;
        let mean = y.mean_keepdim(1)?;
        y = y.broadcast_sub(&mean)?;
        y = y.sqr()?.sum_keepdim(1)?;
        let on_host = |column: Tensor| column.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        for (moments, (mean, deviation)) in
            self.groups.iter_mut().zip(on_host(mean)?.into_iter().zip(on_host(y)?))
        {
            moments.join(Moments { count, mean, deviation });
        }
        Ok(())
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
    #[cfg(feature = "cuda")]
    if cuda::is_cuda_bf16(x) {
        return cuda::group_norm(x, &moments.on(x.device())?, [weight, bias], eps, true);
    }
    if !is_cpu_f32(x) {
        return plain_group_norm_silu_of_part(x, moments, weight, bias, eps);
    }
    let (_, c, h, w) = x.dims4()?;
    let (plane, members) = (h * w, c / moments.groups.len());
    with_values(
        [&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?],
        |[xs, weights, biases]| {
            from_rows(x.shape(), plane, |channel, out| {
                let affine = Affine::of(
                    &moments.groups[channel / members],
                    eps,
                    weights[channel],
                    biases[channel],
                );
                normalise_plane(out, &xs[channel * plane..][..plane], affine);
            })
        },
    )
}

vectorised! {
    /// One group's channels, with their weights and biases.
    fn normalise_group(out: &mut [f32], xs: &[f32], affine: (&[f32], &[f32]), eps: f64, with_silu: bool) {
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

vectorised! {
    /// Joins those of `xs` to `moments`.
    fn count_in(moments: &mut Moments, xs: &[f32]) {
        moments.join(Moments::of(xs));
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
