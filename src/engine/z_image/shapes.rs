//! The dimensions of a model of which only the weights are there, told by their shapes.
//!
//! What no shape tells is the same in all models of the family: it is taken from Z-Image-Turbo's
//! published configuration.

use std::collections::BTreeMap;

use super::checkpoint::StoredTensor;
use super::config::{TextEncoderConfig, TransformerConfig, VaeConfig, turbo};

/// A part's tensors by their names.
pub type Tensors = BTreeMap<String, StoredTensor>;

/// Channels of the VAE are normalised in so many groups, as published, or in fewer where the
/// narrowest level would have less than two channels for each.
const GROUPS_MAX: usize = 32;

/// The tensor without which it is no Z-Image: Lumina, which has the same names, has no pad tokens.
const TRANSFORMER_SIGN: &str = "x_pad_token";
/// The text encoder's embeddings of all tokens.
const TEXT_ENCODER_SIGN: &str = "embed_tokens.weight";
/// The decoder's first convolution, of the latents.
const VAE_SIGN: &str = "decoder.conv_in.weight";

/// Side `nth` of the tensor `name`, of those that are more than one.
fn side(tensors: &Tensors, name: &str, nth: usize) -> Option<usize> {
    tensors.get(name)?.shape().iter().copied().filter(|&side| side > 1).nth(nth)
}

/// How many blocks `group.0.`, `group.1.` and so on there are.
fn blocks(tensors: &Tensors, group: &str) -> usize {
    let number = |name: &String| {
        name.strip_prefix(group)?.strip_prefix('.')?.split('.').next()?.parse::<usize>().ok()
    };
    tensors.keys().filter_map(number).max().map_or(0, |last| last + 1)
}

impl TransformerConfig {
    /// That of a transformer with these tensors; `None` where they are not all of one.
    pub fn of(tensors: &Tensors) -> Option<TransformerConfig> {
        tensors.get(TRANSFORMER_SIGN)?;
        let known = turbo().transformer;
        let patch_pixels = known.patch() * known.patch();
        let head_dim = side(tensors, "layers.0.attention.norm_q.weight", 0)?;
        let dim = side(tensors, "all_x_embedder.2-1.weight", 0)?;
        Some(TransformerConfig {
            in_channels: side(tensors, "all_x_embedder.2-1.weight", 1)? / patch_pixels,
            dim,
            n_layers: blocks(tensors, "layers"),
            n_refiner_layers: blocks(tensors, "noise_refiner"),
            n_heads: dim / head_dim,
            cap_feat_dim: side(tensors, "cap_embedder.1.weight", 1)?,
            // A quarter for the frame, the rest for rows and columns alike.
            axes_dims: [head_dim / 4, head_dim * 3 / 8, head_dim * 3 / 8],
            ..known
        })
    }
}

impl TextEncoderConfig {
    /// That of a text encoder with these tensors; `None` where they are not all of one.
    pub fn of(tensors: &Tensors) -> Option<TextEncoderConfig> {
        let head_dim = side(tensors, "layers.0.self_attn.q_norm.weight", 0)?;
        let rows = |name: &str| side(tensors, &format!("layers.0.{name}.weight"), 0);
        Some(TextEncoderConfig {
            vocab_size: side(tensors, TEXT_ENCODER_SIGN, 0)?,
            hidden_size: side(tensors, TEXT_ENCODER_SIGN, 1)?,
            intermediate_size: rows("mlp.gate_proj")?,
            num_hidden_layers: blocks(tensors, "layers"),
            num_attention_heads: rows("self_attn.q_proj")? / head_dim,
            num_key_value_heads: rows("self_attn.k_proj")? / head_dim,
            head_dim,
            ..turbo().text_encoder
        })
    }
}

impl VaeConfig {
    /// That of a VAE with these tensors; `None` where they are not all of one.
    pub fn of(tensors: &Tensors) -> Option<VaeConfig> {
        let levels = blocks(tensors, "decoder.up_blocks");
        let channels = |level: usize| {
            side(tensors, &format!("decoder.up_blocks.{level}.resnets.0.conv1.weight"), 0)
        };
        // The decoder's levels begin with the deepest.
        let block_out_channels: Vec<usize> =
            (0..levels).rev().map(channels).collect::<Option<_>>()?;
        let narrowest = *block_out_channels.iter().min()?;
        Some(VaeConfig {
            latent_channels: side(tensors, VAE_SIGN, 1)?,
            out_channels: side(tensors, "decoder.conv_out.weight", 0)?,
            layers_per_block: blocks(tensors, "decoder.up_blocks.0.resnets").checked_sub(1)?,
            norm_num_groups: GROUPS_MAX.min(narrowest / 2).max(1),
            block_out_channels,
            ..turbo().vae
        })
    }
}
