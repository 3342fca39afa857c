//! Which device computes, and in which type.

use std::path::Path;

use candle_core::{DType, Device, DeviceLocation};

use super::cuda;
use crate::engine::{Backend, CardSigns, DeviceChoice, HAS_CUDA};

/// Opens the chosen device. Errors say why it cannot be used and what would be right.
pub fn open(choice: DeviceChoice) -> Result<Device, String> {
    match choice {
        DeviceChoice::Cpu | DeviceChoice::CpuBf16 => Ok(Device::Cpu),
        DeviceChoice::Cuda { index } => cuda::open(index),
        DeviceChoice::Auto => match cuda::is_present() {
            // A card that fails tonight may work in a minute: the CPU would take hours for each
            // picture.
            Ok(()) => cuda::open(0).map_err(|reason| {
                format!(
                    "{reason}; to render on the processor all the same, set kind = \"cpu\" under \
                     [device]"
                )
            }),
            Err(reason) => {
                if HAS_CUDA {
                    let signs = CardSigns::look(Path::new("/"));
                    tracing::warn!("{}", signs.on_processor(reason));
                    if signs.first().is_none() {
                        tracing::info!("{}", CardSigns::looked_for());
                    }
                    tracing::debug!("{reason}; signs of a card: {signs}");
                }
                Ok(Device::Cpu)
            }
        },
    }
}

/// Whether a card could be opened: the driver and CUDA's libraries are there, and a card. None is
/// opened, so that no memory of it is taken.
pub fn check_card() -> Result<(), String> {
    cuda::is_present()?;
    Ok(cuda::check_libraries()?)
}

/// bf16 on CUDA (f16 overflows in this model), f32 on a CPU.
pub fn dtype(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

/// The number of the card; `None` of a processor.
pub fn card(device: &Device) -> Option<u32> {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => u32::try_from(gpu_id).ok(),
        _ => None,
    }
}

/// The device in words. A CPU that keeps matrices in bf16 is another one: it takes other times and
/// other memory.
pub fn describe(device: &Device, backend: Backend) -> String {
    match (device, backend) {
        (Device::Cuda(device), _) => cuda::describe(device),
        (_, Backend::Cpu { threads, bf16: true }) => format!("cpu in bf16, {threads} threads"),
        _ => format!("cpu, {} threads", rayon::current_num_threads()),
    }
}
