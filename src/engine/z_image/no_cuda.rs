//! What stands in the place of the folder `cuda` in a build without it: there is no card, and
//! whatever is to be done on one fails.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CudaDevice, Device, Error, Result};

use super::weights::{Carrier, Weights};
use crate::engine::MemoryReading;

pub fn is_present() -> std::result::Result<(), &'static str> {
    Err("this build has no CUDA")
}

pub fn check_libraries() -> std::result::Result<(), &'static str> {
    is_present()
}

pub fn open(index: u32) -> std::result::Result<Device, String> {
    Err(format!(
        "device cuda:{index}: this build has no CUDA (build it with --features cuda, or choose the \
         cpu)"
    ))
}

pub fn describe(_device: &CudaDevice) -> String {
    Error::NotCompiledWithCudaSupport.to_string()
}

pub fn carrier(_device: &Device) -> Result<Option<Arc<dyn Carrier>>> {
    Ok(None)
}

pub fn used_bytes(_device: &CudaDevice) -> Result<u64> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub fn reading(_device: &CudaDevice) -> Result<MemoryReading> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub fn reset_peak(_device: &CudaDevice) -> Result<()> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub fn reclaim(_device: &CudaDevice) -> Result<()> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub fn streamed_bytes_per_s(_device: &CudaDevice) -> Result<f64> {
    Err(Error::NotCompiledWithCudaSupport)
}

pub fn is_out_of_memory(_error: &(dyn StdError + 'static)) -> Option<bool> {
    None
}

pub use NoRing as Ring;

/// Layers are streamed to cards only: this type has no values.
pub struct NoRing<L> {
    never: Infallible,
    layers: PhantomData<L>,
}

impl<L> NoRing<L> {
    pub fn new(_weights: &Weights, _build: &dyn Fn(&Weights) -> Result<L>) -> Result<NoRing<L>> {
        Err(Error::NotCompiledWithCudaSupport)
    }

    pub fn pin(&mut self, _layers: Range<usize>) -> Result<()> {
        match self.never {}
    }

    pub fn begin(&self) -> Result<()> {
        match self.never {}
    }

    pub fn pass<X>(&self, _x: X, _through: impl FnMut(usize, &L, X) -> Result<X>) -> Result<X> {
        match self.never {}
    }
}
