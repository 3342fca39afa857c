//! For which tensors the operators of this folder are our own.

use candle_core::{DType, Tensor};

/// The widest row that a card's operators on rows take. Rows have multiples of so many values.
pub(super) const CARD_ROW_MAX: usize = 8192;
const CARD_ROW_MULTIPLE: usize = 8;

/// Whether our own operators take `x`: f32 on a CPU, or bf16 on a card. Every other device and type
/// takes plain candle operations.
pub(super) fn is_ours(x: &Tensor) -> bool {
    is_cpu_f32(x) || is_card_bf16(x)
}

/// As [`is_ours`], for operators on whole rows of `x`, its last dimension.
pub(super) fn has_our_rows(x: &Tensor) -> bool {
    is_cpu_f32(x) || has_card_rows(x)
}

/// Whether a card's operators on rows take `x`.
pub(super) fn has_card_rows(x: &Tensor) -> bool {
    let fits = |row: &usize| row.is_multiple_of(CARD_ROW_MULTIPLE) && *row <= CARD_ROW_MAX;
    is_card_bf16(x) && x.dims().last().is_some_and(fits)
}

/// The most channels that a card's operators on groups of them take.
const CARD_CHANNELS_MAX: usize = 2048;

/// As [`is_ours`], for operators on groups of the channels of `x`, its last dimension.
pub(super) fn has_our_channels(x: &Tensor) -> bool {
    let fits = x.dims().last().is_some_and(|channels| *channels <= CARD_CHANNELS_MAX);
    is_cpu_f32(x) || (fits && has_card_rows(x))
}

/// Whether `x` is f32 on the CPU.
pub(super) fn is_cpu_f32(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Whether `x` is bf16 on a card; never in a build that can use none.
pub(super) fn is_card_bf16(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == DType::BF16
}
