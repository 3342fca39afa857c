//! Host memory that a card copies from by itself.

use std::ptr::null_mut;
use std::slice;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CU_MEMHOSTREGISTER_PORTABLE, cuMemHostRegister_v2, cuMemHostUnregister,
};
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, result};
use candle_core::{CudaDevice, Result, Storage, Tensor, bail};
use half::bf16;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::stream::CopyStream;
use crate::engine::z_image::host;

/// Values of one piece, 8 MiB: a layer is copied in pieces, so that the small copies that kernels
/// need do not wait for a whole layer.
const PIECE_VALUES: usize = 4 << 20;

/// Values in host memory, zeros at first. Copies from it to a card need not wait for the host once
/// it is locked.
///
/// The memory is plain, in large pages, and locked when it is filled: the threads that fill it then
/// take the faults of its pages, which the driver's own allocation takes one after the other.
pub(super) struct PinnedValues {
    start: *mut bf16,
    count: usize,
    is_locked: bool,
}

impl PinnedValues {
    /// Not locked yet. `None` when the system has no addresses left.
    pub(super) fn new(count: usize) -> Option<PinnedValues> {
        let bytes = count * size_of::<bf16>();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the kernel chooses a free place, and it is unmapped once, in drop.
        let start = unsafe { mmap_anonymous(null_mut(), bytes, access, flags) }.ok()?;
        let mut values = PinnedValues { start: start.cast(), count, is_locked: false };
        host::prefer_large_pages(values.get_mut());
        Some(values)
    }

    /// Locks the pages, in the context of `device`. False when the host has none to spare: no other
    /// program can use locked pages.
    pub(super) fn lock(&mut self, device: &CudaDevice) -> Result<bool> {
        device.cuda_stream().context().bind_to_thread().w()?;
        let bytes = self.count * size_of::<bf16>();
        // SAFETY: the memory is ours, and unlocked before it is unmapped.
        let locked =
            unsafe { cuMemHostRegister_v2(self.start.cast(), bytes, CU_MEMHOSTREGISTER_PORTABLE) };
        self.is_locked = locked.result().is_ok();
        Ok(self.is_locked)
    }

    pub(super) fn get(&self) -> &[bf16] {
        // SAFETY: the memory holds `count` values and any bits are a bf16.
        unsafe { slice::from_raw_parts(self.start, self.count) }
    }

    pub(super) fn get_mut(&mut self) -> &mut [bf16] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { slice::from_raw_parts_mut(self.start, self.count) }
    }
}

impl Drop for PinnedValues {
    fn drop(&mut self) {
        if self.is_locked {
            // SAFETY: the memory was locked once, and its owner has waited for the copies from it.
            let _ = unsafe { cuMemHostUnregister(self.start.cast()) };
        }
        // SAFETY: it is mapped, with this length.
        let _ = unsafe { munmap(self.start.cast(), self.count * size_of::<bf16>()) };
    }
}

// SAFETY: the memory is the host's, and has one owner.
unsafe impl Send for PinnedValues {}
// SAFETY: shared values are only read.
unsafe impl Sync for PinnedValues {}

/// Begins a copy of `values` to the tensor `to`, which has room for exactly these, in `copies`. Both
/// must live, and nobody else use the tensor, until it is done.
pub(super) fn copy(values: &[bf16], to: &Tensor, copies: &CopyStream) -> Result<()> {
    let start = address(to)?;
    for (piece, values) in values.chunks(PIECE_VALUES).enumerate() {
        let to = start + (piece * PIECE_VALUES * size_of::<bf16>()) as u64;
        // SAFETY: the tensor has room for exactly these values, and both live until the caller has
        // waited for its copies. Nobody else uses the tensor meanwhile.
        unsafe { result::memcpy_htod_async(to, values, copies.handle()) }.w()?;
    }
    Ok(())
}

/// Where the first value of the contiguous tensor `of` is on its device.
pub(super) fn address(of: &Tensor) -> Result<u64> {
    let (storage, layout) = of.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!("weights are copied to contiguous tensors of a card")
    };
    let slice = storage.as_cuda_slice::<bf16>()?;
    let stream = storage.device.cuda_stream();
    let (pointer, _guard) = slice.device_ptr(&stream);
    Ok(pointer + (start * size_of::<bf16>()) as u64)
}
