//! Host memory that a card copies from by itself.

use std::ptr::null_mut;
use std::slice;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTREGISTER_PORTABLE, cuMemHostRegister_v2,
    cuMemHostUnregister,
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
    memory: Memory,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Plain,
    Locked,
    /// Locked, and allocated by the driver: where it locks no other.
    OfDriver,
}

impl PinnedValues {
    /// Not locked yet. `None` when the system has no addresses left.
    pub(super) fn new(count: usize) -> Option<PinnedValues> {
        let bytes = count * size_of::<bf16>();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the kernel chooses a free place, and it is unmapped once, in drop.
        let start = unsafe { mmap_anonymous(null_mut(), bytes, access, flags) }.ok()?;
        let mut values = PinnedValues { start: start.cast(), count, memory: Memory::Plain };
        host::prefer_large_pages(values.get_mut());
        Some(values)
    }

    /// Locks the pages, in the context of `device`. False when the host has none to spare: no other
    /// program can use locked pages.
    pub(super) fn lock(&mut self, device: &CudaDevice) -> Result<bool> {
        device.cuda_stream().context().bind_to_thread().w()?;
        let start = self.start.cast();
        // SAFETY: the memory is ours, and unlocked before it is unmapped.
        let locked =
            unsafe { cuMemHostRegister_v2(start, self.bytes(), CU_MEMHOSTREGISTER_PORTABLE) };
        if locked.result().is_ok() {
            self.memory = Memory::Locked;
            return Ok(true);
        }
        Ok(self.move_to_driver().is_some())
    }

    /// Not every system locks a program's own memory.
    fn move_to_driver(&mut self) -> Option<()> {
        // SAFETY: plain memory is asked for; it is freed once, in drop.
        let start = unsafe { result::malloc_host(self.bytes(), CU_MEMHOSTALLOC_PORTABLE) }.ok()?;
        let (start, memory) = (start.cast(), Memory::OfDriver);
        let mut moved = PinnedValues { start, count: self.count, memory };
        moved.get_mut().copy_from_slice(self.get());
        *self = moved;
        Some(())
    }

    fn bytes(&self) -> usize {
        self.count * size_of::<bf16>()
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
        let start = self.start.cast();
        // Its owner has waited for the copies from it.
        if self.memory == Memory::OfDriver {
            // SAFETY: the memory came from `malloc_host`.
            let _ = unsafe { result::free_host(start) };
            return;
        }
        if self.memory == Memory::Locked {
            // SAFETY: the memory was locked once.
            let _ = unsafe { cuMemHostUnregister(start) };
        }
        // SAFETY: it is mapped, with this length.
        let _ = unsafe { munmap(start, self.bytes()) };
    }
}

// SAFETY: the memory is the host's, and has one owner.
unsafe impl Send for PinnedValues {}
// SAFETY: shared values are only read.
unsafe impl Sync for PinnedValues {}

/// Begins a copy of `values` to the tensor `to`, which has room for exactly these, in `copies`.
/// Both must live, and nobody else use the tensor, until it is done.
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

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn memory_is_locked_with_what_is_in_it_whoever_has_to_allocate_it() {
        let device = open(0).expect("a card");
        let mut values = PinnedValues::new(5000).expect("addresses");
        values.get_mut()[4999] = bf16::ONE;
        assert!(values.lock(device.as_cuda_device().expect("a card")).expect("a card"));
        assert_eq!((values.get()[0], values.get()[4999]), (bf16::ZERO, bf16::ONE));
    }
}
