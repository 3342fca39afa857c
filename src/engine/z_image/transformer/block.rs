//! One block: attention and feed-forward, each between two norms, modulated by the timestep or not.

use candle_core::{D, Module, Result, Tensor};

use super::rope::Rope;
use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::memory::Memory;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

/// eps of the norms of queries and keys, which the configuration does not give.
const QK_NORM_EPS: f64 = 1e-5;

pub struct Block {
    attention: Attention,
    attention_norm1: Tensor,
    attention_norm2: Tensor,
    feed_forward: FeedForward,
    ffn_norm1: Tensor,
    ffn_norm2: Tensor,
    /// None in the context refiner.
    modulation: Option<Linear>,
    eps: f64,
}

impl Block {
    pub fn new(config: &TransformerConfig, modulated: bool, weights: &Weights) -> Result<Block> {
        let dim = config.dim;
        let modulation =
            modulated.then(|| weights.linear("adaLN_modulation.0", config.adaln_dim(), 4 * dim, true)).transpose()?;
        Ok(Block {
            attention: Attention::new(config, &weights.at("attention"))?,
            attention_norm1: weights.get("attention_norm1.weight", dim)?,
            attention_norm2: weights.get("attention_norm2.weight", dim)?,
            feed_forward: FeedForward::new(config, &weights.at("feed_forward"))?,
            ffn_norm1: weights.get("ffn_norm1.weight", dim)?,
            ffn_norm2: weights.get("ffn_norm2.weight", dim)?,
            modulation,
            eps: config.norm_eps,
        })
    }

    /// `x` (b, s, dim); `t` (b, adaln dim) where the block is modulated.
    pub fn forward(&self, x: &Tensor, rope: &Rope, t: Option<&Tensor>) -> Result<Tensor> {
        match (&self.modulation, t) {
            (Some(modulation), Some(t)) => self.modulated(x, rope, &Modulation::new(modulation, t)?),
            _ => self.plain(x, rope),
        }
    }

    fn modulated(&self, x: &Tensor, rope: &Rope, m: &Modulation) -> Result<Tensor> {
        let input = ops::modulate(&self.norm(x, &self.attention_norm1)?, &m.scale_msa)?;
        let output = self.norm(&self.attention.forward(&input, rope)?, &self.attention_norm2)?;
        let x = ops::gated_add(x, &output, &m.gate_msa)?;
        let input = ops::modulate(&self.norm(&x, &self.ffn_norm1)?, &m.scale_mlp)?;
        let output = self.norm(&self.feed_forward.forward(&input)?, &self.ffn_norm2)?;
        ops::gated_add(&x, &output, &m.gate_mlp)
    }

    fn plain(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let output = self.attention.forward(&self.norm(x, &self.attention_norm1)?, rope)?;
        let x = (x + self.norm(&output, &self.attention_norm2)?)?;
        let output = self.feed_forward.forward(&self.norm(&x, &self.ffn_norm1)?)?;
        &x + self.norm(&output, &self.ffn_norm2)?
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, weight, self.eps)
    }

    /// About the most that [`Block::forward`] allocates at once: in attention the normed input, queries, keys and
    /// values with the copies that norm and rotation make, and the scores; or the three inner rows of feed-forward;
    /// with the dense copy of one matrix where they are quantised.
    pub fn bytes(&self, batch: usize, rows: usize, memory: &Memory) -> usize {
        let dim = self.attention.heads * self.attention.head_dim;
        let element = self.ffn_norm1.dtype().size_in_bytes();
        let scores = memory.attention_bytes(batch, self.attention.heads, rows, rows);
        let attention = 7 * batch * rows * dim * element + scores + self.attention.to_q.scratch_bytes();
        let feed_forward = batch * rows * (2 * dim + 3 * self.feed_forward.hidden_dim) * element
            + self.feed_forward.w1.scratch_bytes();
        attention.max(feed_forward)
    }

    /// What the matrices of attention and feed-forward take on the device.
    pub fn matrix_bytes(&self) -> usize {
        let (a, f) = (&self.attention, &self.feed_forward);
        [&a.to_q, &a.to_k, &a.to_v, &a.to_out, &f.w1, &f.w2, &f.w3].map(Linear::weight_bytes).iter().sum()
    }
}

/// What the timestep does to a block, each (b, 1, dim).
struct Modulation {
    scale_msa: Tensor,
    gate_msa: Tensor,
    scale_mlp: Tensor,
    gate_mlp: Tensor,
}

impl Modulation {
    /// Scales are 1 + s, gates tanh; no SiLU before the linear layer.
    fn new(linear: &Linear, t: &Tensor) -> Result<Modulation> {
        let chunks = linear.forward(t)?.unsqueeze(1)?.chunk(4, D::Minus1)?;
        Ok(Modulation {
            scale_msa: (&chunks[0] + 1.0)?,
            gate_msa: chunks[1].tanh()?,
            scale_mlp: (&chunks[2] + 1.0)?,
            gate_mlp: chunks[3].tanh()?,
        })
    }
}

struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    norm_q: Tensor,
    norm_k: Tensor,
    heads: usize,
    head_dim: usize,
}

impl Attention {
    fn new(config: &TransformerConfig, weights: &Weights) -> Result<Attention> {
        let (dim, head_dim) = (config.dim, config.head_dim());
        let linear = |name| weights.linear(name, dim, dim, false);
        Ok(Attention {
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
            norm_q: weights.get("norm_q.weight", head_dim)?,
            norm_k: weights.get("norm_k.weight", head_dim)?,
            heads: config.n_heads,
            head_dim,
        })
    }

    fn forward(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((b, s, self.heads, self.head_dim));
        let rotated = |x: Tensor, norm| rope.rotate(&ops::rms_norm(&heads(x)?, norm, QK_NORM_EPS)?);
        let q = rotated(self.to_q.forward(x)?, &self.norm_q)?;
        let k = rotated(self.to_k.forward(x)?, &self.norm_k)?;
        let v = heads(self.to_v.forward(x)?)?;
        let scale = (self.head_dim as f64).powf(-0.5);
        self.to_out.forward(&ops::attention(&q, &k, &v, scale, false)?.flatten_from(2)?)
    }
}

/// SwiGLU: `w2(silu(w1 x) * w3 x)`.
struct FeedForward {
    w1: Linear,
    w2: Linear,
    w3: Linear,
    hidden_dim: usize,
}

impl FeedForward {
    fn new(config: &TransformerConfig, weights: &Weights) -> Result<FeedForward> {
        let (dim, hidden_dim) = (config.dim, config.hidden_dim());
        Ok(FeedForward {
            w1: weights.linear("w1", dim, hidden_dim, false)?,
            w2: weights.linear("w2", hidden_dim, dim, false)?,
            w3: weights.linear("w3", dim, hidden_dim, false)?,
            hidden_dim,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.w2.forward(&ops::swiglu(&self.w1.forward(x)?, &self.w3.forward(x)?)?)
    }
}
