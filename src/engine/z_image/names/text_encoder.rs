//! Names of the text encoder's tensors: transformers', and llama.cpp's.

use super::{Meaning, numbered};

/// The tensors of a layer: transformers' names, and llama.cpp's.
const OF_LAYER: [(&str, &str); 11] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];

const EMBEDDINGS: [&str; 2] = ["embed_tokens.weight", "token_embd.weight"];

/// The last norm and the output, which nothing reads here.
const UNUSED: [&str; 4] = ["norm.weight", "output_norm.weight", "lm_head.weight", "output.weight"];

pub(super) fn meaning(name: &str) -> Option<Meaning> {
    if EMBEDDINGS.contains(&name) {
        return Some(Meaning::Whole(EMBEDDINGS[0].to_owned()));
    }
    if UNUSED.contains(&name) {
        return Some(Meaning::Unused);
    }
    let (group, number, rest) = numbered(name)?;
    let rest = rest.strip_suffix(".weight")?;
    let known = OF_LAYER.iter().find(|(ours, theirs)| match group {
        "layers" => *ours == rest,
        "blk" => *theirs == rest,
        _ => false,
    });
    known.map(|(ours, _)| Meaning::Whole(format!("layers.{number}.{ours}.weight")))
}
