//! One block: attention and feed-forward, each between two norms, modulated by the timestep or not.

use candle_core::{D, Result, Tensor};

use super::rope::Rope;
use crate::engine::Backend;
use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::lora::Beside;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;
use crate::job::lora::LoraPeak;
use crate::ladder::Precision;

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

/// The most that [`Block::forward`] needs beside its input, for `batch` sequences of `rows` rows:
/// while it attends, or in the feed-forward, where the two inner activations and their product are
/// alive. Quantised matrices are made dense one at a time. While a module is changed, what `lora`
/// says is alive.
pub fn scratch_bytes(
    config: &TransformerConfig,
    backend: Backend,
    precision: Precision,
    (batch, rows): (usize, usize),
    lora: LoraPeak,
) -> usize {
    let activation = |width: usize| batch * rows * width * backend.element_bytes();
    let dense_copy = |values: usize| match precision {
        Precision::Full => 0,
        Precision::Q8 | Precision::Q4 => DENSE_COPY_BYTES * values,
    };
    let (dim, hidden) = (config.dim, config.hidden_dim());
    let heads = batch * config.n_heads;
    let scores = ops::attention_bytes(backend, heads, (rows, rows), config.head_dim(), false);
    // Queries, keys, values and the result, beside the scores or a matrix.
    let attention = activation(4 * dim) + scores.max(dense_copy(dim * dim));
    let product = activation(3 * hidden);
    let last_matrix = activation(dim + 2 * hidden) + dense_copy(dim * hidden);
    let matrices = DENSE_COPY_BYTES * lora.dense_values as usize;
    let lora = activation(lora.row_values as usize)
        .max(activation(lora.dense_row_values as usize) + matrices);
    attention.max(product).max(last_matrix).max(lora)
}

/// Bytes of each value of a dense copy: f32 on a CPU, f16 and then bf16 beside it on a card.
const DENSE_COPY_BYTES: usize = 4;

impl Block {
    pub fn new(config: &TransformerConfig, modulated: bool, weights: &Weights) -> Result<Block> {
        let dim = config.dim;
        let modulation = modulated
            .then(|| weights.linear("adaLN_modulation.0", config.adaln_dim(), 4 * dim, true))
            .transpose()?;
        Ok(Block {
            attention: Attention::new(config, &weights.prefixed("attention"))?,
            attention_norm1: weights.get("attention_norm1.weight", dim)?,
            attention_norm2: weights.get("attention_norm2.weight", dim)?,
            feed_forward: FeedForward::new(config, &weights.prefixed("feed_forward"))?,
            ffn_norm1: weights.get("ffn_norm1.weight", dim)?,
            ffn_norm2: weights.get("ffn_norm2.weight", dim)?,
            modulation,
            eps: config.norm_eps,
        })
    }

    /// `x` (b, s, dim) to the same shape; `t` (b, adaln dim) where the block is modulated, and what
    /// changes its modules. Takes `x` by value, so that it is freed when it has been read.
    pub fn forward(
        &self,
        x: Tensor,
        rope: &Rope,
        t: Option<&Tensor>,
        beside: Beside,
    ) -> Result<Tensor> {
        match (&self.modulation, t) {
            (Some(modulation), Some(t)) => {
                let modulation = Modulation::new(modulation, t, beside)?;
                self.modulated(x, rope, &modulation, beside)
            }
            _ => self.plain(x, rope, beside),
        }
    }

    // In both functions `x` and `y` are assigned again and again, so that each input is freed
    // before the next allocation.
    fn modulated(
        &self,
        mut x: Tensor,
        rope: &Rope,
        m: &Modulation,
        beside: Beside,
    ) -> Result<Tensor> {
        let mut y = ops::modulate(&self.norm(&x, &self.attention_norm1)?, &m.scale_msa)?;
        y = self.attention.forward(y, rope, beside)?;
        y = self.norm(&y, &self.attention_norm2)?;
        x = ops::gated_add(&x, &y, &m.gate_msa)?;
        y = self.norm(&x, &self.ffn_norm1)?;
        y = ops::modulate(&y, &m.scale_mlp)?;
        y = self.feed_forward.forward(y, beside)?;
        y = self.norm(&y, &self.ffn_norm2)?;
        ops::gated_add(&x, &y, &m.gate_mlp)
    }

    fn plain(&self, mut x: Tensor, rope: &Rope, beside: Beside) -> Result<Tensor> {
        let mut y = self.norm(&x, &self.attention_norm1)?;
        y = self.attention.forward(y, rope, beside)?;
        y = self.norm(&y, &self.attention_norm2)?;
        x = (x + y)?;
        y = self.feed_forward.forward(self.norm(&x, &self.ffn_norm1)?, beside)?;
        y = self.norm(&y, &self.ffn_norm2)?;
        x + y
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, weight, self.eps)
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
    fn new(linear: &Linear, t: &Tensor, beside: Beside) -> Result<Modulation> {
        let modulation = beside.forward("adaLN_modulation.0", linear, t)?;
        let chunks = modulation.unsqueeze(1)?.chunk(4, D::Minus1)?;
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

    fn forward(&self, x: Tensor, rope: &Rope, beside: Beside) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((b, s, self.heads, self.head_dim));
        let rotated = |name: &str, linear: &Linear, norm: &Tensor| {
            let mut y = heads(beside.forward(name, linear, &x)?)?;
            y = ops::rms_norm(&y, norm, QK_NORM_EPS)?;
            rope.rotate(&y)
        };
        let q = rotated("attention.to_q", &self.to_q, &self.norm_q)?;
        let k = rotated("attention.to_k", &self.to_k, &self.norm_k)?;
        let v = heads(beside.forward("attention.to_v", &self.to_v, &x)?)?;
        drop(x);
        let y = ops::attention(q, k, v, (self.head_dim as f64).powf(-0.5), false)?;
        beside.forward("attention.to_out.0", &self.to_out, &y.flatten_from(2)?)
    }
}

/// SwiGLU: `w2(silu(w1 x) * w3 x)`.
struct FeedForward {
    w1: Linear,
    w2: Linear,
    w3: Linear,
}

impl FeedForward {
    fn new(config: &TransformerConfig, weights: &Weights) -> Result<FeedForward> {
        let (dim, hidden_dim) = (config.dim, config.hidden_dim());
        Ok(FeedForward {
            w1: weights.linear("w1", dim, hidden_dim, false)?,
            w2: weights.linear("w2", hidden_dim, dim, false)?,
            w3: weights.linear("w3", dim, hidden_dim, false)?,
        })
    }

    fn forward(&self, x: Tensor, beside: Beside) -> Result<Tensor> {
        let gate = beside.forward("feed_forward.w1", &self.w1, &x)?;
        let up = beside.forward("feed_forward.w3", &self.w3, &x)?;
        drop(x);
        let inner = ops::swiglu(&gate, &up)?;
        drop((gate, up));
        beside.forward("feed_forward.w2", &self.w2, &inner)
    }
}
