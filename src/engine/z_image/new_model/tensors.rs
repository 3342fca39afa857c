//! Which tensors a model of some dimensions has: the hub's names, with their shapes.

use crate::engine::z_image::checkpoint::NewTensor;
use crate::engine::z_image::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::engine::z_image::geometry::{TIMESTEP_INNER, TIMESTEP_WAVES};

/// Tensors as they are listed.
#[derive(Default)]
struct List(Vec<NewTensor>);

impl List {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push(NewTensor { name, shape: shape.to_vec() });
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
    }

    /// A weight with a bias.
    fn biased(&mut self, name: &str, shape: &[usize]) {
        self.weight(name, shape);
        self.add(format!("{name}.bias"), &shape[..1]);
    }

    fn conv(&mut self, name: &str, [inputs, outputs]: [usize; 2], kernel: usize) {
        self.biased(name, &[outputs, inputs, kernel, kernel]);
    }

    fn resnet(&mut self, name: &str, [inputs, outputs]: [usize; 2]) {
        self.biased(&format!("{name}.norm1"), &[inputs]);
        self.conv(&format!("{name}.conv1"), [inputs, outputs], 3);
        self.biased(&format!("{name}.norm2"), &[outputs]);
        self.conv(&format!("{name}.conv2"), [outputs, outputs], 3);
        if inputs != outputs {
            self.conv(&format!("{name}.conv_shortcut"), [inputs, outputs], 1);
        }
    }
}

pub fn of_transformer(config: &TransformerConfig) -> Vec<NewTensor> {
    let mut list = List::default();
    let (dim, adaln, key) = (config.dim, config.adaln_dim(), config.patch_key());
    let patch_dim = config.patch() * config.patch() * config.in_channels;
    list.biased("t_embedder.mlp.0", &[TIMESTEP_INNER, TIMESTEP_WAVES]);
    list.biased("t_embedder.mlp.2", &[adaln, TIMESTEP_INNER]);
    list.weight("cap_embedder.0", &[config.cap_feat_dim]);
    list.biased("cap_embedder.1", &[dim, config.cap_feat_dim]);
    list.add("cap_pad_token".to_owned(), &[1, dim]);
    list.add("x_pad_token".to_owned(), &[1, dim]);
    list.biased(&format!("all_x_embedder.{key}"), &[dim, patch_dim]);
    list.biased(&format!("all_final_layer.{key}.adaLN_modulation.1"), &[dim, adaln]);
    list.biased(&format!("all_final_layer.{key}.linear"), &[patch_dim, dim]);
    let stacks = [
        ("context_refiner", config.n_refiner_layers, false),
        ("noise_refiner", config.n_refiner_layers, true),
        ("layers", config.n_layers, true),
    ];
    for (stack, blocks, is_modulated) in stacks {
        for block in 0..blocks {
            of_block(&mut list, config, &format!("{stack}.{block}"), is_modulated);
        }
    }
    list.0
}

fn of_block(list: &mut List, config: &TransformerConfig, name: &str, is_modulated: bool) {
    let (dim, hidden) = (config.dim, config.hidden_dim());
    for part in ["to_q", "to_k", "to_v", "to_out.0"] {
        list.weight(&format!("{name}.attention.{part}"), &[dim, dim]);
    }
    for part in ["norm_q", "norm_k"] {
        list.weight(&format!("{name}.attention.{part}"), &[config.head_dim()]);
    }
    for norm in ["attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"] {
        list.weight(&format!("{name}.{norm}"), &[dim]);
    }
    for (part, shape) in [("w1", [hidden, dim]), ("w2", [dim, hidden]), ("w3", [hidden, dim])] {
        list.weight(&format!("{name}.feed_forward.{part}"), &shape);
    }
    if is_modulated {
        list.biased(&format!("{name}.adaLN_modulation.0"), &[4 * dim, config.adaln_dim()]);
    }
}

/// The text encoder's embeddings of all tokens.
pub const EMBEDDINGS: &str = "embed_tokens.weight";

/// Those of the bare model, without its last norm, which nothing reads.
pub fn of_text_encoder(config: &TextEncoderConfig) -> Vec<NewTensor> {
    let mut list = List::default();
    let (width, inner, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let [queries, keys] =
        [config.num_attention_heads, config.num_key_value_heads].map(|heads| heads * head);
    list.add(EMBEDDINGS.to_owned(), &[config.vocab_size, width]);
    for layer in 0..config.num_hidden_layers {
        let of_layer: [(&str, &[usize]); 11] = [
            ("input_layernorm", &[width]),
            ("post_attention_layernorm", &[width]),
            ("self_attn.q_proj", &[queries, width]),
            ("self_attn.k_proj", &[keys, width]),
            ("self_attn.v_proj", &[keys, width]),
            ("self_attn.o_proj", &[width, queries]),
            ("self_attn.q_norm", &[head]),
            ("self_attn.k_norm", &[head]),
            ("mlp.gate_proj", &[inner, width]),
            ("mlp.up_proj", &[inner, width]),
            ("mlp.down_proj", &[width, inner]),
        ];
        for (name, shape) in of_layer {
            list.weight(&format!("layers.{layer}.{name}"), shape);
        }
    }
    list.0
}

/// What the names of the encoder's tensors begin with.
pub const ENCODER: &str = "encoder.";

pub fn of_vae(config: &VaeConfig) -> Vec<NewTensor> {
    let mut list = List::default();
    let channels = &config.block_out_channels;
    let deepest = channels.last().copied().unwrap_or(0);
    let widest = channels.first().copied().unwrap_or(0);
    let latent = config.latent_channels;
    list.conv("encoder.conv_in", [config.out_channels, widest], 3);
    // The mean and the spread of each channel.
    of_ends(&mut list, "encoder", deepest, [deepest, 2 * latent]);
    of_levels(&mut list, "encoder.down_blocks", channels, config.layers_per_block, "downsamplers");
    list.conv("decoder.conv_in", [latent, deepest], 3);
    of_ends(&mut list, "decoder", deepest, [widest, config.out_channels]);
    let channels = config.decoder_channels();
    let layers = config.layers_per_block + 1;
    of_levels(&mut list, "decoder.up_blocks", &channels, layers, "upsamplers");
    list.0
}

/// The middle, and what comes last.
fn of_ends(list: &mut List, name: &str, middle: usize, [inputs, outputs]: [usize; 2]) {
    for resnet in 0..2 {
        list.resnet(&format!("{name}.mid_block.resnets.{resnet}"), [middle, middle]);
    }
    let attention = format!("{name}.mid_block.attentions.0");
    list.biased(&format!("{attention}.group_norm"), &[middle]);
    for part in ["to_q", "to_k", "to_v", "to_out.0"] {
        list.biased(&format!("{attention}.{part}"), &[middle, middle]);
    }
    list.biased(&format!("{name}.conv_norm_out"), &[inputs]);
    list.conv(&format!("{name}.conv_out"), [inputs, outputs], 3);
}

/// Levels of so many channels, each but the last of which changes the size.
fn of_levels(list: &mut List, name: &str, channels: &[usize], layers: usize, resizers: &str) {
    let mut inputs = channels.first().copied().unwrap_or(0);
    for (level, &outputs) in channels.iter().enumerate() {
        for layer in 0..layers {
            list.resnet(&format!("{name}.{level}.resnets.{layer}"), [inputs, outputs]);
            inputs = outputs;
        }
        if level + 1 < channels.len() {
            list.conv(&format!("{name}.{level}.{resizers}.0.conv"), [outputs, outputs], 3);
        }
    }
}
