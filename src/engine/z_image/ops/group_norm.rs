//! GroupNorm with SiLU, of a whole activation (b, h, w, c) or of its parts. No scratch on the fast
//! path but a few numbers for each group.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, silu, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::has_our_channels;
use super::group_moments::{GroupMoments, moments_of};
use super::moments::{Moments, standardise, wide_planes, widened};

/// GroupNorm of `x` (b, h, w, c) in `groups` groups of channels, `weight` and `bias` (c), then SiLU
/// if asked.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    if !has_our_channels(x) {
        return plain_group_norm_silu(x, weight, bias, groups, eps, silu);
    }
    let norm = GroupNorm { groups, given: None, eps, silu };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &norm)
}

/// As [`group_norm_silu`] with SiLU for `x` (1, h, w, c), a part of the activation that all of
/// `moments` are of.
pub fn group_norm_silu_of_part(
    x: &Tensor,
    moments: &GroupMoments,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    if !has_our_channels(x) {
        return plain_group_norm_silu_of_part(x, moments, weight, bias, eps);
    }
    let groups = moments.groups.len();
    let norm = GroupNorm { groups, given: Some(&moments.groups), eps, silu: true };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &norm)
}

/// The norm by the groups' moments: those of the operand itself, where none are given.
struct GroupNorm<'a> {
    groups: usize,
    given: Option<&'a [Moments]>,
    eps: f64,
    silu: bool,
}

impl CustomOp3 for GroupNorm<'_> {
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
        let (b, h, w, c) = x_layout.shape().dims4()?;
        let item = |item: usize| {
            let found = match self.given {
                Some(given) => given.to_vec(),
                None => moments_of(&xs[item * h * w * c..][..h * w * c], c, self.groups),
            };
            Affine::of(&found, self.eps, weights, biases)
        };
        let affine: Vec<Affine> = (0..b).map(item).collect();
        from_rows(x_layout.shape(), w * c, |row, out| {
            let Affine { scale, shift } = &affine[row / h];
            normalise(out, &xs[row * w * c..][..w * c], (scale, shift), self.silu);
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
        let on_card =
            |group: &Moments| [group.count, group.mean, group.deviation].map(|value| value as f32);
        let given: Option<Vec<_>> = self.given.map(|all| all.iter().map(on_card).collect());
        let affine = [(weight, weight_layout), (bias, bias_layout)];
        let norm = cuda::Normalising {
            groups: self.groups,
            given: given.as_deref(),
            eps: self.eps as f32,
            silu: self.silu,
        };
        cuda::group_norm((x, x_layout), affine, &norm)
    }
}

/// What normalises the channels: `x * scale + shift`.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    /// To mean 0 and variance 1 in each group, then times `weights` plus `biases`.
    fn of(groups: &[Moments], eps: f64, weights: &[f32], biases: &[f32]) -> Affine {
        let members = weights.len() / groups.len();
        let of_groups = groups.iter().map(|group| group.mean_and_factor(eps));
        let of_channels = of_groups.flat_map(|group| std::iter::repeat_n(group, members));
        let both = of_channels.zip(weights.iter().zip(biases));
        let (scale, shift) = both
            .map(|((mean, factor), (weight, bias))| {
                let scale = factor * weight;
                (scale, bias - mean * scale)
            })
            .unzip();
        Affine { scale, shift }
    }
}

vectorised! {
    /// Some pixels, with what their channels are multiplied with and what is added to them.
    fn normalise(out: &mut [f32], xs: &[f32], affine: (&[f32], &[f32]), with_silu: bool) {
        let (scale, shift) = affine;
        let pixels = out.chunks_exact_mut(scale.len()).zip(xs.chunks_exact(scale.len()));
        for (out, xs) in pixels {
            let channels = out.iter_mut().zip(xs).zip(scale.iter().zip(shift));
            for ((out, &x), (&scale, &shift)) in channels {
                let y = x.mul_add(scale, shift);
                *out = if with_silu { silu(y) } else { y };
            }
        }
    }
}

/// `planes` in any form, as `x` (b, h, w, c) and in its type, times `weight` plus `bias`, both (c).
fn scaled(planes: &Tensor, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let pixels = planes.reshape((b, c, h, w))?.permute((0, 2, 3, 1))?.contiguous()?;
    pixels.to_dtype(x.dtype())?.broadcast_mul(weight)?.broadcast_add(bias)
}

fn plain_group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let planes = wide_planes(x)?.reshape((x.dim(0)?, groups, ()))?;
    let scaled = scaled(&standardise(&planes, eps)?, x, weight, bias)?;
    if silu { scaled.silu() } else { Ok(scaled) }
}

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
    let planes = wide_planes(x)?.reshape((groups, ()))?;
    let centred = planes.broadcast_sub(&column(&|moments| moments.mean)?)?;
    let normed = centred.broadcast_mul(&column(&|moments| moments.factor(eps))?)?;
    scaled(&normed, x, weight, bias)?.silu()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    #[test]
    fn group_norm_is_by_group_with_and_without_silu() {
        // Groups of fewer channels than a chunk has, and of more; channels in no whole chunks.
        for (channels, groups) in [(6, 3), (16, 8), (48, 2), (128, 32), (520, 5)] {
            let x = values(&[2, 7, 31, channels], 1);
            let [weight, bias] = [2, 3].map(|seed| values(&[channels], seed));
            for silu in [false, true] {
                let norm = |[x, weight, bias]: [&Tensor; 3]| {
                    group_norm_silu(x, weight, bias, groups, 1e-6, silu)
                };
                assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-6, norm);
                assert_half_is_near([&x, &weight, &bias], DType::BF16, norm);
            }
        }
    }

    #[test]
    fn group_norm_of_many_pixels_is_by_group() {
        let (x, weight, bias) = (values(&[1, 301, 257, 16], 1), values(&[16], 2), values(&[16], 3));
        let norm =
            |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 4, 1e-6, true);
        assert_fast_is_plain([&x, &weight, &bias], 1e-6, norm);
        assert_half_is_near([&x, &weight, &bias], DType::BF16, norm);
    }

    #[test]
    fn group_norm_of_parts_is_that_of_the_whole() {
        for (channels, groups) in [(6, 3), (48, 6)] {
            let x = values(&[1, 37, 61, channels], 1);
            let [weight, bias] = [2, 3].map(|seed| values(&[channels], seed));
            // Rows of another mean and spread than the others', so that a part's own moments would
            // not do.
            let other = ((&x * 3.0).expect("a product") + 5.0).expect("a sum");
            let x = Tensor::cat(&[&x, &other], 1).expect("74 rows");
            let by_parts = |[x, weight, bias]: [&Tensor; 3]| {
                let parts = [x.narrow(1, 0, 1)?, x.narrow(1, 1, 40)?, x.narrow(1, 41, 33)?];
                let mut moments = GroupMoments::new(groups);
                parts.iter().try_for_each(|part| moments.add(part))?;
                let norm =
                    |part: &Tensor| group_norm_silu_of_part(part, &moments, weight, bias, 1e-6);
                Tensor::cat(&parts.iter().map(norm).collect::<Result<Vec<_>>>()?, 1)
            };
            let inputs = [&x, &weight, &bias];
            assert_fast_is_plain(inputs, 1e-6, by_parts);
            assert_half_is_near(inputs, DType::BF16, by_parts);
            assert_fast_is_plain(inputs, 1e-6, |[x, weight, bias]| match x.dtype() {
                DType::F32 => by_parts([x, weight, bias]),
                _ => group_norm_silu(x, weight, bias, groups, 1e-6, true),
            });
        }
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_more_digits_than_it_must() {
        let x = (values(&[1, 80, 80, 8], 1) + 100.0).expect("a sum");
        let (weight, bias) = (values(&[8], 2), values(&[8], 3));
        let norm =
            |[x, weight, bias]: [&Tensor; 3]| group_norm_silu(x, weight, bias, 1, 1e-6, false);
        assert_fast_is_plain([&x, &weight, &bias], 2e-5, norm);
    }
}
