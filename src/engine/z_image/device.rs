//! Which device computes, and in which type.

use candle_core::{DType, Device};

use crate::engine::DeviceChoice;

/// Opens the chosen device. Errors say why it cannot be used and what would be right.
pub fn open(choice: DeviceChoice) -> Result<Device, String> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda { index } => open_cuda(index),
        // A card that fails tonight may work in a minute: the CPU would take hours for each
        // picture.
        DeviceChoice::Auto if has_card() => open_cuda(0).map_err(|reason| {
            format!("{reason}; to render on the processor all the same, set kind = \"cpu\" under [device]")
        }),
        DeviceChoice::Auto => Ok(Device::Cpu),
    }
}

/// Whether there is a card that this build could use.
#[cfg(feature = "cuda")]
fn has_card() -> bool {
    let is_present = super::cuda::is_present();
    if !is_present {
        tracing::warn!("there is no CUDA card: rendering on the processor");
    }
    is_present
}

#[cfg(not(feature = "cuda"))]
fn has_card() -> bool {
    false
}

#[cfg(feature = "cuda")]
fn open_cuda(index: u32) -> Result<Device, String> {
    super::cuda::open(index)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: u32) -> Result<Device, String> {
    Err(format!(
        "device cuda:{index}: this build has no CUDA (build it with --features cuda, or choose the cpu)"
    ))
}

/// bf16 on CUDA (f16 overflows in this model), f32 on a CPU.
pub fn dtype(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

/// The device in words.
pub fn describe(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::describe(device),
        _ => format!("cpu, {} threads", rayon::current_num_threads()),
    }
}
