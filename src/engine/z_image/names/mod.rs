//! What other programs call the model's tensors, brought to the names that this port asks for:
//! those of the Hugging Face hub's folders.
//!
//! Each name is looked up whole, by anchored patterns: a name that is right already stays right,
//! and one that nobody knows is told and not bent.

mod companions;
mod refuse;
#[cfg(test)]
mod tests;
mod text_encoder;
mod transformer;
mod vae;

use std::collections::BTreeMap;
use std::path::Path;

pub use self::refuse::{INSTEAD, refuse};
use super::checkpoint::{Checkpoint, StoredTensor};
use crate::engine::ModelError;
pub use crate::engine::provenance::Part;

/// What one tensor of a file is in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    /// The tensor of this name.
    Whole(String),
    /// Several of the same size, one below the other.
    Stacked([String; 3]),
    /// Belongs to the part, which does without it.
    Unused,
}

/// The tensors of the parts that a checkpoint holds, by the model's own names.
#[derive(Debug, Default)]
pub struct NamedTensors {
    pub parts: BTreeMap<Part, BTreeMap<String, StoredTensor>>,
    /// Names that nothing of the model is called, sorted.
    pub unknown: Vec<String>,
}

/// Longer ones first where one begins like another.
const PREFIXES: [&str; 13] = [
    "model.diffusion_model.",
    "diffusion_model.",
    "text_encoders.qwen3_4b.transformer.model.",
    "text_encoders.qwen3_4b.transformer.",
    "text_encoders.qwen3_4b.model.",
    "text_encoders.qwen3_4b.",
    "text_encoder.model.",
    "text_encoder.",
    "first_stage_model.",
    "transformer.",
    "vae.",
    "model.",
    "",
];

/// Brings the tensors of `checkpoint`, which came from `place`, to the model's names. Errors name
/// `place` and the tensor that is wrong, or what the file is in place of a model.
pub fn named(checkpoint: &Checkpoint, place: &Path) -> Result<NamedTensors, ModelError> {
    if let Some(what) = refuse(checkpoint) {
        return Err(ModelError::wrong(place, what));
    }
    let mut named = NamedTensors::default();
    let levels = vae::levels(checkpoint.tensors.keys().map(String::as_str));
    let wrong = |what| ModelError::wrong(place, what);
    for (name, tensor) in companions::combined(checkpoint).map_err(wrong)? {
        let Some((part, meaning)) = meaning(&name, levels) else {
            named.unknown.push(name);
            continue;
        };
        let tensors = named.parts.entry(part).or_default();
        match meaning {
            Meaning::Whole(name) => tensors.extend([(name, tensor)]),
            Meaning::Stacked(names) => {
                let thirds = thirds(&tensor)
                    .ok_or_else(|| wrong(format!("{name} is no stack of three equal matrices")))?;
                tensors.extend(names.into_iter().zip(thirds));
            }
            Meaning::Unused => {}
        }
    }
    Ok(named)
}

/// The three matrices that lie one below the other in `tensor`.
fn thirds(tensor: &StoredTensor) -> Option<Vec<StoredTensor>> {
    let all = *tensor.shape().first()?;
    let rows = all / 3;
    let third = |nth: usize| tensor.slice_rows(nth * rows..(nth + 1) * rows);
    if all.is_multiple_of(3) { (0..3).map(third).collect() } else { None }
}

/// What the tensor `name` is, in a file whose VAE has so many levels.
fn meaning(name: &str, levels: usize) -> Option<(Part, Meaning)> {
    PREFIXES.iter().filter_map(|prefix| name.strip_prefix(prefix)).find_map(|name| {
        transformer::meaning(name)
            .map(|meaning| (Part::Transformer, meaning))
            .or_else(|| text_encoder::meaning(name).map(|meaning| (Part::TextEncoder, meaning)))
            .or_else(|| vae::meaning(name, levels).map(|meaning| (Part::Vae, meaning)))
    })
}

/// A name's beginning up to the number of a block, that number, and the rest:
/// `layers.12.attention` is (`layers`, 12, `attention`).
fn numbered(name: &str) -> Option<(&str, usize, &str)> {
    let (group, rest) = name.split_once('.')?;
    let (number, rest) = rest.split_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Some((group, number.parse().ok()?, rest)))?
}
