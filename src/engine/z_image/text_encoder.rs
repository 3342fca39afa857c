//! Qwen3 up to the input of its last layer: `hidden_states[-2]`, without the final norm.

use candle_core::{DType, Device, Module, Result, Tensor};

use super::config::TextEncoderConfig;
use super::linear::Linear;
use super::memory::Memory;
use super::ops;
use super::weights::Weights;

/// The text encoder. Its last layer is not loaded: nothing would read it.
pub struct TextEncoder {
    /// (vocabulary, hidden), in the type of the file: only a prompt's rows are converted.
    embeddings: Tensor,
    layers: Vec<Layer>,
    config: TextEncoderConfig,
    dtype: DType,
    memory: Memory,
}

impl TextEncoder {
    /// Takes the weights by their names in the hub's files, with the prefix `model.` or without.
    pub fn new(config: &TextEncoderConfig, weights: &Weights, memory: &Memory) -> Result<TextEncoder> {
        let bare = weights.contains("embed_tokens.weight");
        let weights = if bare { weights.clone() } else { weights.at("model") };
        let shape = (config.vocab_size, config.hidden_size);
        let embeddings = weights.get_as_stored("embed_tokens.weight", shape)?;
        let layers = weights.at("layers");
        let layers =
            (0..config.num_hidden_layers - 1).map(|i| Layer::new(config, &layers.at(i))).collect::<Result<_>>()?;
        Ok(TextEncoder { embeddings, layers, config: config.clone(), dtype: weights.dtype(), memory: memory.clone() })
    }

    /// Token ids to embeddings (tokens, hidden). Without padding: a causal mask lets no token see what follows it.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let device = self.embeddings.device();
        let rope = Rope::new(ids.len(), &self.config, self.embeddings.dtype(), device)?;
        let ids = Tensor::new(ids, device)?;
        let mut x = self.embeddings.index_select(&ids, 0)?.to_dtype(self.dtype)?.unsqueeze(0)?;
        for layer in &self.layers {
            self.memory.require(self.layer_bytes(ids.elem_count()))?;
            x = layer.forward(&x, &rope)?;
        }
        x.squeeze(0)
    }

    /// About the most that one layer allocates at once, in attention or in feed-forward.
    fn layer_bytes(&self, tokens: usize) -> usize {
        let c = &self.config;
        let element = self.dtype.size_in_bytes();
        let heads = 3 * c.num_attention_heads + 4 * c.num_key_value_heads;
        let attention = tokens * heads * c.head_dim * element
            + self.memory.attention_bytes(1, c.num_attention_heads, tokens, tokens);
        let feed_forward = tokens * (2 * c.hidden_size + 3 * c.intermediate_size) * element;
        attention.max(feed_forward)
    }
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
        let mlp = weights.at("mlp");
        Ok(Layer {
            input_norm: weights.get("input_layernorm.weight", hidden)?,
            attention: Attention::new(config, &weights.at("self_attn"))?,
            post_attention_norm: weights.get("post_attention_layernorm.weight", hidden)?,
            gate: mlp.linear("gate_proj", hidden, inner, false)?,
            up: mlp.linear("up_proj", hidden, inner, false)?,
            down: mlp.linear("down_proj", inner, hidden, false)?,
            eps: config.rms_norm_eps,
        })
    }

    fn forward(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let x = (x + self.attention.forward(&ops::rms_norm(x, &self.input_norm, self.eps)?, rope)?)?;
        let normed = ops::rms_norm(&x, &self.post_attention_norm, self.eps)?;
        let inner = ops::swiglu(&self.gate.forward(&normed)?, &self.up.forward(&normed)?)?;
        x + self.down.forward(&inner)?
    }
}

/// Causal attention with grouped queries; queries and keys are normed per head.
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

    fn forward(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((b, s, (), self.head_dim));
        let rotated = |x: Tensor, norm: &Tensor| rope.rotate(&ops::rms_norm(&heads(x)?, norm, self.eps)?);
        let q = rotated(self.q.forward(x)?, &self.q_norm)?;
        let k = rotated(self.k.forward(x)?, &self.k_norm)?;
        let v = heads(self.v.forward(x)?)?;
        let scale = (self.head_dim as f64).powf(-0.5);
        self.out.forward(&ops::attention(&q, &k, &v, scale, true)?.flatten_from(2)?)
    }
}

/// The angles of every position.
struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// Computed in f32, but from frequencies rounded to the type that the file keeps its weights in, as the reference
    /// has them: they are part of the module, and it was cast whole.
    fn new(positions: usize, config: &TextEncoderConfig, stored: DType, device: &Device) -> Result<Rope> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| (1.0 / config.rope_theta.powf(i as f64 / half as f64)) as f32;
        let frequencies =
            Tensor::from_iter((0..half).map(frequency), device)?.to_dtype(stored)?.to_dtype(DType::F32)?;
        let positions = Tensor::from_iter((0..positions).map(|position| position as f32), device)?;
        let angles = positions.unsqueeze(1)?.broadcast_mul(&frequencies)?;
        Ok(Rope { cos: angles.cos()?, sin: angles.sin()? })
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        ops::rope_halves(x, &self.cos, &self.sin)
    }
}
