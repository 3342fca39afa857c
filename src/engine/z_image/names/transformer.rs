//! Names of the transformer's tensors: the hub's, and ComfyUI's.

use super::{Meaning, numbered};

/// The groups of blocks.
const GROUPS: [&str; 3] = ["layers", "noise_refiner", "context_refiner"];

/// The tensors of a block, by the hub's names.
const OF_BLOCK: [&str; 15] = [
    "attention.to_q.weight",
    "attention.to_k.weight",
    "attention.to_v.weight",
    "attention.to_out.0.weight",
    "attention.norm_q.weight",
    "attention.norm_k.weight",
    "attention_norm1.weight",
    "attention_norm2.weight",
    "ffn_norm1.weight",
    "ffn_norm2.weight",
    "feed_forward.w1.weight",
    "feed_forward.w2.weight",
    "feed_forward.w3.weight",
    "adaLN_modulation.0.weight",
    "adaLN_modulation.0.bias",
];

/// Tensors of a block that ComfyUI calls otherwise, and the hub's names.
const COMFYUI: [(&str, &str); 3] = [
    ("attention.out.weight", "attention.to_out.0.weight"),
    ("attention.q_norm.weight", "attention.norm_q.weight"),
    ("attention.k_norm.weight", "attention.norm_k.weight"),
];

/// ComfyUI's queries, keys and values in one matrix.
const FUSED: &str = "attention.qkv.weight";

/// The tensors around the blocks.
const AROUND: [&str; 9] = [
    "cap_embedder.0.weight",
    "cap_embedder.1.weight",
    "cap_embedder.1.bias",
    "t_embedder.mlp.0.weight",
    "t_embedder.mlp.0.bias",
    "t_embedder.mlp.2.weight",
    "t_embedder.mlp.2.bias",
    "x_pad_token",
    "cap_pad_token",
];

/// What embeds and unembeds patches of two by two pixels. The hub's names say so.
const PATCHES: [(&str, &str, &[&str]); 2] = [
    ("x_embedder.", "all_x_embedder.2-1.", &["weight", "bias"]),
    (
        "final_layer.",
        "all_final_layer.2-1.",
        &["linear.weight", "linear.bias", "adaLN_modulation.1.weight", "adaLN_modulation.1.bias"],
    ),
];

/// A norm that the training code has and the model does not use.
const UNUSED: &str = "norm_final.weight";

pub(super) fn meaning(name: &str) -> Option<Meaning> {
    if let Some((group, number, rest)) = numbered(name).filter(|(group, ..)| GROUPS.contains(group))
    {
        let block = |rest: &str| format!("{group}.{number}.{rest}");
        if rest == FUSED {
            let names = ["to_q", "to_k", "to_v"].map(|to| block(&format!("attention.{to}.weight")));
            return Some(Meaning::Stacked(names));
        }
        let renamed = COMFYUI.iter().find(|(theirs, _)| *theirs == rest).map(|(_, ours)| *ours);
        let known = renamed.or_else(|| OF_BLOCK.into_iter().find(|known| *known == rest));
        return known.map(|rest| Meaning::Whole(block(rest)));
    }
    if name == UNUSED {
        return Some(Meaning::Unused);
    }
    let around = AROUND.contains(&name).then(|| name.to_owned());
    let patches = || {
        PATCHES.iter().find_map(|(theirs, ours, ends)| {
            let end = name.strip_prefix(ours).or_else(|| name.strip_prefix(theirs))?;
            ends.contains(&end).then(|| format!("{ours}{end}"))
        })
    };
    around.or_else(patches).map(Meaning::Whole)
}
