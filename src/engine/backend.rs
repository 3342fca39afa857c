//! What computes, as far as types and memory depend on it.

use serde::{Deserialize, Serialize};

/// The kind of device that computes. It decides the type of the values, and what an operation
/// needs beside its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A processor, in f32; with `bf16` the matrices of transformer and text encoder stay in that.
    Cpu { threads: usize, bf16: bool },
    /// An NVIDIA card, in bf16.
    Cuda,
}

impl Backend {
    /// The processor, with as many threads as this process computes with.
    pub fn this_cpu(bf16: bool) -> Backend {
        Backend::Cpu { threads: rayon::current_num_threads(), bf16 }
    }

    /// Bytes of one value of an activation.
    pub fn element_bytes(self) -> usize {
        match self {
            Backend::Cpu { .. } => 4,
            Backend::Cuda => 2,
        }
    }

    /// Bytes of one value of a matrix of transformer or text encoder.
    pub fn matrix_bytes(self) -> usize {
        match self {
            Backend::Cpu { bf16: false, .. } => 4,
            Backend::Cpu { bf16: true, .. } | Backend::Cuda => 2,
        }
    }

    /// What a buffer of `bytes` in the host's memory takes of the device's: all of it on a
    /// processor, whose memory is the host's, and nothing on a card.
    pub fn host_buffer_bytes(self, bytes: usize) -> usize {
        match self {
            Backend::Cpu { .. } => bytes,
            Backend::Cuda => 0,
        }
    }
}
