//! Convolution of the VAE. Activations are (b, h, w, channels), so that what a kernel sees of a
//! pixel are neighbours in memory.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::conv_shape::{ConvShape, Sliding};
use super::cpu::{values, with_values};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dispatch::is_ours;
use super::im2col;
use crate::engine::Backend;

/// `weight` (o, i, k, k), as files have it, as [`conv2d`] takes it: (o, k, k, i).
pub fn conv_weight(weight: &Tensor) -> Result<Tensor> {
    weight.permute((0, 2, 3, 1))?.contiguous()
}

/// Convolution of `x` (b, h, w, i) with `weight` (o, k, k, i), plus `bias` (o), plus `residual` of
/// the result's shape.
///
/// Scratch: [`conv2d_bytes`].
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    sliding: Sliding,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    if !is_ours(x) {
        return plain_conv2d(x, weight, bias, sliding, residual);
    }
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let convolution = Conv2d { sliding, residual };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &convolution)
}

/// What a [`conv2d`] of at most 3x3 whose result has so many `pixels` allocates beside it.
pub fn conv2d_bytes(backend: Backend, pixels: usize, inputs: usize) -> usize {
    match backend {
        Backend::Cpu { threads, .. } => im2col::scratch_bytes(threads, pixels, inputs, 3),
        Backend::Cuda => 0,
    }
}

struct Conv2d {
    sliding: Sliding,
    residual: Option<Tensor>,
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
        let convolve = |residual: Option<&[f32]>| {
            let out = im2col::convolve(xs, weights, biases, residual, &shape);
            Ok((CpuStorage::F32(out), shape.out_dims().into()))
        };
        match &self.residual {
            Some(residual) => with_values(residual, |residual| convolve(Some(residual))),
            None => convolve(None),
        }
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
        cuda::conv2d(operands, self.residual.as_ref(), self.sliding)
    }
}

/// By candle's convolution, which has the channels before the pixels.
fn plain_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    sliding: Sliding,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let Sliding { stride, before, after, doubled } = sliding;
    let mut planes = x.permute((0, 3, 1, 2))?.contiguous()?;
    if doubled {
        let (_, _, h, w) = planes.dims4()?;
        planes = planes.upsample_nearest2d(2 * h, 2 * w)?;
    }
    let padded = planes.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
    let weight = weight.permute((0, 3, 1, 2))?.contiguous()?;
    let y = padded.conv2d(&weight, 0, stride, 1, 1)?.permute((0, 2, 3, 1))?.contiguous()?;
    let y = y.broadcast_add(bias)?;
    residual.map_or(Ok(y.clone()), |residual| y + residual)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::check::{assert_fast_is_plain, assert_half_is_near, strided, values};
    use super::*;

    /// `x` is (b, h, w, inputs).
    fn assert_right(x: [usize; 4], outputs: usize, kernel: usize, sliding: Sliding) {
        let weight = values(&[outputs, kernel, kernel, x[3]], 1);
        let (x, bias) = (values(&x, 2), values(&[outputs], 3));
        let conv = |[x, weight, bias]: [&Tensor; 3]| conv2d(x, weight, bias, sliding, None);
        assert_fast_is_plain([&strided(&x), &weight, &bias], 1e-5, conv);
        // candle multiplies no bf16 matrices on a CPU; f16 takes the same path.
        assert_half_is_near([&x, &weight, &bias], DType::F16, conv);
        let residual = values(conv([&x, &weight, &bias]).expect("it works").dims(), 4);
        let sum = |[x, weight, bias, residual]: [&Tensor; 4]| {
            conv2d(x, weight, bias, sliding, Some(residual))
        };
        assert_fast_is_plain([&x, &weight, &bias, &strided(&residual)], 1e-5, sum);
        assert_half_is_near([&x, &weight, &bias, &residual], DType::F16, sum);
    }

    #[test]
    fn windows_of_three_match_at_odd_sizes() {
        assert_right([2, 9, 13, 5], 7, 3, Sliding::dense(1));
        assert_right([1, 3, 3, 3], 1, 3, Sliding::dense(1));
        assert_right([1, 1, 2, 3], 2, 3, Sliding::dense(1));
    }

    #[test]
    fn windows_of_three_match_without_padding() {
        assert_right([2, 9, 13, 5], 7, 3, Sliding::dense(0));
    }

    #[test]
    fn windows_of_three_match_across_several_bands_and_tiles() {
        assert_right([1, 18, 4 * 64 + 9, 3], 13, 3, Sliding::dense(1));
        assert_right([1, 66, 34, 33], 6, 3, Sliding::dense(1));
        assert_right([2, 11, 13, 40], 134, 3, Sliding::dense(1));
        assert_right([1, 5, 7, 300], 33, 3, Sliding::dense(1));
        assert_right([1, 9, 13, 16], 24, 3, Sliding::dense(1));
        assert_right([2, 11, 13, 72], 136, 3, Sliding::dense(1));
    }

    #[test]
    fn windows_of_three_at_every_second_pixel_match_and_halve_the_size() {
        for [h, w] in [[8, 12], [66, 34], [2, 2], [9, 8]] {
            assert_right([2, h, w, 5], 7, 3, Sliding::HALVING);
            assert_right([1, h, w, 8], 7, 3, Sliding::HALVING);
            let shape = conv2d(
                &values(&[1, h, w, 5], 1),
                &values(&[7, 3, 3, 5], 2),
                &values(&[7], 3),
                Sliding::HALVING,
                None,
            );
            assert_eq!(shape.expect("it works").dims(), [1, h / 2, w / 2, 7]);
        }
    }

    #[test]
    fn windows_of_three_over_a_doubled_picture_match_and_double_the_size() {
        for [h, w] in [[5, 7], [33, 18], [1, 1]] {
            assert_right([2, h, w, 5], 7, 3, Sliding::DOUBLING);
            assert_right([1, h, w, 16], 34, 3, Sliding::DOUBLING);
        }
    }

    #[test]
    fn single_pixels_match() {
        assert_right([2, 9, 13, 5], 7, 1, Sliding::dense(0));
        assert_right([2, 9, 13, 64], 48, 1, Sliding::dense(0));
    }

    #[test]
    fn values_may_begin_anywhere_in_their_memory() {
        let shifted = |x: &Tensor| {
            let before = x.flatten_all()?.narrow(0, 0, 1)?;
            Tensor::cat(&[&before, &x.flatten_all()?], 0)?
                .narrow(0, 1, x.elem_count())?
                .reshape(x.shape())
        };
        let (x, weight, bias) =
            (values(&[1, 6, 5, 16], 2), values(&[40, 3, 3, 16], 1), values(&[40], 3));
        let conv =
            |[x, weight, bias]: [&Tensor; 3]| conv2d(x, weight, bias, Sliding::dense(1), None);
        assert_half_is_near([&x, &weight, &bias], DType::F16, |[x, weight, bias]| {
            conv([&shifted(x)?, weight, bias])
        });
        assert_half_is_near([&x, &weight, &bias], DType::F16, |[x, weight, bias]| {
            conv([x, &shifted(weight)?, bias])
        });
    }

    #[test]
    fn a_weight_of_the_files_is_turned_so_that_channels_are_neighbours() {
        let weight = Tensor::arange(0_u32, 12, &candle_core::Device::Cpu).expect("numbers");
        let turned = conv_weight(&weight.reshape((1, 3, 2, 2)).expect("a kernel")).expect("turned");
        assert_eq!(turned.dims(), [1, 2, 2, 3]);
        let turned: Vec<u32> = turned.flatten_all().and_then(|x| x.to_vec1()).expect("numbers");
        assert_eq!(turned, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    }
}
