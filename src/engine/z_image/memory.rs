//! The memory of the device: readings, and the limit that a render stays under.

use candle_core::{Context, Device, Result};

use super::predict::Arithmetic;
use crate::engine::{MemoryReading, meter};

/// Of the host's memory, left to other programs and to the cache of the model's files when layers
/// are pinned.
pub const HOST_RESERVE_BYTES: u64 = 2 << 30;

/// The memory of one device. The parts of the model ask it for room before they compute.
#[derive(Clone, Debug)]
pub struct Memory {
    device: Device,
    limit_bytes: Option<u64>,
    origin_bytes: u64,
}

/// A limit would have been passed: the engine's own out-of-memory error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed_bytes} bytes more are needed, {used_bytes} of the {limit_bytes} allowed are in use"
)]
pub struct OverLimit {
    pub needed_bytes: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

impl Memory {
    /// The memory of `device`, of which `limit_bytes` may be used. On a CPU what the process has
    /// already taken for itself does not count: it would lie in no device's memory.
    pub fn new(device: &Device, limit_bytes: Option<u64>) -> Memory {
        Memory { device: device.clone(), limit_bytes, origin_bytes: meter::used_bytes() }
    }

    /// Fails with [`OverLimit`] when `needed_bytes` more would pass the limit.
    pub fn require(&self, needed_bytes: usize) -> Result<()> {
        let Some(limit_bytes) = self.limit_bytes else { return Ok(()) };
        let (needed_bytes, used_bytes) = (needed_bytes as u64, self.reading()?.used_bytes);
        if used_bytes + needed_bytes <= limit_bytes {
            return Ok(());
        }
        Err(OverLimit { needed_bytes, used_bytes, limit_bytes })
            .context("the memory limit is reached")
    }

    /// The device's memory now, whatever the limit. On CUDA `used_bytes` is what the pool has given
    /// out: context and library workspaces come on top.
    pub fn reading(&self) -> Result<MemoryReading> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::reading(device),
            _ => Ok(self.heap_reading()),
        }
    }

    fn heap_reading(&self) -> MemoryReading {
        let since = |bytes: u64| bytes.saturating_sub(self.origin_bytes);
        let (free_bytes, total_bytes) = machine_bytes().unzip();
        MemoryReading {
            used_bytes: since(meter::used_bytes()),
            peak_bytes: since(meter::peak_bytes()),
            free_bytes,
            total_bytes: total_bytes.unwrap_or(0),
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

    /// After everything of a failed attempt was dropped: waits for the device, gives freed memory
    /// back to it, and takes the errors that it kept. On a CPU freed memory is free.
    pub fn reclaim(&self) -> Result<()> {
        match &self.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::reclaim(device),
            _ => Ok(()),
        }
    }

    /// What predictions for this device go by.
    pub fn arithmetic(&self) -> Arithmetic {
        if self.device.is_cpu() { Arithmetic::here() } else { Arithmetic::Cuda }
    }
}

/// What the machine has available and in all, as the kernel says; `None` where it does not.
pub(super) fn machine_bytes() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes_of = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    Some((bytes_of("MemAvailable:")?, bytes_of("MemTotal:")?))
}
