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
