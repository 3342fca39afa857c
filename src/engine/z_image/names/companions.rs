//! Tensors beside a weight that say how it is written: scales, rotations, and words for both.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape};
use serde_json::{Map, Value};

use super::super::checkpoint::{Checkpoint, Encoding, Scale, StoredTensor};

/// How the names of scales end, after the layer's name.
const SCALES: [&str; 3] = [".weight_scale", ".scale_weight", ".weight_scale_inv"];

/// Companions that the weights do not depend on: scales of activations, and marks.
const IGNORED: [&str; 4] = [".input_scale", ".scale_input", ".comfy_quant", "scaled_fp8"];

/// ComfyUI's word for a layer's format: JSON in bytes.
pub(super) const FORMAT: &str = ".comfy_quant";

/// ComfyUI's words for the formats of all layers, in the file's metadata.
const FORMATS: &str = "_quantization_metadata";

/// How many inputs ConvRot rotates together where the file does not say it.
const GROUP: u64 = 256;

/// No mark of a layer has more bytes.
const MARK_BYTES_MAX: usize = 4096;

/// No scale has more values.
const SCALES_MAX: usize = 1 << 24;

/// The tensors of `checkpoint` with their scales and rotations. The error names the tensor that is
/// wrong.
pub(super) fn combined(checkpoint: &Checkpoint) -> Result<BTreeMap<String, StoredTensor>, String> {
    let formats = Formats::of(checkpoint)?;
    let weights = checkpoint.tensors.iter().filter(|(name, _)| !is_companion(name));
    let combined = weights.map(|(name, tensor)| {
        let tensor = match name.strip_suffix(".weight") {
            Some(layer) => with_scale(&formats, layer, tensor)?,
            None => tensor.clone(),
        };
        Ok((name.clone(), tensor))
    });
    combined.collect()
}

fn is_companion(name: &str) -> bool {
    SCALES.iter().chain(&IGNORED).any(|end| name.ends_with(end))
}

fn with_scale(
    formats: &Formats,
    layer: &str,
    weight: &StoredTensor,
) -> Result<StoredTensor, String> {
    let mut scales =
        SCALES.iter().filter_map(|end| formats.checkpoint.tensors.get(&format!("{layer}{end}")));
    let is_integer = *weight.encoding() == Encoding::I8;
    let Some(scale) = scales.next() else {
        return match is_integer {
            true => Err(format!("{layer}.weight is of type I8 and has no {layer}.weight_scale")),
            false => Ok(weight.clone()),
        };
    };
    if !is_integer && !matches!(weight.encoding(), Encoding::F8E4M3 | Encoding::F8E5M2) {
        return Err(format!(
            "{layer}.weight is of type {} and has a scale, which only weights of 8 bits have",
            weight.encoding()
        ));
    }
    let scale = read_scale(scale, weight.shape())
        .map_err(|what| format!("the scale of {layer}.weight {what}"))?;
    let scaled = weight.clone().scaled(scale);
    match rotation(formats, layer)? {
        None => Ok(scaled),
        Some(group) => scaled
            .rotated_back(group)
            .ok_or_else(|| format!("{layer}.weight cannot have been rotated in groups of {group}")),
    }
}

fn read_scale(scale: &StoredTensor, weight: &[usize]) -> Result<Scale, String> {
    let &[rows, ref rest @ ..] = weight else { return Err("stands beside no matrix".into()) };
    let shape = Shape::from(scale.shape());
    if shape.elem_count() > SCALES_MAX {
        return Err(format!("has {} values", shape.elem_count()));
    }
    let values = scale
        .load(&shape, DType::F32, &Device::Cpu)
        .and_then(|values| values.flatten_all()?.to_vec1())
        .map_err(|error| error.to_string())?;
    if let Some(wrong) = values.iter().find(|value: &&f32| !value.is_finite()) {
        return Err(format!("holds {wrong}"));
    }
    Scale::new(values, scale.shape(), [rows, rest.iter().product()])
        .ok_or_else(|| format!("has shape {:?}, which fits no matrix of {weight:?}", scale.shape()))
}

/// In groups of how many inputs the layer's weight was rotated; `None` where it was not.
fn rotation(formats: &Formats, layer: &str) -> Result<Option<usize>, String> {
    let Some(format) = formats.of_layer(layer)? else { return Ok(None) };
    let key = |key: &str| {
        let nested = || format.get("params").and_then(|params| params.get(key));
        format.get(key).or_else(nested).cloned()
    };
    if key("convrot").and_then(|value| value.as_bool()) != Some(true) {
        return Ok(None);
    }
    let group = key("convrot_groupsize").map_or(Some(GROUP), |value| value.as_u64());
    let group = group.and_then(|group| usize::try_from(group).ok());
    group.map(Some).ok_or_else(|| format!("{layer}{FORMAT}: convrot_groupsize must be a number"))
}

/// What a file says of the formats of its layers.
pub(super) struct Formats<'a> {
    checkpoint: &'a Checkpoint,
    /// By the layers' names, of which a prefix may be missing.
    in_metadata: Map<String, Value>,
}

impl Formats<'_> {
    pub(super) fn of(checkpoint: &Checkpoint) -> Result<Formats<'_>, String> {
        let mut in_metadata = Map::new();
        if let Some(text) = checkpoint.metadata.get(FORMATS) {
            let formats: Value = serde_json::from_str(text)
                .map_err(|error| format!("{FORMATS} in its header is no JSON: {error}"))?;
            let layers = formats.get("layers").unwrap_or(&formats).as_object();
            in_metadata = layers.cloned().unwrap_or_default();
        }
        Ok(Formats { checkpoint, in_metadata })
    }

    /// An object, or the word for the format alone; `None` where the file says nothing of it.
    pub(super) fn of_layer(&self, layer: &str) -> Result<Option<Value>, String> {
        if let Some(mark) = self.checkpoint.tensors.get(&format!("{layer}{FORMAT}")) {
            let text = mark.raw_bytes(MARK_BYTES_MAX).map_err(|error| error.to_string())?;
            let value = serde_json::from_slice(&text)
                .map_err(|error| format!("{layer}{FORMAT} is no JSON: {error}"))?;
            return Ok(Some(value));
        }
        let mut ends = layer.match_indices('.').map(|(dot, _)| &layer[dot + 1..]);
        let whole = self.in_metadata.get(layer);
        Ok(whole.or_else(|| ends.find_map(|end| self.in_metadata.get(end))).cloned())
    }
}
