//! Qwen3 up to the input of its last layer: `hidden_states[-2]`, without the final norm.

use candle_core::{DType, Device, Module, Result, Tensor};

use super::config::TextEncoderConfig;
use super::linear::Linear;
use super::memory::Memory;
use super::ops;
use super::predict::text_layer_bytes;
use super::stack::Stack;
use super::weights::Weights;

/// The text encoder. Its last layer is not used: nothing would read its output.
pub struct TextEncoder {
    weights: Weights,
    /// What the file keeps its weights in.
    stored: DType,
    layers: Stack<Layer>,
    config: TextEncoderConfig,
    memory: Memory,
}

/// The embeddings of all tokens, (vocabulary, hidden). They stay on the host: a prompt uses few of
/// their rows.
const EMBEDDINGS: &str = "embed_tokens.weight";

impl TextEncoder {
    /// Takes the weights by their names in the hub's files, with the prefix `model.` or without. No
    /// layer stays in memory before [`TextEncoder::keep`].
    pub fn new(
        config: &TextEncoderConfig,
        weights: &Weights,
        memory: &Memory,
    ) -> Result<TextEncoder> {
        let bare = weights.contains(EMBEDDINGS);
        let weights = if bare { weights.clone() } else { weights.at("model") };
        let stored = weights.expect(EMBEDDINGS, (config.vocab_size, config.hidden_size));
        let of_layer = config.clone();
        let layers = Stack::new(
            config.num_hidden_layers - 1,
            &weights.at("layers"),
            memory,
            move |weights| Layer::new(&of_layer, weights),
        )?;
        Ok(TextEncoder { weights, stored, layers, config: config.clone(), memory: memory.clone() })
    }

    /// Keeps all layers in memory, or none: then each is read when a prompt is encoded.
    pub fn keep(&mut self, resident: bool) -> Result<()> {
        self.layers.keep(if resident { usize::MAX } else { 0 })
    }

    /// Token ids to embeddings (tokens, hidden). Without padding: a causal mask lets no token see
    /// what follows it.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let rope = Rope::new(ids.len(), &self.config, self.stored, self.weights.device())?;
        let shape = (self.config.vocab_size, self.config.hidden_size);
        let x = self.weights.rows(EMBEDDINGS, ids, shape)?.unsqueeze(0)?;
        let x = self.layers.pass(x, |layer, x| {
            self.memory.require(text_layer_bytes(
                &self.config,
                self.memory.arithmetic(),
                ids.len(),
            ))?;
            layer.forward(x, &rope)
        });
        x?.squeeze(0)
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

    /// Takes `x` (1, s, hidden); what was read goes before the next is made.
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
    /// Computed in f32, but from frequencies rounded to the type that the file keeps its weights
    /// in, as the reference has them: they are part of the module, and it was cast whole.
    fn new(
        positions: usize,
        config: &TextEncoderConfig,
        stored: DType,
        device: &Device,
    ) -> Result<Rope> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| (1.0 / config.rope_theta.powf(i as f64 / half as f64)) as f32;
        let frequencies = Tensor::from_iter((0..half).map(frequency), device)?
            .to_dtype(stored)?
            .to_dtype(DType::F32)?;
        let positions = Tensor::from_iter((0..positions).map(|position| position as f32), device)?;
        let angles = positions.unsqueeze(1)?.broadcast_mul(&frequencies)?;
        Ok(Rope { cos: angles.cos()?, sin: angles.sin()? })
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        ops::rope(x, &self.cos, &self.sin)
    }
}
