//! The text of a job, line by line, in the order in which people read one.

use crate::job::spec::template::quoted;

/// Keys with their values, and LoRAs.
#[derive(Default)]
pub(super) struct JobLines {
    keys: Vec<String>,
    loras: Vec<String>,
}

impl JobLines {
    pub(super) fn text_key(&mut self, key: &str, value: &str) {
        self.keys.push(format!("{key} = {}", quoted(value)));
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.keys.push(format!("{key} = {}", value.into()));
    }

    pub(super) fn tag(&mut self, tag: &str) {
        self.keys.push(format!("tags = [{}]", quoted(tag)));
    }

    pub(super) fn lora(&mut self, path: &str, weight: f64, allow_unknown: bool) {
        let mut lines =
            format!("[[lora]]\npath = {}\nweight = {}", quoted(path), toml::Value::from(weight));
        if allow_unknown {
            lines += "\nallow_unknown = true";
        }
        self.loras.push(lines);
    }

    pub(super) fn text(&self) -> String {
        let loras = self.loras.iter().map(|lora| format!("\n{lora}"));
        let lines: Vec<String> = self.keys.iter().cloned().chain(loras).collect();
        lines.join("\n") + "\n"
    }
}
