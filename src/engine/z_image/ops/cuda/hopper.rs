//! What the kernels for compute capability 9.0 need of the host beside their own launches.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaFunction;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::{CudaDevice, Result};

/// Whether the card has the kernels' instructions, which no later one has either.
pub(super) fn is_for(device: &CudaDevice) -> Result<bool> {
    Ok(device.cuda_stream().context().compute_capability().w()? == (9, 0))
}

/// Asks that a block of `kernel` may have so many bytes of memory beside what the kernel names,
/// which can be more than a block has otherwise.
pub(super) fn ask_for_memory(kernel: &CudaFunction, bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let most_bytes = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    kernel.set_attribute(most_bytes, bytes as i32).w()
}
