//! How fast a device is, in a short measurement with the engine's own operators.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Module, Result, Tensor};

use super::ops::{self, Int8Rows, Sliding};
use super::weights::Weights;
use super::{cuda, device};
use crate::engine::Backend;
use crate::planner::DeviceSpeed;

/// How long each of the few operations is repeated, after one run that does not count: all
/// together take less than two seconds.
const SLICE: Duration = Duration::from_millis(120);

/// No operation is repeated more often.
const RUNS_MAX: u32 = 10_000;

/// What is computed: large enough to fill the device, small enough to be over soon. Two sizes of a
/// product tell what each row costs from what the weights do, and two sizes of a convolution what
/// the products cost from the gathering.
struct Sizes {
    /// Rows, and both sides of the matrix.
    linear: ([usize; 2], usize),
    /// Rows, heads, and the width of one.
    attention: (usize, usize, usize),
    /// Channels, and the side of the picture.
    convolution: ([usize; 2], usize),
    /// Channels, and the side of the picture, of a norm: more than a cache holds.
    norm: (usize, usize),
    /// Values of weights that are read.
    values: usize,
}

const ON_A_CARD: Sizes = Sizes {
    linear: ([64, 4096], 4096),
    attention: (4096, 16, 128),
    convolution: ([32, 256], 256),
    norm: (128, 512),
    values: 32 << 20,
};

const ON_A_PROCESSOR: Sizes = Sizes {
    linear: ([32, 512], 256),
    attention: (1024, 4, 128),
    convolution: ([16, 64], 96),
    norm: (32, 256),
    values: 4 << 20,
};

/// Measures `device`, which is idle.
pub fn speed(device: &Device, backend: Backend) -> Result<DeviceSpeed> {
    let sizes = if device.is_cpu() { ON_A_PROCESSOR } else { ON_A_CARD };
    let read_bytes_per_s = read_bytes_per_s(device, &sizes)?;
    let linear = linear(device, backend, &sizes)?;
    let convolution = convolution(device, &sizes)?;
    Ok(DeviceSpeed {
        linear_per_s: 1.0 / linear.slope,
        weights_per_s: 1.0 / linear.base,
        int8_per_s: int8_per_s(device, &sizes)?,
        attention_per_s: attention_per_s(device, &sizes)?,
        convolution_per_s: 1.0 / convolution.slope,
        gathered_per_s: 1.0 / convolution.base,
        moved_per_s: moved_per_s(device, &sizes)?,
        read_bytes_per_s,
        streamed_bytes_per_s: match device {
            Device::Cuda(card) => cuda::streamed_bytes_per_s(card)?,
            _ => read_bytes_per_s,
        },
    })
}

/// A cost that grows with something, from a base.
struct Cost {
    slope: f64,
    base: f64,
}

/// No base is less, so that it can be divided by.
const BASE_MIN: f64 = 1e-18;

impl Cost {
    /// Through what was measured at two sizes, the smaller one first. Noise must not make a part of
    /// it vanish: the slope is at least a fifth of what the larger size alone would say.
    fn through([x1, x2]: [f64; 2], [y1, y2]: [f64; 2]) -> Cost {
        let whole = y2 / x2;
        let slope = ((y2 - y1) / (x2 - x1)).clamp(0.2 * whole, whole);
        Cost { slope, base: (y2 - slope * x2).max(BASE_MIN) }
    }
}

/// Seconds of a value of the weights: for each row, and whatever rows there are.
fn linear(device: &Device, backend: Backend, sizes: &Sizes) -> Result<Cost> {
    let (rows, side) = sizes.linear;
    let weights = match backend {
        Backend::Cpu { bf16: true, .. } => weights(device).with_bf16_matrices(),
        _ => weights(device),
    };
    let linear = weights.linear("linear", side, side, false)?;
    let of_rows = |rows: usize| -> Result<f64> {
        let x = values(device, &[1, rows, side])?;
        Ok(fastest_s(device, || linear.forward(&x))? / (side * side) as f64)
    };
    let seconds = [of_rows(rows[0])?, of_rows(rows[1])?];
    Ok(Cost::through(rows.map(|rows| rows as f64), seconds))
}

/// Rounding what is multiplied is part of it.
fn int8_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let ([_, rows], side) = sizes.linear;
    let weights = Int8Rows::of(&values(device, &[side, side])?)?;
    let x = values(device, &[rows, side])?;
    per_second(device, rows * side * side, || Int8Rows::of(&x)?.product(&weights))
}

fn attention_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let (rows, heads, width) = sizes.attention;
    let [q, k, v] = [(); 3].map(|()| values(device, &[1, rows, heads, width]));
    let (q, k, v) = (q?, k?, v?);
    per_second(device, 2 * rows * rows * heads * width, || {
        ops::attention(q.clone(), k.clone(), v.clone(), (width as f64).powf(-0.5), false)
    })
}

/// Seconds of a gathered value: for each channel that it goes into, and whatever channels there
/// are.
fn convolution(device: &Device, sizes: &Sizes) -> Result<Cost> {
    let (channels, side) = sizes.convolution;
    let of_channels = |channels: usize| -> Result<f64> {
        let weight = weights(device).get("weight", (channels, 3, 3, channels))?;
        let bias = weights(device).get("bias", channels)?;
        let x = values(device, &[1, side, side, channels])?;
        let run = || ops::conv2d(&x, &weight, &bias, Sliding::dense(1), None);
        Ok(fastest_s(device, run)? / (9 * channels * side * side) as f64)
    };
    let seconds = [of_channels(channels[0])?, of_channels(channels[1])?];
    Ok(Cost::through(channels.map(|channels| channels as f64), seconds))
}

fn moved_per_s(device: &Device, sizes: &Sizes) -> Result<f64> {
    let (channels, side) = sizes.norm;
    let weight = weights(device).get("weight", channels)?;
    let x = values(device, &[1, side, side, channels])?;
    per_second(device, channels * side * side, || {
        ops::group_norm_silu(&x, &weight, &weight, 4, 1e-6, true)
    })
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

/// How much is done in a second, where each `run` does `amount`.
fn per_second(device: &Device, amount: usize, run: impl Fn() -> Result<Tensor>) -> Result<f64> {
    Ok(amount as f64 / fastest_s(device, run)?)
}

/// How long the fastest run takes: other programs can only make one slower.
fn fastest_s(device: &Device, run: impl Fn() -> Result<Tensor>) -> Result<f64> {
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
    Ok(fastest.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sizes_tell_the_base_from_the_slope_and_noise_makes_neither_vanish() {
        let Cost { slope, base } = Cost::through([10.0, 100.0], [15.0, 105.0]);
        assert!((slope - 1.0).abs() < 1e-9 && (base - 5.0).abs() < 1e-9, "{slope} {base}");
        let Cost { slope, base } = Cost::through([10.0, 100.0], [5.0, 105.0]);
        assert!((slope - 1.05).abs() < 1e-9 && base <= 1e-9, "{slope} {base}");
        let Cost { slope, base } = Cost::through([10.0, 100.0], [120.0, 100.0]);
        assert!((slope - 0.2).abs() < 1e-9 && (base - 80.0).abs() < 1e-9, "{slope} {base}");
    }

    // newcomer 6
    #[test]
    fn a_processor_is_measured_within_two_seconds() {
        let start = Instant::now();
        let speed = speed(&Device::Cpu, Backend::this_cpu(false)).unwrap();
        assert!(speed.is_usable(), "{speed:?}");
        // Other tests share the processor: without them it takes half a second.
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}
