//! How fast a device is, in a short measurement with the engine's own operators.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Module, Result, Tensor};

use super::ops::{self, Sliding};
use super::weights::Weights;
use super::{cuda, device};
use crate::planner::DeviceSpeed;

/// How long each of the few operations is repeated, after one run that does not count: all
/// together take less than two seconds.
const SLICE: Duration = Duration::from_millis(120);

/// No operation is repeated more often.
const RUNS_MAX: u32 = 10_000;

/// What is computed: large enough to fill the device, small enough to be over soon.
struct Sizes {
    /// Rows, and both sides of the matrix.
    linear: (usize, usize),
    /// Rows, heads, and the width of one.
    attention: (usize, usize, usize),
    /// Channels, and the side of the picture.
    convolution: (usize, usize),
    /// Values of weights that are read.
    values: usize,
}

const ON_A_CARD: Sizes = Sizes {
    linear: (4096, 4096),
    attention: (4096, 16, 128),
    convolution: (256, 256),
    values: 32 << 20,
};

const ON_A_PROCESSOR: Sizes = Sizes {
    linear: (512, 1024),
    attention: (1024, 4, 128),
    convolution: (64, 96),
    values: 4 << 20,
};

/// Measures `device`, which is idle.
pub fn speed(device: &Device) -> Result<DeviceSpeed> {
    let sizes = if device.is_cpu() { ON_A_PROCESSOR } else { ON_A_CARD };
    let read_bytes_per_s = read_bytes_per_s(device, &sizes)?;
    Ok(DeviceSpeed {
        linear_per_s: linear_per_s(device, &sizes)?,
        attention_per_s: attention_per_s(device, &sizes)?,
        convolution_per_s: convolution_per_s(device, &sizes)?,
        read_bytes_per_s,
        streamed_bytes_per_s: match device {
            Device::Cuda(card) => cuda::streamed_bytes_per_s(card)?,
            _ => read_bytes_per_s,
        },
    })
}

fn linear_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let (rows, side) = sizes.linear;
    let linear = weights(device).linear("linear", side, side, false)?;
    let x = values(device, &[1, rows, side])?;
    per_second(device, rows * side * side, || linear.forward(&x))
}

fn attention_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let (rows, heads, width) = sizes.attention;
    let [q, k, v] = [(); 3].map(|()| values(device, &[1, rows, heads, width]));
    let (q, k, v) = (q?, k?, v?);
    per_second(device, 2 * rows * rows * heads * width, || {
        ops::attention(q.clone(), k.clone(), v.clone(), (width as f64).powf(-0.5), false)
    })
}

fn convolution_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let (channels, side) = sizes.convolution;
    let weight = weights(device).get("weight", (channels, 3, 3, channels))?;
    let bias = weights(device).get("bias", channels)?;
    let x = values(device, &[1, side, side, channels])?;
    let products = 9 * channels * channels * side * side;
    per_second(device, products, || ops::conv2d(&x, &weight, &bias, Sliding::dense(1), None))
}

/// Weights come from the host's memory in bf16, and become what the device computes in.
fn read_bytes_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let stored = Tensor::zeros(sizes.values, DType::BF16, &Device::Cpu)?;
    let bytes = sizes.values * DType::BF16.size_in_bytes();
    per_second(device, bytes, || stored.to_device(device)?.to_dtype(device::dtype(device)))
}

fn weights(device: &Device) -> Weights {
    Weights::random(device::dtype(device), device)
}

fn values(device: &Device, shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0.0_f32, 1.0, shape, device)?.to_dtype(device::dtype(device))
}

/// How much is done in a second, where each `run` does `amount`: by the fastest run, because other
/// programs can only make one slower.
fn per_second(device: &Device, amount: usize, run: impl Fn() -> Result<Tensor>) -> Result<f64> {
    run()?;
    device.synchronize()?;
    let begin = Instant::now();
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS_MAX {
        let start = Instant::now();
        run()?;
        device.synchronize()?;
        fastest = fastest.min(start.elapsed());
        if begin.elapsed() >= SLICE {
            break;
        }
    }
    Ok(amount as f64 / fastest.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    // newcomer 6
    #[test]
    fn a_processor_is_measured_within_two_seconds() {
        let start = Instant::now();
        let speed = speed(&Device::Cpu).unwrap();
        assert!(speed.is_usable(), "{speed:?}");
        // Other tests share the processor: without them it takes half a second.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
