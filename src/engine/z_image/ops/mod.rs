//! The model's arithmetic beyond matrix products: fused and threaded for f32 on a CPU, plain candle operations for
//! every other device and type.

mod activation;
mod attention;
#[cfg(test)]
mod check;
mod conv;
mod cpu;
mod norm;
mod rope;
mod winograd;

pub use activation::{gated_add, modulate, swiglu};
pub use attention::attention;
pub use conv::{conv2d, upsample_nearest2};
pub use norm::{group_norm_silu, layer_norm, rms_norm};
pub use rope::{rope, rope_halves};
