//! Convolution and upsampling of the VAE.

use candle_core::{Device, Result, Tensor};

use super::cpu::{from_rows, is_cpu_f32, with_values};
use super::winograd;

/// Convolution with stride 1 of `x` (b, i, h, w) with `weight` (o, i, k, k), `bias` (o), zeros around.
///
/// Scratch on a CPU in f32: see [`winograd::convolve`] for k = 3; none for k = 1.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    let (outputs, _, kernel, _) = weight.dims4()?;
    if !is_cpu_f32(x) {
        return plain_conv2d(x, weight, bias, padding);
    }
    if kernel == 1 && padding == 0 {
        return pointwise(x, weight, bias);
    }
    if kernel != 3 {
        return plain_conv2d(x, weight, bias, padding);
    }
    let (batch, inputs, height, width) = x.dims4()?;
    let zeros;
    let bias = match bias {
        Some(bias) => bias,
        None => {
            zeros = Tensor::zeros(outputs, x.dtype(), x.device())?;
            &zeros
        }
    };
    let sizes = winograd::Sizes { batch, inputs, outputs, height, width, padding };
    with_values([&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?], |[x, weight, bias]| {
        let out = winograd::convolve(&sizes, x, weight, bias);
        Tensor::from_vec(out, (batch, outputs, sizes.out_height(), sizes.out_width()), &Device::Cpu)
    })
}

/// A convolution of single pixels is a matrix product over the channels.
fn pointwise(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (b, inputs, h, w) = x.dims4()?;
    let outputs = weight.dim(0)?;
    let weight = weight.reshape((1, outputs, inputs))?.broadcast_as((b, outputs, inputs))?;
    let y = weight.matmul(&x.reshape((b, inputs, h * w))?)?.reshape((b, outputs, h, w))?;
    add_bias(y, bias)
}

fn plain_conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    add_bias(x.conv2d(weight, padding, 1, 1, 1)?, bias)
}

fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Twice the height and width of `x` (b, c, h, w), each pixel repeated. No scratch.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
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
    }
}
