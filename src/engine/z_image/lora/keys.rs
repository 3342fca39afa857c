//! What a key of a LoRA's file says: of which module it is, and what of it.

/// What a tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// LoRA: (rank, inputs).
    Down,
    /// LoRA: (outputs, rank).
    Up,
    /// What the change is multiplied by, and then divided by its rank.
    Alpha,
    /// What the change is multiplied by.
    Scale,
    /// LoKr: the first factor of Kronecker's product, or its two halves.
    Kron1,
    Kron1A,
    Kron1B,
    /// LoKr: the second factor.
    Kron2,
    Kron2A,
    Kron2B,
    /// LoHa: two products that are multiplied value by value.
    Hada1A,
    Hada1B,
    Hada2A,
    Hada2B,
    /// DoRA: the lengths of the matrix' rows or columns.
    Magnitude,
    /// The whole change, (outputs, inputs).
    Diff,
    /// Added to what the module gives, (outputs).
    DiffBias,
}

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'k> {
    /// Of the module of this name, as it is written.
    Of(&'k str, Role),
    /// Something that is not applied, and why.
    Refused(&'static str),
    /// Nobody knows.
    Unknown,
}

/// What keys end with.
const SUFFIXES: [(&str, Role); 30] = [
    (".lora_A.weight", Role::Down),
    (".lora_A.default.weight", Role::Down),
    (".lora_A", Role::Down),
    (".lora_down.weight", Role::Down),
    (".lora.down.weight", Role::Down),
    ("_lora.down.weight", Role::Down),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_B.default.weight", Role::Up),
    (".lora_B", Role::Up),
    (".lora_up.weight", Role::Up),
    (".lora.up.weight", Role::Up),
    ("_lora.up.weight", Role::Up),
    (".lora_linear_layer.up.weight", Role::Up),
    (".alpha", Role::Alpha),
    (".scale", Role::Scale),
    (".lokr_w1", Role::Kron1),
    (".lokr_w1_a", Role::Kron1A),
    (".lokr_w1_b", Role::Kron1B),
    (".lokr_w2", Role::Kron2),
    (".lokr_w2_a", Role::Kron2A),
    (".lokr_w2_b", Role::Kron2B),
    (".hada_w1_a", Role::Hada1A),
    (".hada_w1_b", Role::Hada1B),
    (".hada_w2_a", Role::Hada2A),
    (".hada_w2_b", Role::Hada2B),
    (".dora_scale", Role::Magnitude),
    (".magnitude", Role::Magnitude),
    (".diff", Role::Diff),
    (".diff_b", Role::DiffBias),
];

/// What PEFT's keys of a DoRA end with.
const PEFT_MAGNITUDES: [&str; 4] = [
    ".lora_magnitude_vector",
    ".lora_magnitude_vector.weight",
    ".lora_magnitude_vector.default",
    ".lora_magnitude_vector.default.weight",
];

/// What keys of the text encoder begin with.
const ENCODER_PREFIXES: [&str; 6] =
    ["lora_te", "text_encoder", "te_", "te.", "lycoris_te", "base_model.model.text_encoder"];

/// Parts of keys of what is not applied, and why.
const REFUSED: [(&str, &str); 9] = [
    (".oft_", OFT),
    (".boft_", OFT),
    (".lokr_t2", TUCKER),
    (".lokr_t1", TUCKER),
    (".hada_t1", TUCKER),
    (".hada_t2", TUCKER),
    (".lora_mid", TUCKER),
    (".w_norm", "it trains norms, which are not changed"),
    (".b_norm", "it trains norms, which are not changed"),
];

const OFT: &str = "OFT, which turns weights and adds nothing to them, is not applied";

const TUCKER: &str = "a Tucker decomposition is of convolutions, and this transformer has none";

const ENCODER: &str =
    "it is of the text encoder, which is not changed: use a LoRA trained without that";

/// Takes `key` apart.
pub fn parse(key: &str) -> Key<'_> {
    if ENCODER_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return Key::Refused(ENCODER);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(part, _)| key.contains(part)) {
        return Key::Refused(why);
    }
    let magnitudes = PEFT_MAGNITUDES.iter().map(|suffix| (*suffix, Role::Magnitude));
    let mut suffixes = SUFFIXES.into_iter().chain(magnitudes);
    let found = suffixes.find_map(|(suffix, role)| Some((key.strip_suffix(suffix)?, role)));
    found.map_or(Key::Unknown, |(module, role)| Key::Of(module, role))
}

/// Whether a file with such a key is a LoRA, or something of its kind.
pub fn is_sign(key: &str) -> bool {
    match parse(key) {
        Key::Of(_, role) => !matches!(role, Role::Scale | Role::Alpha),
        Key::Refused(_) => REFUSED.iter().any(|(part, _)| key.contains(part)),
        Key::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_the_two_matrices_is_known() {
        for (key, module, role) in [
            ("transformer.a.to_q.lora_A.weight", "transformer.a.to_q", Role::Down),
            ("a.to_q.lora_A.default.weight", "a.to_q", Role::Down),
            ("lora_unet_a_to_q.lora_up.weight", "lora_unet_a_to_q", Role::Up),
            ("a.to_q.lora.down.weight", "a.to_q", Role::Down),
            ("a.to_q_lora.up.weight", "a.to_q", Role::Up),
            ("a.to_q.lora_linear_layer.up.weight", "a.to_q", Role::Up),
            ("a.lokr_w1", "a", Role::Kron1),
            ("a.lokr_w2_b", "a", Role::Kron2B),
            ("a.hada_w1_a", "a", Role::Hada1A),
            ("a.alpha", "a", Role::Alpha),
            ("a.dora_scale", "a", Role::Magnitude),
            ("a.lora_magnitude_vector.default.weight", "a", Role::Magnitude),
            ("a.diff", "a", Role::Diff),
            ("a.diff_b", "a", Role::DiffBias),
        ] {
            assert_eq!(parse(key), Key::Of(module, role), "{key}");
        }
    }

    #[test]
    fn what_is_not_applied_says_why() {
        for (key, why) in [
            ("lora_te_layers_0_mlp.lora_up.weight", ENCODER),
            ("text_encoders.qwen3_4b.layers.0.lora_A.weight", ENCODER),
            ("lora_unet_a.oft_R.weight", OFT),
            ("a.lokr_t2", TUCKER),
        ] {
            assert_eq!(parse(key), Key::Refused(why), "{key}");
        }
        assert_eq!(parse("layers.0.attention.to_q.weight"), Key::Unknown);
        assert!(is_sign("a.lora_A.weight") && is_sign("a.oft_R") && !is_sign("a.alpha"));
        assert!(!is_sign("text_encoders.qwen3_4b.layers.0.mlp.weight"));
    }
}
