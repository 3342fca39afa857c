//! Names of the VAE's tensors: the hub's, and those of the files of Flux.

use super::{Meaning, numbered};

/// Layers outside of blocks: the hub's names, and Flux's.
const ENDS: [(&str, &str); 3] =
    [("conv_in", "conv_in"), ("conv_out", "conv_out"), ("conv_norm_out", "norm_out")];

/// Layers of a residual block.
const OF_BLOCK: [(&str, &str); 5] = [
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("conv1", "conv1"),
    ("conv2", "conv2"),
    ("conv_shortcut", "nin_shortcut"),
];

/// Layers of the attention in the middle.
const OF_ATTENTION: [(&str, &str); 5] =
    [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")];

/// How many levels the VAE has whose tensors are among `names`: in Flux's files they are counted
/// from the picture's side, in the hub's from the latents'.
pub(super) fn levels<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let level = |name: &str| {
        let (_, rest) = name.split_once("decoder.up.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    names.filter_map(level).max().map_or(0, |last| last.saturating_add(1))
}

/// The meaning of `name` where Flux's files have so many `levels`.
pub(super) fn meaning(name: &str, levels: usize) -> Option<Meaning> {
    let (side, rest) = name.split_once('.')?;
    if !["decoder", "encoder"].contains(&side) {
        return None;
    }
    let (layer, value) =
        rest.rsplit_once('.').filter(|(_, value)| ["weight", "bias"].contains(value))?;
    let known = end(layer).or_else(|| middle(layer)).or_else(|| level(layer, side, levels))?;
    Some(Meaning::Whole(format!("{side}.{known}.{value}")))
}

/// The hub's name in `table` of what either side calls `name`.
fn ours(table: &[(&'static str, &str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(ours, theirs)| *ours == name || *theirs == name).map(|(ours, _)| *ours)
}

fn end(layer: &str) -> Option<String> {
    ours(&ENDS, layer).map(str::to_owned)
}

fn middle(layer: &str) -> Option<String> {
    let attention = |rest| Some(format!("mid_block.attentions.0.{}", ours(&OF_ATTENTION, rest)?));
    let block =
        |nth: usize, rest| Some(format!("mid_block.resnets.{nth}.{}", ours(&OF_BLOCK, rest)?));
    if let Some(rest) = layer.strip_prefix("mid.attn_1.") {
        return attention(rest);
    }
    if let Some(rest) = layer.strip_prefix("mid_block.attentions.0.") {
        return attention(rest);
    }
    let blocks = ["mid.block_1.", "mid.block_2.", "mid_block.resnets.0.", "mid_block.resnets.1."];
    let (nth, rest) = blocks
        .iter()
        .enumerate()
        .find_map(|(nth, start)| Some((nth, layer.strip_prefix(start)?)))?;
    block(nth % 2, rest)
}

/// A layer of a level: a residual block, or what changes the size.
fn level(layer: &str, side: &str, levels: usize) -> Option<String> {
    let (group, number, rest) = numbered(layer)?;
    let (blocks, sampler, number) = match (side, group) {
        ("decoder", "up") => ("up_blocks", "upsamplers", levels.checked_sub(number + 1)?),
        ("encoder", "down") => ("down_blocks", "downsamplers", number),
        ("decoder", "up_blocks") => ("up_blocks", "upsamplers", number),
        ("encoder", "down_blocks") => ("down_blocks", "downsamplers", number),
        _ => return None,
    };
    let theirs = matches!(group, "up" | "down");
    let sampled = match theirs {
        true => format!("{}.conv", sampler.trim_end_matches("rs")),
        false => format!("{sampler}.0.conv"),
    };
    if rest == sampled {
        return Some(format!("{blocks}.{number}.{sampler}.0.conv"));
    }
    let (kind, nth, rest) = numbered(rest)?;
    let is_block = kind == if theirs { "block" } else { "resnets" };
    let layer = ours(&OF_BLOCK, rest).filter(|_| is_block)?;
    Some(format!("{blocks}.{number}.resnets.{nth}.{layer}"))
}
