//! Equal layers in a row, of which the first ones stay in memory; the others are read each time
//! they are used.

use candle_core::Result;

#[cfg(feature = "cuda")]
use super::cuda_ring::Ring;
use super::memory::Memory;
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
    resident: Vec<L>,
    /// How the others come to a CUDA device while it computes.
    #[cfg(feature = "cuda")]
    ring: Option<Ring<L>>,
    memory: Memory,
}

impl<L> Stack<L> {
    /// None of the layers is in memory yet. That all of them are there and fit is noted for
    /// [`Weights::finish`].
    pub fn new(
        count: usize,
        weights: &Weights,
        memory: &Memory,
        build: impl Fn(&Weights) -> Result<L> + Send + Sync + 'static,
    ) -> Result<Stack<L>> {
        build(&weights.at(0))?;
        (1..count).for_each(|layer| weights.require_alike(0, layer));
        Ok(Stack {
            count,
            weights: weights.clone(),
            build: Box::new(build),
            layer_bytes: weights.at(0).bytes(),
            resident: Vec::new(),
            #[cfg(feature = "cuda")]
            ring: None,
            memory: memory.clone(),
        })
    }

    /// Keeps exactly the first `resident` layers in memory (all, where there are fewer): drops or
    /// loads what differs.
    pub fn keep(&mut self, resident: usize) -> Result<()> {
        let resident = resident.min(self.count);
        #[cfg(feature = "cuda")]
        if resident == self.count {
            self.ring = None;
        }
        self.resident.truncate(resident);
        while self.resident.len() < resident {
            let layer = self.read(self.resident.len())?;
            self.resident.push(layer);
        }
        Ok(())
    }

    /// Has the layers that do not stay copied to the device beside its arithmetic, from pinned host
    /// memory as far as the host has room. On a CPU there is nothing to hide: each is read when it
    /// is used.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "CUDA only")
    )]
    pub fn stream(&mut self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.resident.len() < self.count && self.weights.is_streamable() {
            let mut ring = match self.ring.take() {
                Some(ring) => ring,
                None => Ring::new(&self.weights, &*self.build)?,
            };
            ring.hold(self.resident.len()..self.count)?;
            self.ring = Some(ring);
        }
        Ok(())
    }

    /// Hands `x` through all layers in order.
    pub fn pass<X>(&self, mut x: X, mut through: impl FnMut(&L, X) -> Result<X>) -> Result<X> {
        #[cfg(feature = "cuda")]
        if let Some(ring) = &self.ring {
            ring.begin()?;
            for layer in &self.resident {
                x = through(layer, x)?;
            }
            return ring.pass(x, through);
        }
        for layer in &self.resident {
            x = through(layer, x)?;
        }
        for layer in self.resident.len()..self.count {
            x = through(&self.read(layer)?, x)?;
        }
        Ok(x)
    }

    fn read(&self, layer: usize) -> Result<L> {
        self.memory.require(self.layer_bytes)?;
        (self.build)(&self.weights.at(layer))
    }
}
