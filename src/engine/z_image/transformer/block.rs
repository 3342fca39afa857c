//! One block: attention and feed-forward, each between two norms. Where the timestep modulates a
//! block it does so through their weights.

use candle_core::{D, Result, Tensor, bail};

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
    feed_forward: FeedForward,
    /// As the weights are.
    norms: Norms,
    /// None in the context refiner.
    modulation: Option<Linear>,
    eps: f64,
}

/// The most that [`Block::forward`] needs beside its input, for `batch` sequences of `rows` rows:
/// while it attends, or in the feed-forward, where the two inner activations and their product are
/// alive. Quantised matrices are made dense one at a time, or what they multiply is rounded, too.
/// While a module is changed, what `lora` says is alive.
pub fn scratch_bytes(
    config: &TransformerConfig,
    backend: Backend,
    precision: Precision,
    (batch, rows): (usize, usize),
    lora: LoraPeak,
) -> usize {
    let activation = |width: usize| batch * rows * width * backend.element_bytes();
    let beside_product = |inputs: usize, outputs: usize| match precision {
        Precision::Full => ops::bf16_product_bytes(backend, batch * rows, inputs),
        Precision::Int8 => ops::int8_bytes(backend, batch * rows, inputs),
        Precision::Q8 | Precision::Q4 => DENSE_COPY_BYTES * inputs * outputs,
    };
    let (dim, hidden) = (config.dim, config.hidden_dim());
    let heads = batch * config.n_heads;
    let scores = ops::attention_bytes(backend, heads, (rows, rows), config.head_dim(), false);
    // Queries, keys, values and the result, beside the scores or a matrix; before that, what
    // queries and keys are of, and both before and after they are rotated.
    let attention = activation(4 * dim) + scores.max(beside_product(dim, dim)).max(activation(dim));
    let product = activation(3 * hidden);
    let last_matrix = activation(dim + 2 * hidden) + beside_product(hidden, dim);
    let matrices = DENSE_COPY_BYTES * lora.dense_values as usize;
    // Several layers multiply what was rounded once: it stays until the last of them is changed.
    let rounded = match precision {
        Precision::Int8 => ops::int8_rows_bytes(batch * rows, dim),
        Precision::Full | Precision::Q8 | Precision::Q4 => 0,
    };
    let lora = rounded
        + activation(lora.row_values as usize)
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
            feed_forward: FeedForward::new(config, &weights.prefixed("feed_forward"))?,
            norms: Norms {
                before_attention: weights.get("attention_norm1.weight", dim)?,
                after_attention: weights.get("attention_norm2.weight", dim)?,
                before_ffn: weights.get("ffn_norm1.weight", dim)?,
                after_ffn: weights.get("ffn_norm2.weight", dim)?,
            },
            modulation,
            eps: config.norm_eps,
        })
    }

    /// The norms as the weights have them, for a block that no timestep modulates.
    pub fn norms(&self) -> &Norms {
        &self.norms
    }

    /// The norms as times with the embeddings `t` (steps, adaln dim) modulate them: (steps, dim)
    /// each. Scales are 1 + s, gates tanh; no SiLU before the linear layer.
    pub fn norms_at(&self, t: &Tensor, beside: Beside) -> Result<Norms> {
        let Some(modulation) = &self.modulation else { bail!("no timestep modulates this block") };
        let modulation = beside.forward("adaLN_modulation.0", modulation, t)?;
        let chunks = modulation.chunk(4, D::Minus1)?;
        let scaled = |weight: &Tensor, s: &Tensor| (s + 1.0)?.broadcast_mul(weight);
        let gated = |weight: &Tensor, gate: &Tensor| gate.tanh()?.broadcast_mul(weight);
        Ok(Norms {
            before_attention: scaled(&self.norms.before_attention, &chunks[0])?,
            after_attention: gated(&self.norms.after_attention, &chunks[1])?,
            before_ffn: scaled(&self.norms.before_ffn, &chunks[2])?,
            after_ffn: gated(&self.norms.after_ffn, &chunks[3])?,
        })
    }

    /// `x` (b, s, dim) to the same shape, with norms of this block (dim) and what changes its
    /// modules. Takes `x` by value, so that it is freed when it has been read.
    ///
    /// `x` and `y` are assigned again and again, so that each input is freed before the next
    /// allocation.
    pub fn forward(
        &self,
        mut x: Tensor,
        rope: &Rope,
        norms: &Norms,
        beside: Beside,
    ) -> Result<Tensor> {
        let mut y = ops::rms_norm(&x, &norms.before_attention, self.eps)?;
        y = self.attention.forward(y, rope, beside)?;
        let weights = [&norms.after_attention, &norms.before_ffn];
        [x, y] = ops::add_norm_and_norm(&x, &y, weights, self.eps)?;
        y = self.feed_forward.forward(y, beside)?;
        ops::add_norm(&x, &y, &norms.after_ffn, self.eps)
    }
}

/// The weights of a block's four norms: (dim) each, or (steps, dim) for several times at once.
pub struct Norms {
    pub before_attention: Tensor,
    pub after_attention: Tensor,
    pub before_ffn: Tensor,
    pub after_ffn: Tensor,
}

impl Norms {
    /// Those of step `step` (from 0), of several.
    pub fn of_step(&self, step: usize) -> Result<Norms> {
        Ok(Norms {
            before_attention: self.before_attention.get(step)?,
            after_attention: self.after_attention.get(step)?,
            before_ffn: self.before_ffn.get(step)?,
            after_ffn: self.after_ffn.get(step)?,
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
        let by = [
            ("attention.to_q", &self.to_q),
            ("attention.to_k", &self.to_k),
            ("attention.to_v", &self.to_v),
        ];
        let mut multiplied = beside.multiplied(&x, &by);
        let mut of = |nth| multiplied.forward(nth)?.reshape((b, s, self.heads, self.head_dim));
        let unrotated = [of(0)?, of(1)?];
        let v = of(2)?;
        drop(multiplied);
        drop(x);
        let weights = [&self.norm_q, &self.norm_k];
        let [q, k] = rope.norm_and_rotate(unrotated, weights, QK_NORM_EPS)?;
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
        let by = [("feed_forward.w1", &self.w1), ("feed_forward.w3", &self.w3)];
        let mut multiplied = beside.multiplied(&x, &by);
        let gate = multiplied.forward(0)?;
        let up = multiplied.forward(1)?;
        drop(multiplied);
        drop(x);
        let inner = ops::swiglu(&gate, &up)?;
        drop((gate, up));
        beside.forward("feed_forward.w2", &self.w2, &inner)
    }
}
