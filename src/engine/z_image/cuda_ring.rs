//! Layers streamed to a card: two slots on the device, filled in turn from pinned host memory by a
//! stream of their own, while the layer in the other slot computes. What the host has no room for
//! is read from the model's files each time.

use std::collections::VecDeque;
use std::ops::Range;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::cuda_backend::cudarc::driver::result::{self, event, stream};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CU_MEMHOSTALLOC_PORTABLE, CUevent, CUevent_flags, CUevent_wait_flags, CUstream,
};
use candle_core::{CudaDevice, Device, Result, Storage, Tensor, bail};
use half::bf16;

use super::memory::{HOST_RESERVE_BYTES, machine_bytes};
use super::weights::{FlatLayout, FlatTensor, Weights};

/// How many layers the device holds: one computes, the next is on its way.
const SLOTS: usize = 2;

/// A layer is copied in pieces of 8 MiB: between them the small copies that go with kernels find
/// their way.
const CHUNK_VALUES: usize = 4 << 20;

/// The last layers of a stack, in host memory.
pub struct Ring<L> {
    weights: Weights,
    layout: FlatLayout,
    device: CudaDevice,
    /// The copies' own stream; the arithmetic goes on in the device's.
    copies: Stream,
    /// Those that are handed through, the last ones of the stack.
    layers: Range<usize>,
    /// Of the last of them, as many as the host has room for.
    hosts: VecDeque<Pinned>,
    slots: Vec<Slot<L>>,
}

/// Room for one layer on the device.
struct Slot<L> {
    /// All its tensors in one, (values).
    values: Tensor,
    /// Made once, of views into `values`: a new copy changes what it holds.
    layer: L,
    copied: Event,
    used: Event,
}

impl<L> Ring<L> {
    /// Makes the slots for layers of `weights`; [`Ring::hold`] says which.
    pub fn new(weights: &Weights, build: &dyn Fn(&Weights) -> Result<L>) -> Result<Ring<L>> {
        let Device::Cuda(device) = weights.device() else {
            bail!("layers are streamed to a CUDA device only")
        };
        let layout = weights.at(0).flat_layout();
        let slots =
            (0..SLOTS).map(|_| Slot::new(weights, &layout, build)).collect::<Result<_>>()?;
        // The slots' zeros are written in the device's stream: done before the other one writes
        // there.
        weights.device().synchronize()?;
        let (weights, device, copies) = (weights.clone(), device.clone(), Stream::new()?);
        Ok(Ring { weights, layout, device, copies, layers: 0..0, hosts: VecDeque::new(), slots })
    }

    /// Holds exactly `layers`, which end the stack, in host memory, the last ones first where it
    /// has no room for all: frees or pins what differs.
    pub fn hold(&mut self, layers: Range<usize>) -> Result<()> {
        self.copies.synchronize()?;
        while self.hosts.len() > layers.len() {
            self.hosts.pop_front();
        }
        while self.hosts.len() < layers.len() {
            let layer = layers.end - self.hosts.len() - 1;
            let Some(mut pinned) = Pinned::new(self.layout.count) else { break };
            read(&self.weights.at(layer), &self.layout, pinned.values_mut())?;
            self.hosts.push_front(pinned);
        }
        if self.layers != layers {
            self.layers = layers;
            if let missing @ 1.. = self.unpinned() {
                tracing::warn!(
                    "the host has no room for {missing} of the streamed layers: they are read at each step"
                );
            }
        }
        Ok(())
    }

    /// How many of the layers are read each time.
    fn unpinned(&self) -> usize {
        self.layers.len() - self.hosts.len()
    }

    /// Lets the first copies begin.
    pub fn begin(&self) -> Result<()> {
        (0..SLOTS.min(self.layers.len())).try_for_each(|layer| self.copy(layer))
    }

    /// Hands `x` through the layers in order, after [`Ring::begin`].
    pub fn pass<X>(&self, mut x: X, mut through: impl FnMut(&L, X) -> Result<X>) -> Result<X> {
        let compute = self.device.cuda_stream();
        for layer in 0..self.layers.len() {
            let slot = &self.slots[layer % SLOTS];
            slot.copied.is_awaited_by(compute.cu_stream())?;
            x = through(&slot.layer, x)?;
            slot.used.record(compute.cu_stream())?;
            if layer + SLOTS < self.layers.len() {
                self.copy(layer + SLOTS)?;
            }
        }
        Ok(x)
    }

    /// Copies a layer into its slot, once what was computed with the slot's last layer is done.
    fn copy(&self, layer: usize) -> Result<()> {
        let slot = &self.slots[layer % SLOTS];
        slot.used.is_awaited_by(self.copies.0)?;
        match layer.checked_sub(self.unpinned()) {
            Some(pinned) => slot.fill(self.hosts[pinned].values(), &self.copies)?,
            None => self.fill_unpinned(slot, self.layers.start + layer)?,
        }
        slot.copied.record(self.copies.0)
    }

    fn fill_unpinned(&self, slot: &Slot<L>, layer: usize) -> Result<()> {
        let mut values = vec![bf16::ZERO; self.layout.count];
        read(&self.weights.at(layer), &self.layout, &mut values)?;
        let filled = slot.fill(&values, &self.copies);
        // The values must outlive their copies, also those begun before an error.
        self.copies.synchronize()?;
        filled
    }
}

impl<L> Drop for Ring<L> {
    fn drop(&mut self) {
        // Slots and host memory must outlive the copies between them. An error is the device's, and
        // its next user's.
        let _ = self.copies.synchronize();
    }
}

impl<L> Slot<L> {
    fn new(
        weights: &Weights,
        layout: &FlatLayout,
        build: &dyn Fn(&Weights) -> Result<L>,
    ) -> Result<Slot<L>> {
        let values = Tensor::zeros(layout.count, weights.dtype(), weights.device())?;
        let layer = build(&weights.in_flat(&values, layout))?;
        Ok(Slot { values, layer, copied: Event::new()?, used: Event::new()? })
    }

    /// Begins a copy of `values` to the slot in `copies`; they must stay until it is done.
    fn fill(&self, values: &[bf16], copies: &Stream) -> Result<()> {
        let (storage, layout) = self.values.storage_and_layout();
        let (Storage::Cuda(storage), 0) = (&*storage, layout.start_offset()) else {
            bail!("a slot is on the device")
        };
        let slice = storage.as_cuda_slice::<bf16>()?;
        let stream = storage.device.cuda_stream();
        let (pointer, _guard) = slice.device_ptr(&stream);
        for (chunk, values) in values.chunks(CHUNK_VALUES).enumerate() {
            let to = pointer + (chunk * CHUNK_VALUES * size_of::<bf16>()) as u64;
            // SAFETY: the slot has room for exactly these values, both live until the ring has
            // waited for its copies, and nobody else writes there: kernels that read the slot were
            // waited for by an event.
            unsafe { result::memcpy_htod_async(to, values, copies.0) }.w()?;
        }
        Ok(())
    }
}

/// One layer's tensors one after the other, in page-locked host memory.
struct Pinned {
    start: *mut bf16,
    count: usize,
}

impl Pinned {
    /// `None` when the host has no room to spare: pages that are locked are nobody else's any more.
    fn new(count: usize) -> Option<Pinned> {
        let bytes = count * size_of::<bf16>();
        let (available_bytes, _) = machine_bytes()?;
        if (bytes as u64) + HOST_RESERVE_BYTES > available_bytes {
            return None;
        }
        // SAFETY: plain memory is asked for; it is freed once, in drop.
        let start = unsafe { result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE) }.ok()?;
        Some(Pinned { start: start.cast(), count })
    }

    fn values(&self) -> &[bf16] {
        // SAFETY: the memory holds `count` values and any bits are a bf16.
        unsafe { std::slice::from_raw_parts(self.start, self.count) }
    }

    fn values_mut(&mut self) -> &mut [bf16] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.count) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the memory came from `malloc_host`, and the ring has waited for the copies from
        // it.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

// SAFETY: host memory with one owner.
unsafe impl Send for Pinned {}
// SAFETY: read only, once it is filled.
unsafe impl Sync for Pinned {}

/// Reads a layer's tensors into `all`, in the layout's order.
fn read(weights: &Weights, layout: &FlatLayout, all: &mut [bf16]) -> Result<()> {
    for FlatTensor { name, shape, offset } in &layout.tensors {
        let values = weights.on_host(name, shape)?.flatten_all()?.to_vec1::<bf16>()?;
        all[*offset..][..values.len()].copy_from_slice(&values);
    }
    Ok(())
}

/// A stream that candle does not know of, so that it need not track which stream used which memory.
struct Stream(CUstream);

impl Stream {
    fn new() -> Result<Stream> {
        stream::create(stream::StreamKind::NonBlocking).w().map(Stream)
    }

    fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream is ours and open.
        unsafe { stream::synchronize(self.0) }.w()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is ours; work that is left in it goes on.
        let _ = unsafe { stream::destroy(self.0) };
    }
}

// SAFETY: a handle; all device work is done on one thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// A point in a stream that another stream can wait for.
struct Event(CUevent);

impl Event {
    fn new() -> Result<Event> {
        event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).w().map(Event)
    }

    fn record(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { event::record(self.0, stream) }.w()
    }

    /// What comes next in `stream` begins after the recorded point; at once, where none was
    /// recorded.
    fn is_awaited_by(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { stream::wait_event(stream, self.0, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }.w()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours; waits for it that are under way are not disturbed.
        let _ = unsafe { event::destroy(self.0) };
    }
}

// SAFETY: a handle; all device work is done on one thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}
