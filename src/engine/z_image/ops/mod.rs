//! The model's arithmetic beyond matrix products: fused and threaded for f32 on a CPU, kernels of
//! our own for bf16 on a card, plain candle operations for every other device and type.

mod activation;
mod attention;
mod bf16;
#[cfg(test)]
mod check;
mod conv;
mod conv_shape;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod dispatch;
mod group_moments;
mod group_norm;
mod im2col;
mod int8;
mod matmul;
mod moments;
mod norm;
mod quantised;
mod residual;
mod rope;

pub use activation::{add, swiglu};
pub use attention::{attention, attention_bytes};
pub use bf16::{bf16_product, bf16_product_bytes, is_bf16_beside_f32, multiplies_bf16};
pub use conv::{conv_weight, conv2d, conv2d_bytes};
pub use conv_shape::Sliding;
pub use group_moments::GroupMoments;
pub use group_norm::{group_norm_silu, group_norm_silu_of_part};
pub use int8::{Int8Rows, int8_bytes, int8_rows_bytes, quantise as int8_quantise};
pub use norm::{layer_norm, rms_norm};
pub use quantised::{dequantise, quantise};
pub use residual::{add_norm, add_norm_and_norm};
pub use rope::{norm_rope_i, rope};
