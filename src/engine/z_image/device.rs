//! Which device computes, and in which type.

use std::path::Path;

use candle_core::{DType, Device};

use super::cuda;
use crate::engine::{CardSigns, DeviceChoice, HAS_CUDA};

/// Opens the chosen device. Errors say why it cannot be used and what would be right.
pub fn open(choice: DeviceChoice) -> Result<Device, String> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda { index } => cuda::open(index),
        // A card that fails tonight may work in a minute: the CPU would take hours for each
        // picture.
        DeviceChoice::Auto if cuda::is_present() => cuda::open(0).map_err(|reason| {
            format!(
                "{reason}; to render on the processor all the same, set kind = \"cpu\" under \
                 [device]"
            )
        }),
        DeviceChoice::Auto => {
            if HAS_CUDA {
                let signs = CardSigns::look(Path::new("/"));
                tracing::warn!("the driver finds no card: rendering on the processor ({signs})");
            }
            Ok(Device::Cpu)
        }
    }
}

/// bf16 on CUDA (f16 overflows in this model), f32 on a CPU.
pub fn dtype(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

/// The device in words.
pub fn describe(device: &Device) -> String {
    match device {
        Device::Cuda(device) => cuda::describe(device),
        _ => format!("cpu, {} threads", rayon::current_num_threads()),
    }
}
