//! Rotary position embedding over three axes: caption or frame, row, column.

use candle_core::{Device, Result, Tensor, bail};

use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::ops;

/// The angles of a sequence of positions, as cosines and sines: (rows, head_dim / 2) each, f32.
pub struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// Frequencies and angles are computed in f64 and then rounded to f32, as the reference does.
    pub fn new(
        config: &TransformerConfig,
        positions: &[[usize; 3]],
        device: &Device,
    ) -> Result<Rope> {
        let frequencies = config.axes_dims.map(|dim| frequencies(dim, config.rope_theta));
        let mut angles = Vec::with_capacity(positions.len() * config.head_dim() / 2);
        for position in positions {
            for axis in 0..3 {
                if position[axis] >= config.axes_lens[axis] {
                    bail!(
                        "position {position:?} is outside the model's axes_lens {:?}",
                        config.axes_lens
                    );
                }
                angles.extend(frequencies[axis].iter().map(|f| (position[axis] as f64 * f) as f32));
            }
        }
        let angles = Tensor::from_vec(angles, (positions.len(), ()), device)?;
        Ok(Rope { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Norms queries and keys (b, rows, heads, head_dim) by head, each with its weight, and rotates
    /// them.
    pub fn norm_and_rotate(
        &self,
        heads: [Tensor; 2],
        weights: [&Tensor; 2],
        eps: f64,
    ) -> Result<[Tensor; 2]> {
        ops::norm_rope_i(heads, weights, [&self.cos, &self.sin], eps)
    }
}

/// Bytes of the cosines and sines of so many rows.
pub fn angles_bytes(config: &TransformerConfig, rows: usize) -> usize {
    2 * size_of::<f32>() * rows * config.head_dim() / 2
}

/// The positions of a caption's tokens, padding included: they lie on the first axis, from 1.
pub fn caption_positions(length: usize) -> Vec<[usize; 3]> {
    (1..=length).map(|position| [position, 0, 0]).collect()
}

/// `theta^(-2i / dim)`.
fn frequencies(dim: usize, theta: f64) -> Vec<f64> {
    (0..dim / 2).map(|i| theta.powf(-((2 * i) as f64 / dim as f64))).collect()
}
