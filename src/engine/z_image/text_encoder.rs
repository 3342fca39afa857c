//! Qwen3 up to the input of its last layer: `hidden_states[-2]`, without the final norm.

use candle_core::{DType, Device, Module, Result, Tensor};

use super::config::TextEncoderConfig;
use super::device_memory::DeviceMemory;
use super::linear::Linear;
use super::ops;
use super::stack::{Absent, Stack};
use super::weights::Weights;
use crate::engine::Backend;

/// The text encoder. Its last layer is left out, because nothing reads its output.
pub struct TextEncoder {
    weights: Weights,
    /// The type that the weights were trained in.
    trained: DType,
    layers: Stack<Layer>,
    config: TextEncoderConfig,
    memory: DeviceMemory,
}

/// The embeddings of all tokens, (vocabulary, hidden). They stay on the host, because a prompt uses
/// few of their rows.
const EMBEDDINGS: &str = "embed_tokens.weight";

impl TextEncoder {
    /// Takes the weights by their names in the hub's files, without the prefix `model.`. No layer
    /// stays in memory before [`TextEncoder::place_weights`].
    pub fn new(
        config: &TextEncoderConfig,
        weights: &Weights,
        memory: &DeviceMemory,
    ) -> Result<TextEncoder> {
        weights.expect(EMBEDDINGS, (config.vocab_size, config.hidden_size));
        let trained = match config.trained() {
            Some("bfloat16") => DType::BF16,
            Some("float16") => DType::F16,
            Some("float32") => DType::F32,
            _ => weights.trained_dtype(EMBEDDINGS),
        };
        let of_layer = config.clone();
        let layers = Stack::new(
            config.num_hidden_layers - 1,
            &weights.prefixed("layers"),
            memory,
            move |weights| Layer::new(&of_layer, weights),
        )?;
        Ok(TextEncoder {
            weights: weights.clone(),
            trained,
            layers,
            config: config.clone(),
            memory: memory.clone(),
        })
    }

    /// Has all layers in memory, or none: then each is read when a prompt is encoded.
    pub fn place_weights(&mut self, resident: bool) -> Result<()> {
        self.layers.place_weights(if resident { usize::MAX } else { 0 }, Absent::Read)
    }

    /// Token ids to embeddings (tokens, hidden), for each of `prompts`. A layer that is not
    /// resident is read once for all of them. There is no padding: the causal mask lets no token
    /// see what follows it, so that padding would change nothing.
    pub fn encode_all(&self, prompts: &[&[u32]]) -> Result<Vec<Tensor>> {
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let rope = Rope::new(longest, &self.config, self.trained, self.weights.device())?;
        let shape = (self.config.vocab_size, self.config.hidden_size);
        let embedded = |ids: &&[u32]| self.weights.rows(EMBEDDINGS, ids, shape)?.unsqueeze(0);
        let all = prompts.iter().map(embedded).collect::<Result<Vec<Tensor>>>()?;
        let all = self.layers.pass(all, |_, layer, all| {
            all.into_iter().map(|x| self.through(layer, x, &rope)).collect()
        });
        all?.iter().map(|x| x.squeeze(0)).collect()
    }

    /// Hands `x` (1, s, hidden) through a layer.
    fn through(&self, layer: &Layer, x: Tensor, rope: &Rope) -> Result<Tensor> {
        let tokens = x.dim(1)?;
        self.memory.require(layer_scratch_bytes(&self.config, self.memory.backend(), tokens))?;
        layer.forward(x, &rope.of(tokens)?)
    }
}

/// The most that one layer needs beside its input: while queries are made, while it attends, or in
/// the feed-forward, where the two inner activations and their product are alive.
pub fn layer_scratch_bytes(config: &TextEncoderConfig, backend: Backend, tokens: usize) -> usize {
    let (heads, head_dim) = (config.num_attention_heads, config.head_dim);
    let (hidden, inner) = (config.hidden_size, heads * head_dim);
    let key_inner = config.num_key_value_heads * head_dim;
    let activation = |width: usize| tokens * width * backend.element_bytes();
    let queries = activation(hidden + 2 * inner);
    let scores = ops::attention_bytes(backend, heads, (tokens, tokens), head_dim, true);
    let attention = activation(2 * inner + 2 * key_inner) + scores;
    let feed_forward = activation(hidden + 3 * config.intermediate_size);
    queries.max(attention).max(feed_forward)
}

/// Bytes of the cosines and sines of so many positions.
pub fn angles_bytes(config: &TextEncoderConfig, tokens: usize) -> usize {
    2 * size_of::<f32>() * tokens * config.head_dim / 2
}

/// One decoder layer.
struct Layer {
    input_norm: Tensor,
    attention: Attention,
    post_attention_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    eps: f64,
}

impl Layer {
    fn new(config: &TextEncoderConfig, weights: &Weights) -> Result<Layer> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mlp = weights.prefixed("mlp");
        Ok(Layer {
            input_norm: weights.get("input_layernorm.weight", hidden)?,
            attention: Attention::new(config, &weights.prefixed("self_attn"))?,
            post_attention_norm: weights.get("post_attention_layernorm.weight", hidden)?,
            gate: mlp.linear("gate_proj", hidden, inner, false)?,
            up: mlp.linear("up_proj", hidden, inner, false)?,
            down: mlp.linear("down_proj", inner, hidden, false)?,
            eps: config.rms_norm_eps,
        })
    }

    /// `x` (1, s, hidden) to the same shape. `x` and `y` are assigned again and again, so that each
    /// input is freed before the next allocation.
    fn forward(&self, mut x: Tensor, rope: &Rope) -> Result<Tensor> {
        let mut y = self.attention.forward(ops::rms_norm(&x, &self.input_norm, self.eps)?, rope)?;
        x = (x + y)?;
        y = ops::rms_norm(&x, &self.post_attention_norm, self.eps)?;
        let (gate, up) = (self.gate.forward(&y)?, self.up.forward(&y)?);
        y = ops::swiglu(&gate, &up)?;
        drop((gate, up));
        x + self.down.forward(&y)?
    }
}

/// Causal attention with grouped queries. Queries and keys are normed per head.
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: Tensor,
    k_norm: Tensor,
    head_dim: usize,
    eps: f64,
}

impl Attention {
    fn new(config: &TextEncoderConfig, weights: &Weights) -> Result<Attention> {
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let inner = config.num_attention_heads * head_dim;
        let key_inner = config.num_key_value_heads * head_dim;
        Ok(Attention {
            q: weights.linear("q_proj", hidden, inner, false)?,
            k: weights.linear("k_proj", hidden, key_inner, false)?,
            v: weights.linear("v_proj", hidden, key_inner, false)?,
            out: weights.linear("o_proj", inner, hidden, false)?,
            q_norm: weights.get("q_norm.weight", head_dim)?,
            k_norm: weights.get("k_norm.weight", head_dim)?,
            head_dim,
            eps: config.rms_norm_eps,
        })
    }

    fn forward(&self, x: Tensor, rope: &Rope) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((b, s, (), self.head_dim));
        let rotated = |linear: &Linear, norm: &Tensor| {
            let mut y = heads(linear.forward(&x)?)?;
            y = ops::rms_norm(&y, norm, self.eps)?;
            rope.rotate(&y)
        };
        let (q, k) = (rotated(&self.q, &self.q_norm)?, rotated(&self.k, &self.k_norm)?);
        let v = heads(self.v.forward(&x)?)?;
        drop(x);
        let y = ops::attention(q, k, v, (self.head_dim as f64).powf(-0.5), true)?;
        self.out.forward(&y.flatten_from(2)?)
    }
}

/// The angles of every position.
struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// Computes in f32, but from frequencies that are rounded to the type that the weights were
    /// trained in, as in the reference: there they are part of the module, which was cast as a
    /// whole.
    fn new(
        positions: usize,
        config: &TextEncoderConfig,
        trained: DType,
        device: &Device,
    ) -> Result<Rope> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| (1.0 / config.rope_theta.powf(i as f64 / half as f64)) as f32;
        let frequencies = Tensor::from_iter((0..half).map(frequency), device)?
            .to_dtype(trained)?
            .to_dtype(DType::F32)?;
        let positions = Tensor::from_iter((0..positions).map(|position| position as f32), device)?;
        let angles = positions.unsqueeze(1)?.broadcast_mul(&frequencies)?;
        Ok(Rope { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Those of the first `positions`.
    fn of(&self, positions: usize) -> Result<Rope> {
        Ok(Rope { cos: self.cos.narrow(0, 0, positions)?, sin: self.sin.narrow(0, 0, positions)? })
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        ops::rope(x, &self.cos, &self.sin)
    }
}
