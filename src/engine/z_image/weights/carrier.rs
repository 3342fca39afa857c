//! What brings values of files to a card. A card's folder has it, which stands above the weights.

use std::ffi::c_void;

use candle_core::{Result, Tensor};

use crate::engine::z_image::checkpoint::StoredTensor;

/// A stream of a card, by its driver's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHandle(pub *mut c_void);

/// Brings values of files to a card at the speed of the slower of files and bus.
pub trait Carrier: Send + Sync {
    /// Begins to copy all values of `tensor`, as bf16, to the tensor `to` of as many, in the stream
    /// `copies`, or in the one that the device computes in. Everything is read when this returns.
    fn carry(&self, tensor: &StoredTensor, to: &Tensor, copies: Option<StreamHandle>)
    -> Result<()>;
}
