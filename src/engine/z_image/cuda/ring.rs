//! Layers streamed to a card. The device has two layer buffers. While the layer in one of them
//! computes, the next layer is copied into the other one, in a stream of its own, from pinned host
//! memory. Layers that the host has no room to pin are read from the model's files each time.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{CudaDevice, Device, Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::pinned::{PinnedValues, copy};
use super::stream::{CopyStream, CudaEvent};
use crate::engine::z_image::geometry::STREAM_BUFFERS;
use crate::engine::z_image::host::{self, HostMemory};
use crate::engine::z_image::weights::{FlatLayout, StreamHandle, Weights};

/// The last layers of a stack, and what brings them to the device.
pub struct Ring<L> {
    weights: Weights,
    layout: FlatLayout,
    device: CudaDevice,
    /// The stream of the copies. The layers compute in the device's own stream.
    copies: CopyStream,
    /// The numbers of the streamed layers, which end the stack.
    layers: Range<usize>,
    /// Those that the host has room for, by number, each with its tensors one after the other.
    pinned: BTreeMap<usize, PinnedValues>,
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
            pinned: BTreeMap::new(),
            buffers,
        })
    }

    /// Streams exactly `layers`, which end the stack, and pins as many of them in host memory as it
    /// has room for. Those left out are the first ones.
    pub fn pin(&mut self, layers: Range<usize>) -> Result<()> {
        self.copies.synchronize()?;
        self.pinned.retain(|layer, _| layers.contains(layer));
        let missing = layers.clone().rev().filter(|layer| !self.pinned.contains_key(layer));
        let missing: Vec<usize> = missing.take(layers_with_room(&self.layout)).collect();
        let (weights, layout, device) = (&self.weights, &self.layout, &self.device);
        // Locking takes as long as reading, and neither has all threads busy.
        let read = missing
            .into_par_iter()
            .map(|layer| Ok((layer, pinned(&weights.prefixed(layer), layout, device)?)));
        for (layer, values) in read.collect::<Result<Vec<_>>>()? {
            self.pinned.extend(values.map(|values| (layer, values)));
        }
        if self.layers != layers {
            self.layers = layers;
            if let missing @ 1.. = self.layers.len() - self.pinned.len() {
                tracing::warn!(
                    "the host has no room for {missing} of the streamed layers: they are read at \
                     each step"
                );
            }
        }
        Ok(())
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
        buffer.computed.is_awaited_by(self.copies.handle())?;
        let layer = self.layers.start + layer;
        match self.pinned.get(&layer) {
            Some(pinned) => copy(pinned.get(), &buffer.values, &self.copies)?,
            None if self.layout.is_dense() => {
                let copies = StreamHandle(self.copies.handle().cast());
                let weights = self.weights.prefixed(layer);
                weights.carry_flat(&self.layout, &buffer.values, copies)?;
            }
            None => {
                // What is rounded on the host must outlive its copy.
                let mut values = vec![bf16::ZERO; self.layout.count];
                self.weights.prefixed(layer).read_flat(&self.layout, &mut values)?;
                copy(&values, &buffer.values, &self.copies)?;
                self.copies.synchronize()?;
            }
        }
        buffer.copied.record(self.copies.handle())
    }
}

/// How many layers the host can lock and still have what it needs.
fn layers_with_room(layout: &FlatLayout) -> usize {
    let layer_bytes = layout.count * size_of::<bf16>();
    let available_bytes = HostMemory::read().map_or(0, |host| host.available_bytes);
    (available_bytes.saturating_sub(host::RESERVE_BYTES) / layer_bytes.max(1) as u64) as usize
}

/// The layer with these weights, in the layout's order; `None` where the host does not lock it.
fn pinned(
    weights: &Weights,
    layout: &FlatLayout,
    device: &CudaDevice,
) -> Result<Option<PinnedValues>> {
    let Some(mut values) = PinnedValues::new(layout.count) else { return Ok(None) };
    weights.read_flat(layout, values.get_mut())?;
    Ok(values.lock(device)?.then_some(values))
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
}
