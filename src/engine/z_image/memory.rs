//! The memory of the device: readings, and the limit that a render stays under.

use candle_core::{Context, Device, Result};

use crate::engine::{MemoryReading, meter};

/// The memory of one device. The parts of the model ask it for room before they compute.
#[derive(Clone, Debug)]
pub struct Memory {
    device: Device,
    limit_bytes: Option<u64>,
}

/// The blocks of scores of [`super::ops::attention`]: on a CPU for each thread, elsewhere in all.
const THREAD_SCORE_BYTES: usize = 2 << 20;
const MIN_QUERIES: usize = 16;
const MAX_QUERIES: usize = 128;
const SCORE_BYTES_MAX: usize = 128 << 20;

/// A limit would have been passed: the engine's own out-of-memory error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed_bytes} bytes more are needed, {used_bytes} of the {limit_bytes} allowed are in use")]
pub struct OverLimit {
    pub needed_bytes: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

impl Memory {
    /// The memory of `device`, of which `limit_bytes` may be used.
    pub fn new(device: &Device, limit_bytes: Option<u64>) -> Memory {
        Memory { device: device.clone(), limit_bytes }
    }

    /// Fails with [`OverLimit`] when `needed_bytes` more would pass the limit.
    pub fn require(&self, needed_bytes: usize) -> Result<()> {
        let Some(limit_bytes) = self.limit_bytes else { return Ok(()) };
        let (needed_bytes, used_bytes) = (needed_bytes as u64, self.reading()?.used_bytes);
        if used_bytes + needed_bytes <= limit_bytes {
            return Ok(());
        }
        Err(OverLimit { needed_bytes, used_bytes, limit_bytes }).context("the memory limit is reached")
    }

    /// Memory now. On CUDA `used_bytes` is what the pool has given out: context and library workspaces come on top.
    pub fn reading(&self) -> Result<MemoryReading> {
        let mut reading = self.device_reading()?;
        if let Some(limit_bytes) = self.limit_bytes {
            reading.total_bytes = limit_bytes;
        }
        Ok(reading)
    }

    fn device_reading(&self) -> Result<MemoryReading> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::reading(device),
            _ => Ok(MemoryReading { used_bytes: meter::used_bytes(), peak_bytes: meter::peak_bytes(), total_bytes: 0 }),
        }
    }

    /// Starts a new peak at the present use.
    pub fn reset_peak(&self) -> Result<()> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::reset_peak(device),
            _ => {
                meter::reset_peak();
                Ok(())
            }
        }
    }

    /// After everything of a failed attempt was dropped: waits for the device, gives freed memory back to it, and
    /// takes the errors that it kept. On a CPU freed memory is free.
    pub fn reclaim(&self) -> Result<()> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::reclaim(device),
            _ => Ok(()),
        }
    }

    /// About what [`ops::attention`](super::ops::attention) allocates beside its result.
    pub fn attention_bytes(&self, batch: usize, heads: usize, queries: usize, keys: usize) -> usize {
        if self.device.is_cpu() {
            let block = (THREAD_SCORE_BYTES / (4 * keys)).clamp(MIN_QUERIES, MAX_QUERIES).min(queries);
            return rayon::current_num_threads() * 4 * block * keys;
        }
        // Scores, the weights made of them, and one more copy inside softmax.
        3 * (4 * batch * heads * queries * keys).min(SCORE_BYTES_MAX)
    }

    /// About what a 3x3 [`ops::conv2d`](super::ops::conv2d) of `pixels` allocates beside its result.
    pub fn conv_bytes(&self, pixels: usize, inputs: usize, outputs: usize, element_bytes: usize) -> usize {
        if self.device.is_cpu() {
            return 144 * inputs * outputs + rayon::current_num_threads() * 9216 * (inputs + outputs);
        }
        // Each pixel's window of inputs as a row.
        9 * pixels * inputs * element_bytes
    }
}
