//! Equal layers in a row. The first ones stay in the device's memory, the rest is brought there
//! each time it is used.

use candle_core::Result;

use super::cuda::Ring;
use super::device_memory::DeviceMemory;
use super::weights::Weights;

/// Makes a layer of its weights.
type Build<L> = Box<dyn Fn(&Weights) -> Result<L> + Send + Sync>;

/// Layers 0 to `count`, whose weights are named `0.`, `1.` and so on, alike in names and shapes.
pub struct Stack<L> {
    count: usize,
    weights: Weights,
    build: Build<L>,
    /// What one layer takes on the device.
    layer_bytes: usize,
    /// The first layers.
    resident: Vec<L>,
    /// What brings the other layers to a card while it computes.
    ring: Option<Ring<L>>,
    memory: DeviceMemory,
}

/// How the layers that are not resident come to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Each is read from the model's files when it is used.
    Read,
    /// On a card each is copied while the layer before it computes, from pinned host memory as far
    /// as the host has room. On a CPU, and where weights are quantised, they are read.
    Streamed,
}

impl<L> Stack<L> {
    /// A stack of which no layer is in memory yet. Tensors that are missing or have another shape
    /// in one layer than in the first are noted for [`Weights::finish`].
    pub fn new(
        count: usize,
        weights: &Weights,
        memory: &DeviceMemory,
        build: impl Fn(&Weights) -> Result<L> + Send + Sync + 'static,
    ) -> Result<Stack<L>> {
        build(&weights.prefixed(0))?;
        (1..count).for_each(|layer| weights.require_alike(0, layer));
        Ok(Stack {
            count,
            weights: weights.clone(),
            build: Box::new(build),
            layer_bytes: weights.prefixed(0).bytes(),
            resident: Vec::new(),
            ring: None,
            memory: memory.clone(),
        })
    }

    /// Has exactly the first `resident` layers in memory (all, where there are fewer): drops or
    /// loads those that differ.
    pub fn place_weights(&mut self, resident: usize, absent: Absent) -> Result<()> {
        let resident = resident.min(self.count);
        let streams =
            absent == Absent::Streamed && resident < self.count && self.weights.is_streamable();
        if !streams {
            // Its buffers make room for layers.
            self.ring = None;
        }
        self.resident.truncate(resident);
        while self.resident.len() < resident {
            let layer = self.read(self.resident.len())?;
            self.resident.push(layer);
        }
        if streams { self.stream() } else { Ok(()) }
    }

    fn stream(&mut self) -> Result<()> {
        let mut ring = match self.ring.take() {
            Some(ring) => ring,
            None => Ring::new(&self.weights, &*self.build)?,
        };
        ring.pin(self.resident.len()..self.count)?;
        self.ring = Some(ring);
        Ok(())
    }

    /// Hands `x` through all layers in order, each with its number from 0.
    pub fn pass<X>(
        &self,
        mut x: X,
        mut through: impl FnMut(usize, &L, X) -> Result<X>,
    ) -> Result<X> {
        if let Some(ring) = &self.ring {
            ring.begin()?;
        }
        for (number, layer) in self.resident.iter().enumerate() {
            x = through(number, layer, x)?;
        }
        if let Some(ring) = &self.ring {
            return ring.pass(x, through);
        }
        for layer in self.resident.len()..self.count {
            x = through(layer, &self.read(layer)?, x)?;
        }
        Ok(x)
    }

    fn read(&self, layer: usize) -> Result<L> {
        self.memory.require(self.layer_bytes)?;
        (self.build)(&self.weights.prefixed(layer))
    }
}
