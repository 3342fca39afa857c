//! For which tensors the operators of this folder are our own.

use candle_core::{DType, Tensor};

/// Whether our own operators take `x`: f32 on a CPU, or bf16 on a card. Every other device and type
/// takes plain candle operations.
pub(super) fn is_ours(x: &Tensor) -> bool {
    is_cpu_f32(x) || is_card_bf16(x)
}

/// Whether `x` is f32 on the CPU.
pub(super) fn is_cpu_f32(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Whether `x` is bf16 on a card; never in a build that can use none.
pub(super) fn is_card_bf16(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == DType::BF16
}
