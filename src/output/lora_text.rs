//! LoRAs in the text that A1111 and its many readers know.

use crate::job::lora::{Lora, Loras};

/// Behind the prompt, in the form in which such a prompt names them.
pub(super) fn tags(loras: &Loras) -> String {
    loras.0.iter().map(|lora| format!(" <lora:{lora}>")).collect()
}

/// As sites read it to find the files: each name with the first characters of its hash.
pub(super) fn hashes(loras: &Loras, chars: usize) -> String {
    let hash = |lora: &Lora| {
        let hash = lora.sha256.get(..chars).unwrap_or(&lora.sha256);
        format!("{}: {hash}", lora.name)
    };
    loras.0.iter().map(hash).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::output::metadata::Metadata;
    use crate::output::metadata::tests::{metadata, read_like_a1111};

    #[test]
    fn loras_are_told_as_other_programs_do_and_whole_in_our_own_text() {
        let mut metadata = metadata("a fox", "");
        let lora = r#"[{"name": "ink", "weight": -0.5, "sha256": "0123456789abcdef"}]"#;
        metadata.recipe.lora = serde_json::from_str(lora).unwrap();
        let (prompt, _, pairs) = read_like_a1111(&metadata.parameters());
        assert_eq!(prompt, "a fox <lora:ink:-0.5>");
        assert!(pairs.contains(&("Lora hashes".to_owned(), "ink: 0123456789".to_owned())));
        let read: Metadata = serde_json::from_str(&metadata.json()).unwrap();
        assert_eq!(read, metadata);
    }
}
