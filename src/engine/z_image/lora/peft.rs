//! What PEFT writes into a file's header beside the tensors: `lora_adapter_metadata`.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The key in a file's metadata.
const KEY: &str = "lora_adapter_metadata";

/// Where the transformer's settings are in a file of several models.
const PREFIXES: [&str; 2] = ["transformer.", ""];

/// The settings that change what the tensors mean.
#[derive(Debug, Default)]
pub struct PeftConfig(Map<String, Value>);

impl PeftConfig {
    /// Those in the header; none where there are none, or they cannot be read.
    pub fn of(metadata: &HashMap<String, String>) -> PeftConfig {
        let text = metadata.get(KEY).map_or("", String::as_str);
        match serde_json::from_str(text) {
            Ok(Value::Object(settings)) => PeftConfig(settings),
            _ => PeftConfig::default(),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        PREFIXES.iter().find_map(|prefix| self.0.get(&format!("{prefix}{name}")))
    }

    /// What the change of `module`, of this rank, is multiplied by; `None` where nothing is said.
    pub fn scale(&self, module: &str, rank: usize) -> Option<f64> {
        let alpha = self.alpha_of(module).or_else(|| self.get("lora_alpha")?.as_f64())?;
        let rank = rank as f64;
        let is_stable = self.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Some(alpha / if is_stable { rank.sqrt() } else { rank })
    }

    /// The alpha of this module alone. The pattern is the end of its name.
    fn alpha_of(&self, module: &str) -> Option<f64> {
        let patterns = self.get("alpha_pattern")?.as_object()?;
        let is_of = |pattern: &str| {
            let pattern = pattern.trim_start_matches('^');
            module.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        patterns.iter().find(|(pattern, _)| is_of(pattern))?.1.as_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> PeftConfig {
        PeftConfig::of(&HashMap::from([(KEY.to_owned(), json.to_owned())]))
    }

    #[test]
    fn alpha_is_the_headers_with_its_exceptions() {
        let told = config(
            r#"{"transformer.lora_alpha": 8, "transformer.alpha_pattern": {"layers.0.attention.to_q": 2}}"#,
        );
        assert_eq!(told.scale("layers.1.attention.to_q", 4), Some(2.0));
        assert_eq!(told.scale("layers.0.attention.to_q", 4), Some(0.5));
        let stable = config(r#"{"lora_alpha": 8, "use_rslora": true}"#);
        assert_eq!(stable.scale("layers.0.attention.to_q", 16), Some(2.0));
        for nothing in ["", "{}", "[1]", r#"{"lora_alpha": "8"}"#] {
            assert_eq!(config(nothing).scale("layers.0.attention.to_q", 4), None, "{nothing}");
        }
    }
}
