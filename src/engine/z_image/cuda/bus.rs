//! How fast pinned host memory comes to a card: the bound of streamed layers.

use std::time::Instant;

use candle_core::{CudaDevice, DType, Device, Result, Tensor};
use half::bf16;

use super::pinned::{PinnedValues, copy};
use super::stream::CopyStream;

/// Values that are copied at once, 64 MiB: a part of a layer.
const VALUES: usize = 32 << 20;

/// How often they are copied.
const RUNS: u32 = 16;

/// Where the host has no memory to pin, layers are read from the files, at about this speed.
const UNPINNED_BYTES_PER_S: f64 = 4e9;

/// Bytes that come to `device` in a second.
pub fn streamed_bytes_per_s(device: &CudaDevice) -> Result<f64> {
    let Some(mut pinned) = PinnedValues::new(VALUES) else { return Ok(UNPINNED_BYTES_PER_S) };
    pinned.get_mut().fill(bf16::ZERO);
    if !pinned.lock(device)? {
        return Ok(UNPINNED_BYTES_PER_S);
    }
    let device = Device::Cuda(device.clone());
    let to = Tensor::zeros(VALUES, DType::BF16, &device)?;
    // The zeros are written in the device's own stream.
    device.synchronize()?;
    let copies = CopyStream::new()?;
    let start = Instant::now();
    let copied = (0..RUNS).try_for_each(|_| copy(pinned.get(), &to, &copies));
    // The values must outlive their copies, also those that began before an error.
    copies.synchronize()?;
    copied?;
    let bytes = VALUES * size_of::<bf16>();
    Ok(bytes as f64 * f64::from(RUNS) / start.elapsed().as_secs_f64())
}
