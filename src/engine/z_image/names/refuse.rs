//! Files that hold weights of Z-Image in a form that is not read, or that are something else, by
//! the names that people know them by.

use super::super::checkpoint::{Checkpoint, Encoding};
use super::companions::{FORMAT, Formats};

/// What to use instead of a file of too few bits.
pub const INSTEAD: &str = "use a file in bf16, int8 (ConvRot), fp8, or GGUF (Q8_0 to Q4_0)";

/// ComfyUI's words for formats that are read.
const FORMATS: [&str; 3] = ["float8_e4m3fn", "float8_e5m2", "int8_tensorwise"];

/// Parts of names, and what a file is that has them.
const SIGNS: [(&str, &str); 14] = [
    (".lora_", "a LoRA, which is no model by itself"),
    (".lora.", "a LoRA, which is no model by itself"),
    ("lora_unet_", "a LoRA, which is no model by itself"),
    (".lokr_", "a LoKr, which is no model by itself"),
    (".hada_", "a LoHa, which is no model by itself"),
    ("control_all_x_embedder", "a ControlNet, which is no model by itself"),
    (".wscales", "quantised by nunchaku (SVDQuant), which zimaged does not read"),
    (".quant_state.bitsandbytes", "quantised by bitsandbytes, which zimaged does not read"),
    (".absmax", "quantised by bitsandbytes, which zimaged does not read"),
    (".weight_scale_2", "in nvfp4, which zimaged does not read"),
    (".svd_up", "quantised by SDNQ, which zimaged does not read"),
    (".zero_point", "quantised by SDNQ, which zimaged does not read"),
    (".weight._data", "quantised by quanto, which zimaged does not read"),
    ("siglip_embedder", "Z-Image-Omni, which zimaged does not render"),
];

/// What the captions of Lumina-Image-2 are as wide as: its text encoder is Gemma 2 2B. Its tensors
/// have the names of Z-Image's.
const LUMINA: (&str, usize) = ("cap_embedder.1.weight", 2304);

/// Why `checkpoint` is refused, as the end of a sentence about its file; `None` where it may hold
/// parts of the model.
pub fn refuse(checkpoint: &Checkpoint) -> Option<String> {
    let sign =
        SIGNS.iter().find(|(sign, _)| checkpoint.tensors.keys().any(|name| name.contains(sign)));
    if let Some((sign, what)) = sign {
        return Some(format!("is {what} (a tensor is named ...{sign}...); {INSTEAD}"));
    }
    if let Some(format) = unread_format(checkpoint) {
        return Some(format!(
            "is in ComfyUI's format {format}, which zimaged does not read; {INSTEAD}"
        ));
    }
    if is_lumina(checkpoint) {
        return Some("is Lumina-Image-2, which zimaged does not render".to_owned());
    }
    let sdnq = |name: &String| name.ends_with(".scale") && has_integers_beside(checkpoint, name);
    if checkpoint.tensors.keys().any(sdnq) {
        return Some(format!("is quantised by SDNQ, which zimaged does not read; {INSTEAD}"));
    }
    let (name, tensor) = checkpoint.tensors.iter().find(|(name, tensor)| {
        matches!(tensor.encoding(), Encoding::Other(_)) && name.ends_with(".weight")
    })?;
    let mlx = checkpoint.tensors.keys().any(|name| name.ends_with(".scales"));
    Some(match mlx {
        true => format!("is quantised by MLX, which zimaged does not read; {INSTEAD}"),
        false => {
            format!("holds {name} as {}, which zimaged does not read; {INSTEAD}", tensor.encoding())
        }
    })
}

fn is_lumina(checkpoint: &Checkpoint) -> bool {
    let (name, width) = LUMINA;
    let mut tensors = checkpoint.tensors.iter();
    tensors.any(|(found, tensor)| found.ends_with(name) && tensor.shape().last() == Some(&width))
}

/// Whether the scale `name` stands beside a weight of integers.
fn has_integers_beside(checkpoint: &Checkpoint, name: &str) -> bool {
    let weight = name.strip_suffix(".scale").map(|layer| format!("{layer}.weight"));
    let weight = weight.and_then(|weight| checkpoint.tensors.get(&weight));
    weight.is_some_and(|weight| matches!(weight.encoding(), Encoding::I8 | Encoding::Other(_)))
}

/// The first format of a layer that is none of ours.
fn unread_format(checkpoint: &Checkpoint) -> Option<String> {
    let layers = checkpoint
        .tensors
        .keys()
        .filter_map(|name| name.strip_suffix(FORMAT).or_else(|| name.strip_suffix(".weight")));
    let formats = Formats::of(checkpoint).ok()?;
    layers.into_iter().find_map(|layer| {
        let format = formats.of_layer(layer).ok()??;
        let word = format.get("format").unwrap_or(&format).as_str()?.to_owned();
        (!FORMATS.contains(&word.as_str())).then_some(word)
    })
}
