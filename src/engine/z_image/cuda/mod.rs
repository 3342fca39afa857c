//! Everything that is done on an NVIDIA card beside the operators (see [`super::ops`]): opening
//! it, reading its memory, bringing layers to it, and telling its errors apart. In a build without
//! CUDA the file `no_cuda.rs` stands in the place of this folder.

mod bus;
mod error;
mod jumps;
mod libraries;
mod memory;
mod pinned;
mod ring;
mod staging;
mod stream;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::result::{device as driver_device, init};
use candle_core::cuda_backend::cudarc::driver::sys::CUresult::{
    CUDA_ERROR_NO_DEVICE, CUDA_ERROR_STUB_LIBRARY,
};
use candle_core::{CudaDevice, Device};

pub use self::bus::streamed_bytes_per_s;
pub use self::error::is_out_of_memory;
pub use self::memory::{reading, reclaim, reset_peak, used_bytes};
pub use self::ring::Ring;
pub use self::staging::carrier;

/// The first compute capability with bf16 arithmetic.
const COMPUTE_CAPABILITY_MIN: (i32, i32) = (8, 0);

/// Whether the machine has a card, usable or not; errors say why there is none that anybody could
/// see. A driver that fails to look for cards has not said that there is none: the answer is then
/// yes.
pub fn is_present() -> Result<(), &'static str> {
    libraries::open_driver()?;
    match init().and_then(|()| driver_device::get_count()) {
        // The toolkit has a library that stands in for the driver's where none is installed.
        Ok(0) | Err(DriverError(CUDA_ERROR_NO_DEVICE | CUDA_ERROR_STUB_LIBRARY)) => {
            Err("the driver finds no card")
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether CUDA's libraries are there. Errors say which is missing, and where it comes from.
pub fn check_libraries() -> Result<(), &'static str> {
    libraries::open_all()
}

/// Opens card `index`. Refuses cards that cannot compute in bf16.
pub fn open(index: u32) -> Result<Device, String> {
    libraries::open_all().map_err(|missing| format!("device cuda:{index}: {missing}"))?;
    let named = |error: candle_core::Error| format!("device cuda:{index}: {error}");
    let device = Device::new_cuda(index as usize).map_err(named)?;
    let context = device.as_cuda_device().map_err(named)?.cuda_stream().context().clone();
    let capability = context.compute_capability().w().map_err(named)?;
    if capability < COMPUTE_CAPABILITY_MIN {
        let (major, minor) = capability;
        return Err(format!(
            "device cuda:{index} has compute capability {major}.{minor}: Z-Image needs bf16, that \
             is 8.0 or more"
        ));
    }
    // SAFETY: all tensors are used in one stream, whose order is enough. The layers' copies run in
    // another stream, and have events of their own.
    unsafe { device.as_cuda_device().map_err(named)?.disable_event_tracking() };
    memory::keep_freed(device.as_cuda_device().map_err(named)?).map_err(named)?;
    Ok(device)
}

/// The card's name.
pub fn describe(device: &CudaDevice) -> String {
    device
        .cuda_stream()
        .context()
        .name()
        .unwrap_or_else(|error| format!("a CUDA device without a name ({error})"))
}
