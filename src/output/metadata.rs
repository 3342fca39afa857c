//! The texts inside a picture: A1111 `parameters` for the tools that users have, our own JSON for
//! everything.

use serde_json::{Map, Value, json};

use crate::engine::Recipe;
use crate::ladder::Rung;

/// The key of our JSON in a picture, and the mark before it where the format has no keys.
pub const KEY: &str = "zimaged";

/// The program's name and version, as pictures tell it.
pub const SOFTWARE: &str = concat!("zimaged ", env!("CARGO_PKG_VERSION"));

/// A1111 and the sites that read its text know a model by so many characters of its hash.
const MODEL_HASH_CHARS: usize = 10;

/// What a picture says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    pub recipe: Recipe,
    /// On which rung, and so at which size and steps, it was made.
    pub rung: Rung,
    pub model_name: String,
    pub model_hash: String,
    /// Facts of the queue and the timings: merged into the JSON object. `database` and `attempt_id`
    /// are among them, see [`super::Owner`].
    pub facts: Map<String, Value>,
}

impl Metadata {
    /// The text that A1111 and its many readers call `parameters`: the prompt; the negative prompt,
    /// if any; one line of settings.
    ///
    /// The form has no escape for a prompt with a line that begins with `Negative prompt:`; the
    /// JSON is exact.
    pub fn parameters(&self) -> String {
        let mut text = format!("{}\n", self.recipe.prompt);
        if !self.recipe.negative_prompt.is_empty() {
            text += &format!("Negative prompt: {}\n", self.recipe.negative_prompt);
        }
        let settings = self.settings();
        let pairs: Vec<String> =
            settings.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
        text + &pairs.join(", ")
    }

    /// Always more than three pairs: with fewer the readers take the line for a part of the prompt.
    fn settings(&self) -> [(&'static str, String); 9] {
        [
            ("Steps", self.rung.steps.to_string()),
            ("Sampler", "Euler".to_owned()),
            // The users' word for evenly spaced steps, shifted.
            ("Schedule type", "Simple".to_owned()),
            // theirs: neg + scale * (pos - neg); ours: pos + guidance * (pos - neg)
            ("CFG scale", (1.0 + self.recipe.guidance).to_string()),
            ("Seed", self.recipe.seed.to_string()),
            ("Size", format!("{}x{}", self.rung.width, self.rung.height)),
            ("Model hash", self.model_hash.chars().take(MODEL_HASH_CHARS).collect()),
            ("Model", self.model_name.clone()),
            ("Version", SOFTWARE.to_owned()),
        ]
    }

    /// Everything, as one line of JSON: the recipe, what was made and on which rung, the model, and
    /// the facts. A fact never replaces what is known here.
    pub fn json(&self) -> String {
        let mut object = self.facts.clone();
        object.extend([
            ("software".to_owned(), json!(SOFTWARE)),
            ("recipe".to_owned(), json!(self.recipe)),
            (
                "made".to_owned(),
                json!({"width": self.rung.width, "height": self.rung.height, "steps": self.rung.steps}),
            ),
            ("rung".to_owned(), json!(self.rung)),
            ("model".to_owned(), json!({"name": self.model_name, "hash": self.model_hash})),
        ]);
        Value::Object(object).to_string()
    }

    /// The same with each prompt cut to at most `bytes_max` bytes and an ellipsis, for formats with
    /// little room.
    pub(super) fn with_short_prompts(&self, bytes_max: usize) -> Metadata {
        let mut short = self.clone();
        for prompt in [&mut short.recipe.prompt, &mut short.recipe.negative_prompt] {
            if prompt.len() > bytes_max {
                prompt.truncate(prompt.floor_char_boundary(bytes_max));
                prompt.push('…');
            }
        }
        short
    }
}

/// A value with a comma, a colon or a line break is written as a JSON string.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { Value::from(value).to_string() } else { value.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use regex::Regex;

    use super::*;
    use crate::ladder::{Decode, Precision, Residency};

    pub fn metadata(prompt: &str, negative_prompt: &str) -> Metadata {
        Metadata {
            recipe: Recipe {
                prompt: prompt.to_owned(),
                negative_prompt: negative_prompt.to_owned(),
                seed: 42,
                ..Recipe::default()
            },
            rung: Rung {
                residency: Residency::Device,
                precision: Precision::Full,
                decode: Decode::Whole,
                width: 64,
                height: 48,
                steps: 8,
            },
            model_name: "Z-Image-Turbo".to_owned(),
            model_hash: "0123456789abcdef".to_owned(),
            facts: Map::from_iter([
                ("attempt_id".to_owned(), json!(7)),
                ("rung".to_owned(), json!("a lie")),
            ]),
        }
    }

    /// A1111's `parse_generation_parameters`: prompt, negative prompt, settings.
    fn read_like_a1111(text: &str) -> (String, String, Vec<(String, String)>) {
        let pair = Regex::new(r#"\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)"#)
            .expect("a valid expression");
        let mut lines: Vec<&str> = text.trim().split('\n').collect();
        let mut settings = lines.pop().unwrap_or_default();
        if pair.find_iter(settings).count() < 3 {
            lines.push(settings);
            settings = "";
        }
        let mut prompts = [Vec::new(), Vec::new()];
        let mut which = 0;
        for line in lines.into_iter().map(str::trim) {
            let rest = line.strip_prefix("Negative prompt:");
            which = if rest.is_some() { 1 } else { which };
            prompts[which].push(rest.unwrap_or(line).trim());
        }
        let unquote =
            |value: &str| serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
        let pairs = pair
            .captures_iter(settings)
            .map(|found| (found[1].to_owned(), unquote(&found[2])))
            .collect();
        (prompts[0].join("\n"), prompts[1].join("\n"), pairs)
    }

    fn reads_back(prompt: &str, negative_prompt: &str) {
        let (read_prompt, read_negative, pairs) =
            read_like_a1111(&metadata(prompt, negative_prompt).parameters());
        assert_eq!((read_prompt.as_str(), read_negative.as_str()), (prompt, negative_prompt));
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("Steps", "8"),
            ("Sampler", "Euler"),
            ("Schedule type", "Simple"),
            ("CFG scale", "1"),
            ("Seed", "42"),
            ("Size", "64x48"),
            ("Model hash", "0123456789"),
            ("Model", "Z-Image-Turbo"),
            ("Version", SOFTWARE),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a1111_reads_our_parameters() {
        reads_back("a cat, red: hat", "");
        reads_back(
            "a \"quoted\" cat\nSteps: 3, Seed: 1, Size: 1x1\nand a third line",
            "dogs, rain: heavy",
        );
        reads_back("一只猫，戴着红帽子 🐈 \\n é", "模糊");
        reads_back("", "only a negative\nof two lines");
    }

    #[test]
    fn a_model_name_with_commas_colons_and_quotes_reads_back() {
        let mut metadata = metadata("x", "");
        metadata.model_name = "my, \"best\": 模型".to_owned();
        let (_, _, pairs) = read_like_a1111(&metadata.parameters());
        assert!(pairs.contains(&("Model".to_owned(), metadata.model_name)), "{pairs:?}");
    }

    #[test]
    fn the_json_holds_recipe_rung_and_facts_and_no_fact_replaces_them() {
        let json: Value = serde_json::from_str(&metadata("a\ncat", "dog").json()).expect("JSON");
        assert_eq!(
            json["recipe"],
            json!({"prompt": "a\ncat", "negative_prompt": "dog", "guidance": 0.0, "seed": 42})
        );
        assert_eq!(json["made"], json!({"width": 64, "height": 48, "steps": 8}));
        assert_eq!(json["rung"]["residency"], "device");
        assert_eq!(json["model"]["hash"], "0123456789abcdef");
        assert_eq!(json["attempt_id"], 7);
    }

    #[test]
    fn short_prompts_end_at_a_character() {
        let short = metadata("猫猫猫", "dog").with_short_prompts(4);
        assert_eq!(short.recipe.prompt, "猫…");
        assert_eq!(short.recipe.negative_prompt, "dog");
    }
}
