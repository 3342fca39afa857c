//! Convolution and upsampling of the VAE.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{from_rows, is_cpu_f32, vectorised, with_values, zeros};
use super::matrix::{Matrix, product};
use super::winograd::{self, Sizes};
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
    let (outputs, _, kernel, _) = weight.dims4()?;
    let convolve = match (kernel, padding) {
        (3, _) if is_cpu_f32(x) => winograd::convolve,
        (1, 0) if is_cpu_f32(x) => pointwise,
        #[cfg(feature = "cuda")]
        _ if super::cuda::is_cuda_bf16(x) => return super::cuda::conv2d(x, weight, bias, padding),
        _ => return plain_conv2d(x, weight, bias, padding),
    };
    let (batch, inputs, height, width) = x.dims4()?;
    let sizes = Sizes { batch, inputs, outputs, height, width, padding };
    let (out_height, out_width) =
        (height + 2 * padding + 1 - kernel, width + 2 * padding + 1 - kernel);
    let bias =
        bias.map_or_else(|| Tensor::zeros(outputs, x.dtype(), x.device()), Tensor::contiguous)?;
    with_values([&x.contiguous()?, &weight.contiguous()?, &bias], |[x, weight, bias]| {
        let out = convolve(x, weight, bias, &sizes);
        Tensor::from_vec(out, (batch, outputs, out_height, out_width), &Device::Cpu)
    })
}

/// What a 3x3 [`conv2d`] of `pixels` allocates beside its result; with single pixels it is nothing.
pub fn conv2d_bytes(backend: Backend, pixels: usize, inputs: usize, outputs: usize) -> usize {
    match backend {
        Backend::Cpu { threads } => winograd::scratch_bytes(threads, inputs, outputs),
        // One band's windows.
        Backend::Cuda => (9 * inputs * pixels * backend.element_bytes()).min(WINDOWS_BYTES),
    }
}

/// A convolution of single pixels is a matrix product over the channels.
fn pointwise(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    let plane = sizes.height * sizes.width;
    let weight = Matrix { values: weight, row_step: sizes.inputs, column_step: 1 };
    let mut out = zeros(sizes.batch * sizes.outputs * plane);
    for (x, out) in
        x.chunks_exact(sizes.inputs * plane).zip(out.chunks_exact_mut(sizes.outputs * plane))
    {
        let x = Matrix { values: x, row_step: plane, column_step: 1 };
        let (dimensions, threads) =
            ((sizes.outputs, plane, sizes.inputs), rayon::current_num_threads());
        // SAFETY: `out` holds the product's rows one after the other.
        unsafe { product(out.as_mut_ptr(), plane, &weight, &x, dimensions, 1.0, threads) };
        out.par_chunks_exact_mut(plane)
            .zip(bias)
            .for_each(|(plane, &bias)| add_to_all(plane, bias));
    }
    out
}

vectorised! {
    fn add_to_all(values: &mut [f32], summand: f32) {
        for value in values {
            *value += summand;
        }
    }
}

/// The most that the windows of one band take. Whole, they would be 2.4 GB for the VAE's last block
/// at 1024x1024, and more than 32-bit indices reach at 2048x2048.
const WINDOWS_BYTES: usize = 64 << 20;

/// Rows of `width` windows, each of `kernel` squared of the inputs, in one band.
#[cfg(feature = "cuda")]
pub(super) fn window_rows(
    element_bytes: usize,
    inputs: usize,
    kernel: usize,
    width: usize,
) -> usize {
    (WINDOWS_BYTES / (element_bytes * kernel * kernel * inputs * width)).max(1)
}

fn plain_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    let y = x.conv2d(weight, padding, 1, 1, 1)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Twice the height and width of `x` (b, c, h, w), each pixel repeated. No scratch.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::cuda::is_cuda_bf16(x) {
        return super::cuda::upsample(x);
    }
    let (b, c, h, w) = x.dims4()?;
    if !is_cpu_f32(x) {
        return x.upsample_nearest2d(2 * h, 2 * w);
    }
    with_values([&x.contiguous()?], |[xs]| {
        // A row here is a row of `x` doubled, then written twice.
        from_rows(&(b, c, 2 * h, 2 * w).into(), 4 * w, |row, out| {
            let (first, second) = out.split_at_mut(2 * w);
            for (pair, &x) in first.as_chunks_mut::<2>().0.iter_mut().zip(&xs[row * w..][..w]) {
                *pair = [x, x];
            }
            second.copy_from_slice(first);
        })
    })
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
    fn windows_of_three_match_at_sizes_that_fill_no_tile() {
        assert_right([2, 5, 9, 13], 7, 3, 1);
        assert_right([1, 3, 3, 3], 1, 3, 1);
        assert_right([1, 3, 1, 2], 2, 3, 1);
    }

    #[test]
    fn windows_of_three_match_without_padding() {
        assert_right([2, 5, 9, 13], 7, 3, 0);
    }

    #[test]
    fn windows_of_three_match_across_several_blocks_of_tiles() {
        assert_right([1, 3, 18, 4 * 64 + 9], 13, 3, 1);
        assert_right([1, 33, 66, 34], 6, 3, 1);
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
