//! Element-wise operations of the transformer block.

use candle_core::{Result, Tensor};

/// `silu(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// `x * scale`: `x` (b, s, d), `scale` (b, 1, d).
pub fn modulate(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(scale)
}

/// `x + gate * y`: `x` and `y` (b, s, d), `gate` (b, 1, d).
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    x + y.broadcast_mul(gate)?
}
