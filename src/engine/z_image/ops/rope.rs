//! Rotary position embedding, in both layouts of the pairs. No scratch on the fast path.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::cpu::{from_rows, values, vectorised};
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use super::dispatch::is_card_bf16;
use super::dispatch::is_ours;
use super::norm::rms_norm;

/// Rotates interleaved pairs: elements 2i and 2i + 1 of each head of `x` (b, s, heads, head_dim) by
/// angle i of its row of `cos` and `sin` (s, head_dim / 2). Named as in candle.
pub fn rope_i(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_rope_i(x, cos, sin);
    }
    rotate(x, cos, sin, Rotate { interleaved: true })
}

/// Rotates as GPT-NeoX and Qwen do: elements i and i + head_dim / 2 of each head of `x` (b, s,
/// heads, head_dim) by angle i of its row of `cos` and `sin` (s, head_dim / 2). Named as in candle.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_rope(x, cos, sin);
    }
    rotate(x, cos, sin, Rotate { interleaved: false })
}

/// [`rope_i`] of the RMSNorm of each head of `q` and `k` (b, s, heads, head_dim), each with its
/// weight: on a card in one pass. Takes the two, so that they can go when they are read.
pub fn norm_rope_i(
    [q, k]: [Tensor; 2],
    weights: [&Tensor; 2],
    [cos, sin]: [&Tensor; 2],
    eps: f64,
) -> Result<[Tensor; 2]> {
    #[cfg(feature = "cuda")]
    if is_card_bf16(&q) && is_normed_on_card(q.dim(D::Minus1)?) {
        let [q_weight, k_weight] = weights;
        let (q, k, cos, sin) =
            (q.contiguous()?, k.contiguous()?, cos.contiguous()?, sin.contiguous()?);
        let weights = [&q_weight.contiguous()?, &k_weight.contiguous()?];
        return cuda::norm_rope([&q, &k], weights, [&cos, &sin], eps);
    }
    let rotated = |x: Tensor, weight: &Tensor| {
        let normed = rms_norm(&x, weight, eps)?;
        drop(x);
        rope_i(&normed, cos, sin)
    };
    Ok([rotated(q, weights[0])?, rotated(k, weights[1])?])
}

/// Whether a card's threads can share the heads of this width evenly.
#[cfg(feature = "cuda")]
fn is_normed_on_card(head_dim: usize) -> bool {
    head_dim.is_power_of_two() && (8..=256).contains(&head_dim)
}

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, rotate: Rotate) -> Result<Tensor> {
    x.contiguous()?.apply_op3_no_bwd(&cos.contiguous()?, &sin.contiguous()?, &rotate)
}

/// The rotation of interleaved pairs, or else of those of GPT-NeoX.
struct Rotate {
    interleaved: bool,
}

impl CustomOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, x_layout)?;
        let cosines = values(cos, cos_layout)?;
        let sines = values(sin, sin_layout)?;
        let (_, s, heads, dim) = x_layout.shape().dims4()?;
        let half = dim / 2;
        let rotate_row = if self.interleaved { rotate_interleaved } else { rotate_neox };
        from_rows(x_layout.shape(), dim, |row, out| {
            let angles = row / heads % s * half;
            let cosines = &cosines[angles..][..half];
            rotate_row(out, &xs[row * dim..][..dim], cosines, &sines[angles..][..half]);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        cos: &CudaStorage,
        cos_layout: &Layout,
        sin: &CudaStorage,
        sin_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::rope((x, x_layout), (cos, cos_layout), (sin, sin_layout), self.interleaved)
    }
}

vectorised! {
    fn rotate_interleaved(out: &mut [f32], xs: &[f32], cos: &[f32], sin: &[f32]) {
        let pairs = out.as_chunks_mut::<2>().0.iter_mut().zip(xs.as_chunks::<2>().0);
        for (([real, imaginary], &[a, b]), (&cos, &sin)) in pairs.zip(cos.iter().zip(sin)) {
            (*real, *imaginary) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
}

vectorised! {
    fn rotate_neox(out: &mut [f32], xs: &[f32], cos: &[f32], sin: &[f32]) {
        let (reals, imaginaries) = out.split_at_mut(cos.len());
        let (xs, ys) = xs.split_at(cos.len());
        let outs = reals.iter_mut().zip(imaginaries).zip(xs.iter().zip(ys));
        for (((real, imaginary), (&a, &b)), (&cos, &sin)) in outs.zip(cos.iter().zip(sin)) {
            (*real, *imaginary) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
}

fn plain_rope_i(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (b, s, heads, dim) = x.dims4()?;
    let pairs = x.to_dtype(cos.dtype())?.reshape((b, s, heads, dim / 2, 2))?;
    let even = pairs.narrow(4, 0, 1)?.squeeze(4)?;
    let odd = pairs.narrow(4, 1, 1)?.squeeze(4)?;
    let (real, imaginary) = plain_rotate(&even, &odd, cos, sin)?;
    Tensor::stack(&[real, imaginary], D::Minus1)?.reshape(x.shape())?.to_dtype(x.dtype())
}

fn plain_rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let wide = x.to_dtype(cos.dtype())?;
    let (real, imaginary) =
        plain_rotate(&wide.narrow(3, 0, half)?, &wide.narrow(3, half, half)?, cos, sin)?;
    Tensor::cat(&[real, imaginary], D::Minus1)?.to_dtype(x.dtype())
}

/// The complex product of (a, b), each (b, s, heads, n), and (cos, sin), each (s, n).
fn plain_rotate(a: &Tensor, b: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<(Tensor, Tensor)> {
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let real = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let imaginary = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Ok((real, imaginary))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    /// The angles stay f32, on the device of what is rotated.
    fn beside(x: &Tensor, angles: &Tensor) -> Tensor {
        angles.to_device(x.device()).expect("room on the device")
    }

    #[test]
    fn interleaved_pairs_rotate_by_the_angle_of_their_row() {
        let (x, cos, sin) = (values(&[2, 5, 3, 22], 1), values(&[5, 11], 2), values(&[5, 11], 3));
        assert_fast_is_plain([&strided(&x), &cos, &strided(&sin)], 1e-6, |[x, cos, sin]| {
            rope_i(x, cos, sin)
        });
        assert_half_is_near([&x], DType::BF16, |[x]| rope_i(x, &beside(x, &cos), &beside(x, &sin)));
    }

    #[test]
    fn neox_pairs_rotate_by_the_angle_of_their_row() {
        let (x, cos, sin) = (values(&[2, 5, 3, 22], 1), values(&[5, 11], 2), values(&[5, 11], 3));
        assert_fast_is_plain([&strided(&x), &cos, &strided(&sin)], 1e-6, |[x, cos, sin]| {
            rope(x, cos, sin)
        });
        assert_half_is_near([&x], DType::BF16, |[x]| rope(x, &beside(x, &cos), &beside(x, &sin)));
    }

    #[test]
    fn queries_and_keys_are_normed_and_rotated_by_head() {
        // Of the last width no card has a kernel.
        for dim in [32, 128, 24] {
            let (q, k) = (values(&[2, 5, 3, dim], 1), values(&[2, 5, 3, dim], 2));
            let (q_weight, k_weight) = (values(&[dim], 3), values(&[dim], 4));
            let (cos, sin) = (values(&[5, dim / 2], 5), values(&[5, dim / 2], 6));
            let both = |[q, k, q_weight, k_weight]: [&Tensor; 4]| {
                let angles = [&cos, &sin].map(|angles| match q.dtype() {
                    DType::F64 => angles.to_dtype(DType::F64).expect("f32 widens"),
                    _ => beside(q, angles),
                });
                let heads = [q.clone(), k.clone()];
                let weights = [q_weight, k_weight];
                Tensor::cat(&norm_rope_i(heads, weights, angles.each_ref(), 1e-5)?, 0)
            };
            assert_fast_is_plain([&strided(&q), &k, &q_weight, &k_weight], 1e-6, both);
            assert_half_is_near([&q, &k, &q_weight, &k_weight], DType::BF16, both);
        }
    }

    #[test]
    fn the_names_mean_what_they_mean_in_candle() {
        use candle_nn::rotary_emb;
        let x = values(&[2, 5, 3, 22], 1);
        let cos = values(&[5, 11], 2);
        let sin = values(&[5, 11], 3);
        let assert_same =
            |ours: Result<Tensor>, candles: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| {
                // candle's heads come before the positions.
                let by_head = x.transpose(1, 2).and_then(|x| x.contiguous()).expect("a transpose");
                let theirs = candles(&by_head, &cos, &sin)
                    .and_then(|y| y.transpose(1, 2))
                    .expect("a rotation");
                let difference = (ours.expect("a rotation") - theirs)
                    .and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>());
                assert!(difference.expect("a number") < 1e-6);
            };
        assert_same(rope(&x, &cos, &sin), rotary_emb::rope);
        assert_same(rope_i(&x, &cos, &sin), rotary_emb::rope_i);
    }

    #[test]
    fn a_quarter_turn_swaps_each_pair_and_negates_the_first() {
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 1, 4]).expect("four values");
        let (cos, sin) =
            (tensor(&[0.0; 2], &[1, 2]).expect("two"), tensor(&[1.0; 2], &[1, 2]).expect("two"));
        let turned = |turn: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| {
            turn(&x, &cos, &sin)
                .and_then(|y| y.flatten_all()?.to_vec1::<f32>())
                .expect("a rotation")
        };
        assert_eq!(turned(rope_i), [-2.0, 1.0, -4.0, 3.0]);
        assert_eq!(turned(rope), [-3.0, -4.0, 1.0, 2.0]);
    }
}
