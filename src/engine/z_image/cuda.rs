//! What candle does not wrap: the card's properties and its default memory pool, which all tensors
//! come from.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::result::{device as driver_device, init, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool, CUresult};
use candle_core::{CudaDevice, Device, Result};

use crate::engine::MemoryReading;

/// The first compute capability with bf16 arithmetic.
const COMPUTE_CAPABILITY_MIN: (i32, i32) = (8, 0);

/// How many errors kept from drops are taken at most: each take gives one, and the device may keep
/// failing.
const STALE_ERRORS_MAX: usize = 16;

/// Whether the machine has a card, be it usable or not: a driver that cannot even look does not say
/// that there is none.
pub fn is_present() -> bool {
    match init().and_then(|()| driver_device::get_count()) {
        Ok(count) => count > 0,
        // The stub stands where no driver is installed.
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_STUB_LIBRARY)) => {
            false
        }
        Err(_) => true,
    }
}

/// Opens card `index`. Refuses cards that cannot compute in bf16.
pub fn open(index: u32) -> std::result::Result<Device, String> {
    let named = |error: candle_core::Error| format!("device cuda:{index}: {error}");
    let device = Device::new_cuda(index as usize).map_err(named)?;
    let context = device.as_cuda_device().map_err(named)?.cuda_stream().context().clone();
    let capability = context.compute_capability().w().map_err(named)?;
    if capability < COMPUTE_CAPABILITY_MIN {
        let (major, minor) = capability;
        return Err(format!(
            "device cuda:{index} has compute capability {major}.{minor}: Z-Image needs bf16, that is 8.0 or more"
        ));
    }
    // SAFETY: all tensors are of one stream, whose order is enough; the layers' copies in another
    // one have events of their own.
    unsafe { device.as_cuda_device().map_err(named)?.disable_event_tracking() };
    keep_freed_memory(device.as_cuda_device().map_err(named)?).map_err(named)?;
    Ok(device)
}

/// By default the pool gives all free memory back at each synchronisation, and maps it anew at the
/// next step. [`reclaim`] gives it back when it is needed.
fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    let mut all = u64::MAX;
    let value = (&raw mut all).cast::<c_void>();
    // SAFETY: the pool is the device's default one, which lives as long as the device; the
    // attribute is a 64-bit number.
    unsafe {
        mem_pool::set_attribute(
            pool(device)?,
            CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            value,
        )
    }
    .w()
}

/// The card's name.
pub fn describe(device: &CudaDevice) -> String {
    device
        .cuda_stream()
        .context()
        .name()
        .unwrap_or_else(|error| format!("a CUDA device without a name ({error})"))
}

/// What the pool has given out, now and at most, and what the card has.
pub fn reading(device: &CudaDevice) -> Result<MemoryReading> {
    let (free, total) = device.cuda_stream().context().mem_get_info().w()?;
    let pool = pool(device)?;
    let used_bytes = attribute(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    // What the pool keeps without using it is ours, though the driver does not call it free.
    let reserved_bytes =
        attribute(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    Ok(MemoryReading {
        used_bytes,
        peak_bytes: attribute(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
        free_bytes: Some(free as u64 + reserved_bytes.saturating_sub(used_bytes)),
        total_bytes: total as u64,
    })
}

/// Starts the pool's high-water mark at the present use.
pub fn reset_peak(device: &CudaDevice) -> Result<()> {
    let mut zero = 0_u64;
    let value = (&raw mut zero).cast::<c_void>();
    // SAFETY: the pool is the device's default one, which lives as long as the device; the
    // attribute is a 64-bit number.
    unsafe {
        mem_pool::set_attribute(
            pool(device)?,
            CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
            value,
        )
    }
    .w()
}

/// Takes the errors that dropped tensors left, waits for the device, and gives the pool's free
/// memory back to it.
pub fn reclaim(device: &CudaDevice) -> Result<()> {
    take_stale_errors(device)?;
    device.cuda_stream().synchronize().w()?;
    // SAFETY: the pool is the device's default one, which lives as long as the device.
    unsafe { mem_pool::trim_to(pool(device)?, 0) }.w()?;
    take_stale_errors(device)
}

/// An out-of-memory error is over with what caused it; any other one says that the device is
/// unusable.
fn take_stale_errors(device: &CudaDevice) -> Result<()> {
    for _ in 0..STALE_ERRORS_MAX {
        match device.cuda_stream().context().check_err() {
            Ok(()) => return Ok(()),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {}
            Err(error) => return Err(error).w(),
        }
    }
    candle_core::bail!("the device keeps reporting errors after an out-of-memory error")
}

fn pool(device: &CudaDevice) -> Result<CUmemoryPool> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: the handle is that of an open device.
    unsafe { driver_device::get_default_mem_pool(stream.context().cu_device()) }.w()
}

fn attribute(pool: CUmemoryPool, attribute: CUmemPool_attribute) -> Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the pool is a device's default one; the attributes asked for are 64-bit numbers.
    unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast::<c_void>()) }.w()?;
    Ok(bytes)
}
