//! The memory of the device that computes: readings of it, and the limit that a render stays under.

use candle_core::{Context, Device, Result};

use super::cuda;
use super::host::HostMemory;
use crate::engine::{Backend, MemoryReading, meter};

/// The memory of one device. The parts of the model ask it for room before they compute.
#[derive(Clone, Debug)]
pub struct DeviceMemory {
    device: Device,
    limit_bytes: Option<u64>,
    /// Whether a CPU keeps matrices in bf16.
    bf16: bool,
    /// What the process had allocated when this was made.
    origin_bytes: u64,
}

/// The unit in which people are told of memory.
const MIB: u64 = 1 << 20;

/// The limit does not allow what is needed: the engine's own out-of-memory error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} MiB more are needed, {} of the {} MiB allowed are in use",
    needed_bytes.div_ceil(MIB), used_bytes.div_ceil(MIB), limit_bytes / MIB
)]
pub struct OverLimit {
    pub needed_bytes: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
}

impl DeviceMemory {
    /// The memory of `device`, of which `limit_bytes` may be used. On a CPU what the process has
    /// allocated so far does not count: beside a card it would not lie in the device's memory.
    pub fn new(device: &Device, limit_bytes: Option<u64>) -> DeviceMemory {
        if device.is_cpu() {
            meter::start();
        }
        let origin_bytes = meter::used_bytes();
        DeviceMemory { device: device.clone(), limit_bytes, bf16: false, origin_bytes }
    }

    /// The same, where a CPU keeps matrices in bf16.
    pub fn with_bf16(self, bf16: bool) -> DeviceMemory {
        DeviceMemory { bf16, ..self }
    }

    /// Fails with [`OverLimit`] when `needed_bytes` more would pass the limit.
    pub fn require(&self, needed_bytes: usize) -> Result<()> {
        let Some(limit_bytes) = self.limit_bytes else { return Ok(()) };
        let needed_bytes = needed_bytes as u64;
        let used_bytes = self.used_bytes()?;
        if used_bytes + needed_bytes <= limit_bytes {
            return Ok(());
        }
        Err(OverLimit { needed_bytes, used_bytes, limit_bytes })
            .context("the memory limit is reached")
    }

    /// As [`DeviceMemory::reading`] has it, without a look at what the machine or the card has
    /// free, which can take milliseconds: a step asks for each of its blocks.
    fn used_bytes(&self) -> Result<u64> {
        match &self.device {
            Device::Cuda(device) => cuda::used_bytes(device),
            _ => Ok(meter::used_bytes().saturating_sub(self.origin_bytes)),
        }
    }

    /// The device's memory now, whatever the limit. On a card `used_bytes` is what its pool has
    /// given to tensors; the driver's context and the libraries' workspaces come on top.
    pub fn reading(&self) -> Result<MemoryReading> {
        match &self.device {
            Device::Cuda(device) => cuda::reading(device),
            _ => Ok(self.heap_reading()),
        }
    }

    fn heap_reading(&self) -> MemoryReading {
        let since = |bytes: u64| bytes.saturating_sub(self.origin_bytes);
        let host = HostMemory::read();
        MemoryReading {
            used_bytes: since(meter::used_bytes()),
            peak_bytes: since(meter::peak_bytes()),
            free_bytes: host.map(|host| host.available_bytes),
            total_bytes: host.map_or(0, |host| host.total_bytes),
        }
    }

    /// Starts a new peak at the present use.
    pub fn reset_peak(&self) -> Result<()> {
        match &self.device {
            Device::Cuda(device) => cuda::reset_peak(device),
            _ => {
                meter::reset_peak();
                Ok(())
            }
        }
    }

    /// To be called after everything of a failed attempt was dropped. Waits for the device, gives
    /// freed memory back to it, and clears the errors that it kept. On a CPU there is nothing to
    /// do.
    pub fn reclaim(&self) -> Result<()> {
        match &self.device {
            Device::Cuda(device) => cuda::reclaim(device),
            _ => Ok(()),
        }
    }

    /// The backend of this device.
    pub fn backend(&self) -> Backend {
        if self.device.is_cpu() { Backend::this_cpu(self.bf16) } else { Backend::Cuda }
    }
}
