//! The memory of a card: its default memory pool, which all tensors come from. candle wraps none of
//! this.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::result::{device as driver_device, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool, CUresult};
use candle_core::{CudaDevice, Result};

use crate::engine::MemoryReading;

/// How many stale errors are taken at most: each call gives one, and the device may keep failing.
const STALE_ERRORS_MAX: usize = 16;

/// Has the pool keep the memory that tensors free. By default it gives all of it back to the device
/// at each synchronisation, and maps it anew at the next step. [`reclaim`] gives it back when
/// others need it.
pub(super) fn keep_freed(device: &CudaDevice) -> Result<()> {
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

/// What the pool has given to tensors now.
pub fn used_bytes(device: &CudaDevice) -> Result<u64> {
    attribute(pool(device)?, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
}

/// What the pool has given to tensors, now and at the most, and what the card has.
pub fn reading(device: &CudaDevice) -> Result<MemoryReading> {
    let (free, total) = device.cuda_stream().context().mem_get_info().w()?;
    let pool = pool(device)?;
    let used_bytes = attribute(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    // The driver does not call free what the pool has reserved and does not use, but it is free for
    // our tensors.
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
