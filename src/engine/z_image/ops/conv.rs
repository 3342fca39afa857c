//! Convolution and upsampling of the VAE.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::conv_shape::{ConvShape, IM2COL_BYTES, Sliding};
use super::cpu::{from_rows, values};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::is_ours;
use super::im2col;
use crate::engine::Backend;

/// Convolution with stride 1 of `x` (b, i, h, w) with `weight` (o, i, k, k), `bias` (o), zeros
/// around.
///
/// Scratch: [`conv2d_bytes`].
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    slide(x, weight, bias, Sliding::dense(padding))
}

/// Convolution of `x` (b, i, h, w) with `weight` (o, i, 3, 3), `bias` (o), at every second pixel,
/// zeros below and on the right: (b, o, h / 2, w / 2).
///
/// Scratch: [`conv2d_bytes`] of the result's pixels.
pub fn conv2d_halving(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    slide(x, weight, Some(bias), Sliding::HALVING)
}

fn slide(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, sliding: Sliding) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_conv2d(x, weight, bias, sliding);
    }
    let no_bias = || Tensor::zeros(weight.dim(0)?, x.dtype(), x.device());
    let bias = bias.map_or_else(no_bias, Tensor::contiguous)?;
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias, &Conv2d { sliding })
}

/// What a 3x3 [`conv2d`] of `pixels` allocates beside its result. With a 1x1 weight it is at most
/// 2 % more.
pub fn conv2d_bytes(backend: Backend, pixels: usize, inputs: usize) -> usize {
    match backend {
        Backend::Cpu { threads } => im2col::scratch_bytes(threads, pixels, inputs, 3),
        // One band's matrix.
        Backend::Cuda => (9 * inputs * pixels * backend.element_bytes()).min(IM2COL_BYTES),
    }
}

struct Conv2d {
    sliding: Sliding,
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-with-bias"
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
        let shape = ConvShape::of(x_layout, weight_layout, self.sliding)?;
        let xs = values(x, x_layout)?;
        let weights = values(weight, weight_layout)?;
        let biases = values(bias, bias_layout)?;
        let out = im2col::convolve(xs, weights, biases, &shape);
        Ok((CpuStorage::F32(out), shape.out_dims().into()))
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
        let operands = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        cuda::conv2d(operands, self.sliding)
    }
}

fn plain_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    Sliding { stride, before, after }: Sliding,
) -> Result<Tensor> {
    let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
    let y = padded.conv2d(weight, 0, stride, 1, 1)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Twice the height and width of `x` (b, c, h, w), each pixel repeated. No scratch.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        let (_, _, h, w) = x.dims4()?;
        return x.upsample_nearest2d(2 * h, 2 * w);
    }
    x.contiguous()?.apply_op1_no_bwd(&UpsampleNearest2)
}

struct UpsampleNearest2;

impl CustomOp1 for UpsampleNearest2 {
    fn name(&self) -> &'static str {
        "upsample-nearest2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(x, layout)?;
        let (b, c, h, w) = layout.shape().dims4()?;
        // A row here is a row of `x` doubled, then written twice.
        from_rows((b, c, 2 * h, 2 * w), 4 * w, |row, out| {
            let (first, second) = out.split_at_mut(2 * w);
            for (pair, &x) in first.as_chunks_mut::<2>().0.iter_mut().zip(&xs[row * w..][..w]) {
                *pair = [x, x];
            }
            second.copy_from_slice(first);
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::upsample((x, layout))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    fn assert_right(x: [usize; 4], outputs: usize, kernel: usize, padding: usize) {
        let weight = values(&[outputs, x[1], kernel, kernel], 1);
        let (x, bias) = (values(&x, 2), values(&[outputs], 3));
        let conv = |[x, weight, bias]: [&Tensor; 3]| conv2d(x, weight, Some(bias), padding);
        assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-5, conv);
        // candle multiplies no bf16 matrices on a CPU; f16 takes the same path.
        assert_half_is_near([&x, &weight, &bias], DType::F16, conv);
        assert_fast_is_plain([&x, &weight], 1e-5, |[x, weight]| conv2d(x, weight, None, padding));
    }

    #[test]
    fn windows_of_three_match_at_odd_sizes() {
        assert_right([2, 5, 9, 13], 7, 3, 1);
        assert_right([1, 3, 3, 3], 1, 3, 1);
        assert_right([1, 3, 1, 2], 2, 3, 1);
    }

    #[test]
    fn windows_of_three_match_without_padding() {
        assert_right([2, 5, 9, 13], 7, 3, 0);
    }

    #[test]
    fn windows_of_three_match_across_several_bands() {
        assert_right([1, 3, 18, 4 * 64 + 9], 13, 3, 1);
        assert_right([1, 33, 66, 34], 6, 3, 1);
    }

    #[test]
    fn windows_of_three_at_every_second_pixel_match_and_halve_the_size() {
        for [h, w] in [[8, 12], [66, 34], [2, 2], [9, 8]] {
            let (x, weight) = (values(&[2, 5, h, w], 2), values(&[7, 5, 3, 3], 1));
            let bias = values(&[7], 3);
            let conv = |[x, weight, bias]: [&Tensor; 3]| conv2d_halving(x, weight, bias);
            assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-5, conv);
            assert_half_is_near([&x, &weight, &bias], DType::F16, conv);
            let halved = conv([&x, &weight, &bias]).expect("it works");
            assert_eq!(halved.dims(), [2, 7, h / 2, w / 2]);
        }
    }

    #[test]
    fn single_pixels_match() {
        assert_right([2, 5, 9, 13], 7, 1, 0);
    }

    #[test]
    fn upsampling_repeats_each_pixel_four_times() {
        let x = values(&[2, 3, 5, 7], 1);
        assert_fast_is_plain([&strided(&x)], 1e-9, |[x]| upsample_nearest2(x));
        assert_half_is_near([&x], DType::BF16, |[x]| upsample_nearest2(x));
    }
}
