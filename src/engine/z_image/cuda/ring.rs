//! Layers streamed to a card. The device has two layer buffers. While the layer in one of them
//! computes, the next layer is copied into the other one, in a stream of its own, from pinned host
//! memory. Layers that the host has no room to pin are read from the model's files each time.

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

use crate::engine::z_image::geometry::STREAM_BUFFERS;
use crate::engine::z_image::host::{self, HostMemory};
use crate::engine::z_image::weights::{FlatLayout, Weights};

/// Values of one piece, 8 MiB: a layer is copied in pieces, so that the small copies that kernels
/// need do not wait for a whole layer.
const CHUNK_VALUES: usize = 4 << 20;

/// The last layers of a stack, and what brings them to the device.
pub struct Ring<L> {
    weights: Weights,
    layout: FlatLayout,
    device: CudaDevice,
    /// The stream of the copies. The layers compute in the device's own stream.
    copies: CopyStream,
    /// The numbers of the streamed layers, which end the stack.
    layers: Range<usize>,
    /// The layers that the host has room for, which end `layers`.
    pinned: VecDeque<PinnedLayer>,
    buffers: Vec<LayerBuffer<L>>,
}

/// Room for one layer on the device.
struct LayerBuffer<L> {
    /// All tensors of the layer, one after the other: (values).
    values: Tensor,
    /// The layer, whose tensors are views into `values`: a copy changes its weights.
    layer: L,
    /// Happens when a copy into the buffer is done.
    copied: CudaEvent,
    /// Happens when the layer in the buffer has computed.
    computed: CudaEvent,
}

impl<L> Ring<L> {
    /// Allocates the buffers for layers of `weights`. No layer is streamed before [`Ring::pin`].
    pub fn new(weights: &Weights, build: &dyn Fn(&Weights) -> Result<L>) -> Result<Ring<L>> {
        let Device::Cuda(device) = weights.device() else {
            bail!("layers are streamed to a CUDA device only")
        };
        let layout = weights.prefixed(0).flat_layout();
        let buffers = (0..STREAM_BUFFERS)
            .map(|_| LayerBuffer::new(weights, &layout, build))
            .collect::<Result<_>>()?;
        // The buffers' zeros are written in the device's stream, and must not be written after the
        // first copy, which runs in another one.
        weights.device().synchronize()?;
        Ok(Ring {
            weights: weights.clone(),
            layout,
            device: device.clone(),
            copies: CopyStream::new()?,
            layers: 0..0,
            pinned: VecDeque::new(),
            buffers,
        })
    }

    /// Streams exactly `layers`, which end the stack, and pins as many of them in host memory as it
    /// has room for. Those left out are the first ones.
    pub fn pin(&mut self, layers: Range<usize>) -> Result<()> {
        self.copies.synchronize()?;
        while self.pinned.len() > layers.len() {
            self.pinned.pop_front();
        }
        while self.pinned.len() < layers.len() {
            let layer = layers.end - self.pinned.len() - 1;
            let Some(mut pinned) = PinnedLayer::new(self.layout.count) else { break };
            read(&self.weights.prefixed(layer), &self.layout, pinned.values_mut())?;
            self.pinned.push_front(pinned);
        }
        if self.layers != layers {
            self.layers = layers;
            if let missing @ 1.. = self.unpinned() {
                tracing::warn!(
                    "the host has no room for {missing} of the streamed layers: they are read at \
                     each step"
                );
            }
        }
        Ok(())
    }

    /// How many of the layers are read from the model's files each time.
    fn unpinned(&self) -> usize {
        self.layers.len() - self.pinned.len()
    }

    /// Begins the first copies, which go on while the resident layers compute.
    pub fn begin(&self) -> Result<()> {
        (0..STREAM_BUFFERS.min(self.layers.len())).try_for_each(|layer| self.copy(layer))
    }

    /// Hands `x` through the streamed layers in order, each with its number in the stack, after
    /// [`Ring::begin`].
    pub fn pass<X>(
        &self,
        mut x: X,
        mut through: impl FnMut(usize, &L, X) -> Result<X>,
    ) -> Result<X> {
        let compute = self.device.cuda_stream();
        for layer in 0..self.layers.len() {
            let buffer = &self.buffers[layer % STREAM_BUFFERS];
            buffer.copied.is_awaited_by(compute.cu_stream())?;
            x = through(self.layers.start + layer, &buffer.layer, x)?;
            buffer.computed.record(compute.cu_stream())?;
            if layer + STREAM_BUFFERS < self.layers.len() {
                self.copy(layer + STREAM_BUFFERS)?;
            }
        }
        Ok(x)
    }

    /// Copies streamed layer `layer` (from 0) into its buffer, once the layer that is there has
    /// computed.
    fn copy(&self, layer: usize) -> Result<()> {
        let buffer = &self.buffers[layer % STREAM_BUFFERS];
        buffer.computed.is_awaited_by(self.copies.0)?;
        match layer.checked_sub(self.unpinned()) {
            Some(pinned) => buffer.fill(self.pinned[pinned].values(), &self.copies)?,
            None => self.fill_unpinned(buffer, self.layers.start + layer)?,
        }
        buffer.copied.record(self.copies.0)
    }

    fn fill_unpinned(&self, buffer: &LayerBuffer<L>, layer: usize) -> Result<()> {
        let mut values = vec![bf16::ZERO; self.layout.count];
        read(&self.weights.prefixed(layer), &self.layout, &mut values)?;
        let filled = buffer.fill(&values, &self.copies);
        // The values must outlive their copies, also those that began before an error.
        self.copies.synchronize()?;
        filled
    }
}

impl<L> Drop for Ring<L> {
    fn drop(&mut self) {
        // Buffers and host memory must outlive the copies between them. An error of the device is
        // left to its next user.
        let _ = self.copies.synchronize();
    }
}

impl<L> LayerBuffer<L> {
    fn new(
        weights: &Weights,
        layout: &FlatLayout,
        build: &dyn Fn(&Weights) -> Result<L>,
    ) -> Result<LayerBuffer<L>> {
        let values = Tensor::zeros(layout.count, weights.dtype(), weights.device())?;
        let layer = build(&weights.in_flat(&values, layout))?;
        let copied = CudaEvent::new()?;
        let computed = CudaEvent::new()?;
        Ok(LayerBuffer { values, layer, copied, computed })
    }

    /// Begins a copy of `values` to the buffer in `copies`. The values must live until it is done.
    fn fill(&self, values: &[bf16], copies: &CopyStream) -> Result<()> {
        fill(&self.values, values, copies)
    }
}

/// Begins a copy of `values` to the tensor `to`, which has room for exactly these, in `copies`. Both
/// must live, and nobody else use the tensor, until it is done.
pub(super) fn fill(to: &Tensor, values: &[bf16], copies: &CopyStream) -> Result<()> {
    let (storage, layout) = to.storage_and_layout();
    let (Storage::Cuda(storage), 0) = (&*storage, layout.start_offset()) else {
        bail!("a layer buffer is on the device")
    };
    let slice = storage.as_cuda_slice::<bf16>()?;
    let stream = storage.device.cuda_stream();
    let (pointer, _guard) = slice.device_ptr(&stream);
    for (chunk, values) in values.chunks(CHUNK_VALUES).enumerate() {
        let to = pointer + (chunk * CHUNK_VALUES * size_of::<bf16>()) as u64;
        // SAFETY: the tensor has room for exactly these values, and both live until the caller has
        // waited for its copies. Nobody else uses the tensor meanwhile: a ring's copies wait for
        // the event after the kernels that read it.
        unsafe { result::memcpy_htod_async(to, values, copies.0) }.w()?;
    }
    Ok(())
}

/// One layer's tensors one after the other, in page-locked host memory.
pub(super) struct PinnedLayer {
    start: *mut bf16,
    count: usize,
}

impl PinnedLayer {
    /// `None` when the host has no room to spare: no other program can use locked pages.
    pub(super) fn new(count: usize) -> Option<PinnedLayer> {
        let bytes = count * size_of::<bf16>();
        if (bytes as u64) + host::RESERVE_BYTES > HostMemory::read()?.available_bytes {
            return None;
        }
        // SAFETY: plain memory is asked for; it is freed once, in drop.
        let start = unsafe { result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE) }.ok()?;
        Some(PinnedLayer { start: start.cast(), count })
    }

    pub(super) fn values(&self) -> &[bf16] {
        // SAFETY: the memory holds `count` values and any bits are a bf16.
        unsafe { std::slice::from_raw_parts(self.start, self.count) }
    }

    pub(super) fn values_mut(&mut self) -> &mut [bf16] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.count) }
    }
}

impl Drop for PinnedLayer {
    fn drop(&mut self) {
        // SAFETY: the memory came from `malloc_host`, and the ring has waited for the copies from
        // it.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

// SAFETY: the memory is the host's, and has one owner.
unsafe impl Send for PinnedLayer {}
// SAFETY: a shared layer is only read.
unsafe impl Sync for PinnedLayer {}

/// Reads a layer's tensors into `all`, in the layout's order.
fn read(weights: &Weights, layout: &FlatLayout, all: &mut [bf16]) -> Result<()> {
    for tensor in &layout.tensors {
        let values =
            weights.on_host(&tensor.name, &tensor.shape)?.flatten_all()?.to_vec1::<bf16>()?;
        all[tensor.offset..][..values.len()].copy_from_slice(&values);
    }
    Ok(())
}

/// A stream beside the one that candle computes in.
pub(super) struct CopyStream(CUstream);

impl CopyStream {
    pub(super) fn new() -> Result<CopyStream> {
        stream::create(stream::StreamKind::NonBlocking).w().map(CopyStream)
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream is ours and open.
        unsafe { stream::synchronize(self.0) }.w()
    }
}

impl Drop for CopyStream {
    fn drop(&mut self) {
        // SAFETY: the stream is ours. Work that is left in it is still done.
        let _ = unsafe { stream::destroy(self.0) };
    }
}

// SAFETY: it is a handle, which one thread uses at a time: all device work is done on one thread.
unsafe impl Send for CopyStream {}
// SAFETY: as above.
unsafe impl Sync for CopyStream {}

/// A point in a stream that another stream can wait for.
struct CudaEvent(CUevent);

impl CudaEvent {
    fn new() -> Result<CudaEvent> {
        event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).w().map(CudaEvent)
    }

    /// The event happens when all that `stream` has been given so far is done.
    fn record(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { event::record(self.0, stream) }.w()
    }

    /// What `stream` is given from now on begins after the event, or at once where none was
    /// recorded.
    fn is_awaited_by(&self, stream: CUstream) -> Result<()> {
        // SAFETY: both handles are open, in one context.
        unsafe { stream::wait_event(stream, self.0, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }.w()
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        // SAFETY: the event is ours. Streams that wait for it are not disturbed.
        let _ = unsafe { event::destroy(self.0) };
    }
}

// SAFETY: it is a handle, which one thread uses at a time: all device work is done on one thread.
unsafe impl Send for CudaEvent {}
// SAFETY: as above.
unsafe impl Sync for CudaEvent {}
