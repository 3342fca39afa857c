//! The fast path on a card: bf16 through the kernels of `kernels.cu`, one kernel for each operator
//! where candle would make a chain of passes through copies in f32. What an operator means is said
//! where it is offered, in [`super`].

mod conv;
mod elements;
mod groups;
mod rows;

use std::ops::Deref;

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DeviceRepr};
use candle_core::op::BackpropOp;
use candle_core::{
    CudaDevice, CudaStorage, DType, Result, Shape, Storage, StorageRef, Tensor, bail,
};
use half::bf16;

pub(super) use self::conv::conv2d;
pub(super) use self::elements::{gated_add, modulate, rope, swap, swiglu, upsample};
pub(super) use self::groups::{group_norm, moments};
pub(super) use self::rows::{layer_norm, rms_norm, softmax};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Threads of a block: whole warps, and at most so many.
const WARP: usize = 32;
const THREADS_MAX: usize = 256;

/// Whether `x` is what these paths are for: bf16 on a card.
pub(super) fn is_cuda_bf16(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == DType::BF16
}

/// Launches a kernel of [`PTX`] with so many blocks, each of so many threads, and these arguments:
/// what its comment asks of them must hold.
macro_rules! launch {
    ($device:expr, $kernel:literal, $blocks:expr, $threads:expr, $($argument:expr),+ $(,)?) => {{
        use candle_core::cuda_backend::WrapErr;
        use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
        let function = $device.get_or_load_custom_func($kernel, "zimaged", super::PTX)?;
        let blocks: [usize; 3] = $blocks;
        let [x, y, z] = blocks.map(|count| count as u32);
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: ($threads as u32, 1, 1), shared_mem_bytes: 0 };
        let mut arguments = function.builder();
        $(let argument = $argument; arguments.arg(&argument);)+
        // SAFETY: the kernel reads and writes within its arguments, whose sizes the caller gives
        // it.
        unsafe { arguments.launch(config) }.w()?;
    }};
}
use launch;

/// Threads for a row of so many values.
fn threads(row: usize) -> usize {
    row.next_multiple_of(WARP).min(THREADS_MAX)
}

/// A tensor's contiguous values on a card, while they are read.
struct Source<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl Source<'_> {
    fn of(x: &Tensor) -> Result<Source<'_>> {
        let (storage, layout) = x.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a kernel was given strided values")
        };
        Ok(Source { storage, start, end })
    }

    fn values<T: CudaDType + DeviceRepr>(&self) -> Result<CudaView<'_, T>> {
        let Storage::Cuda(storage) = self.storage.deref() else {
            bail!("a kernel was given values of another device")
        };
        Ok(storage.as_cuda_slice::<T>()?.slice(self.start..self.end))
    }

    fn bf16(&self) -> Result<CudaView<'_, bf16>> {
        self.values()
    }
}

/// A tensor of `shape` on the device of `x` that `fill` writes, all of it.
fn output<T: CudaDType + DeviceRepr>(
    x: &Tensor,
    shape: impl Into<Shape>,
    fill: impl FnOnce(&CudaDevice, &mut CudaSlice<T>) -> Result<()>,
) -> Result<Tensor> {
    let (device, shape) = (x.device().as_cuda_device()?, shape.into());
    // SAFETY: `fill` writes all values before anyone reads one.
    let mut out = unsafe { device.alloc::<T>(shape.elem_count())? };
    fill(device, &mut out)?;
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(out, device.clone()));
    Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
}
