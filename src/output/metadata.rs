//! The texts inside a picture: A1111 `parameters` for the tools that users have, our own JSON for
//! everything.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Owner, lora_text};
use crate::attempt::Timings;
use crate::engine::Recipe;
use crate::engine::provenance::{Part, PartOrigin};
use crate::ladder::Rung;

/// The key of our JSON in a picture, and the mark before it where the format has no keys.
pub const KEY: &str = "zimaged";

/// The program's name and version, as pictures tell it.
pub const SOFTWARE: &str = concat!("zimaged ", env!("CARGO_PKG_VERSION"));

/// A1111 and the sites that read its text know a model by so many characters of its hash.
const MODEL_HASH_CHARS: usize = 10;

/// What a picture says of itself: written into it as JSON and read back, in the form that all
/// pictures have had so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The program that made it.
    pub software: String,
    /// What the queue knows of it.
    #[serde(flatten)]
    pub queue: QueueFacts,
    pub recipe: Recipe,
    /// At which size and in how many steps it was made, as the rung says it too.
    pub made: SizeAndSteps,
    pub rung: Rung,
    pub model: PictureModel,
    pub device: String,
    pub timings: StageTimings,
}

/// What the supervisor tells the worker, so that the picture can say it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueFacts {
    /// The job's id.
    pub job: i64,
    /// Position in the job, from 1.
    pub index: u32,
    #[serde(flatten)]
    pub owner: Owner,
    pub asked: SizeAndSteps,
    /// Whether the picture is less than what was asked for.
    pub degraded: bool,
    /// When it was begun, in local time: `2026-11-24T22:05:01+01:00`. Earlier pictures do not say
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The job file's name; earlier pictures do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The job's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The prompt before the choices in it were made, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_prompt: Option<String>,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeAndSteps {
    pub width: u32,
    pub height: u32,
    pub steps: u32,
}

/// The model that made a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureModel {
    pub name: String,
    /// Of the weights' content; `None` where it was not known yet.
    pub hash: Option<String>,
    /// What its parts are, and where they come from. Earlier pictures do not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartOrigin>,
}

impl PictureModel {
    /// The hash that other programs know a model by: that of the transformer's file.
    fn file_hash(&self) -> Option<&String> {
        let transformer = self.parts.iter().find(|origin| origin.part == Part::Transformer);
        transformer.and_then(|origin| origin.sha256.as_ref()).or(self.hash.as_ref())
    }
}

/// Milliseconds by stage, as far as they are known before the picture is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimings {
    pub text_encode_ms: u64,
    pub denoise_ms: u64,
    pub vae_decode_ms: u64,
}

impl From<&Timings> for StageTimings {
    fn from(timings: &Timings) -> StageTimings {
        StageTimings {
            text_encode_ms: timings.text_encode_ms,
            denoise_ms: timings.denoise_ms,
            vae_decode_ms: timings.vae_decode_ms,
        }
    }
}

impl From<StageTimings> for Timings {
    fn from(timings: StageTimings) -> Timings {
        let StageTimings { text_encode_ms, denoise_ms, vae_decode_ms } = timings;
        let total_ms = text_encode_ms + denoise_ms + vae_decode_ms;
        Timings { text_encode_ms, denoise_ms, vae_decode_ms, total_ms, ..Timings::default() }
    }
}

impl Metadata {
    /// The text that A1111 and its many readers call `parameters`: the prompt; the negative prompt,
    /// if any; one line of settings.
    ///
    /// The form has no escape for a prompt with a line that begins with `Negative prompt:`; the
    /// JSON is exact.
    pub fn parameters(&self) -> String {
        let mut text = format!("{}{}\n", self.recipe.prompt, lora_text::tags(&self.recipe.lora));
        if !self.recipe.negative_prompt.is_empty() {
            text += &format!("Negative prompt: {}\n", self.recipe.negative_prompt);
        }
        let settings = self.settings();
        let pairs: Vec<String> =
            settings.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
        text + &pairs.join(", ")
    }

    /// Always more than three pairs: with fewer the readers take the line for a part of the prompt.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let hash = self.model.file_hash().into_iter();
        let hash = hash.map(|hash| hash.chars().take(MODEL_HASH_CHARS).collect());
        let mut settings = vec![
            ("Steps", self.rung.steps.to_string()),
            ("Sampler", self.recipe.sampler.name().to_owned()),
            // The users' word for evenly spaced steps, shifted.
            ("Schedule type", "Simple".to_owned()),
            ("CFG scale", cfg_scale(self.recipe.guidance)),
            ("Seed", self.recipe.seed.to_string()),
            ("Size", format!("{}x{}", self.rung.width, self.rung.height)),
        ];
        if self.recipe.begins_with_picture() {
            settings.push(("Denoising strength", self.recipe.strength.to_string()));
        }
        if !self.recipe.lora.0.is_empty() {
            settings.push(("Lora hashes", lora_text::hashes(&self.recipe.lora, MODEL_HASH_CHARS)));
        }
        settings.extend(hash.map(|hash| ("Model hash", hash)));
        settings.extend([("Model", self.model.name.clone()), ("Version", self.software.clone())]);
        settings
    }

    /// Everything, as one line of JSON, its keys in the order of the alphabet.
    pub fn json(&self) -> String {
        json!(self).to_string()
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

/// A1111 has neg + scale * (pos - neg), we have pos + guidance * (pos - neg). Rounded, because a
/// sum of decimal fractions need not be one: 1 + 0.14 is 1.1400000000000001.
fn cfg_scale(guidance: f64) -> String {
    (((1.0 + guidance) * 1e9).round() / 1e9).to_string()
}

/// A value with a comma, a colon or a line break is written as a JSON string.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { Value::from(value).to_string() } else { value.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use regex::Regex;

    use super::*;
    use crate::job::SamplerKind;
    use crate::ladder::{Decode, Precision, Residency};

    pub fn metadata(prompt: &str, negative_prompt: &str) -> Metadata {
        Metadata {
            software: SOFTWARE.to_owned(),
            queue: QueueFacts {
                job: 3,
                index: 2,
                owner: Owner { database: "83a1fd06109f02bd".to_owned(), attempt_id: 7 },
                asked: SizeAndSteps { width: 128, height: 96, steps: 9 },
                degraded: true,
                created: Some("2026-11-24T22:05:01+01:00".to_owned()),
                file: Some("夜.toml".to_owned()),
                tags: vec!["night".to_owned(), "füchse".to_owned()],
                asked_prompt: None,
            },
            recipe: Recipe {
                prompt: prompt.to_owned(),
                negative_prompt: negative_prompt.to_owned(),
                seed: 42,
                ..Recipe::default()
            },
            made: SizeAndSteps { width: 64, height: 48, steps: 8 },
            rung: Rung {
                residency: Residency::Device,
                precision: Precision::Full,
                decode: Decode::Tiles { side: 512 },
                width: 64,
                height: 48,
                steps: 8,
            },
            model: PictureModel {
                name: "Z-Image-Turbo".to_owned(),
                hash: Some("0123456789abcdef".to_owned()),
                parts: Vec::new(),
            },
            device: "cpu, 2 threads".to_owned(),
            timings: StageTimings { text_encode_ms: 10, denoise_ms: 20, vae_decode_ms: 30 },
        }
    }

    /// A1111's `parse_generation_parameters`: prompt, negative prompt, settings.
    pub fn read_like_a1111(text: &str) -> (String, String, Vec<(String, String)>) {
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
    fn a_model_that_is_not_hashed_yet_is_told_without_a_hash() {
        let mut metadata = metadata("x", "");
        metadata.model.hash = None;
        let (_, _, pairs) = read_like_a1111(&metadata.parameters());
        assert!(pairs.iter().all(|(key, _)| key != "Model hash"), "{pairs:?}");
        assert!(pairs.len() >= 3 && metadata.json().contains(r#""hash":null"#));
    }

    #[test]
    fn the_sampler_is_called_as_other_programs_do() {
        for (sampler, name) in
            [(SamplerKind::Euler, "Euler"), (SamplerKind::ResMultistep, "Res Multistep")]
        {
            let mut metadata = metadata("x", "");
            metadata.recipe.sampler = sampler;
            let (_, _, pairs) = read_like_a1111(&metadata.parameters());
            assert!(pairs.contains(&("Sampler".to_owned(), name.to_owned())), "{pairs:?}");
        }
    }

    #[test]
    fn a_model_name_with_commas_colons_and_quotes_reads_back() {
        let mut metadata = metadata("x", "");
        metadata.model.name = "my, \"best\": 模型".to_owned();
        let (_, _, pairs) = read_like_a1111(&metadata.parameters());
        assert!(pairs.contains(&("Model".to_owned(), metadata.model.name)), "{pairs:?}");
    }

    /// case F
    #[test]
    fn a_cfg_scale_has_as_many_digits_as_the_guidance() {
        for (guidance, scale) in [(0.0, "1"), (0.14, "1.14"), (3.5, "4.5"), (1e-9, "1.000000001")] {
            assert_eq!(cfg_scale(guidance), scale);
        }
        assert!((0..=3000).all(|n| cfg_scale(f64::from(n) / 100.0).len() <= 5));
    }

    #[test]
    fn everything_is_read_back() {
        let metadata = metadata("a\ncat", "dog");
        let read: Metadata = serde_json::from_str(&metadata.json()).unwrap();
        assert_eq!(read, metadata);
    }

    /// The JSON of a picture by version 0.1.0, as it stood there.
    const EARLIER: &str = concat!(
        r#"{"asked":{"height":64,"steps":2,"width":64},"attempt_id":1,"#,
        r#""database":"83a1fd06109f02bd","degraded":false,"device":"fake","index":1,"job":1,"#,
        r#""made":{"height":64,"steps":2,"width":64},"model":{"hash":"fake","name":"fake"},"#,
        r#""recipe":{"guidance":1.5,"negative_prompt":"blur","prompt":"a café, red","seed":7},"#,
        r#""rung":{"decode":"whole","height":64,"precision":"full","residency":"device","#,
        r#""steps":2,"width":64},"software":"zimaged 0.1.0","#,
        r#""timings":{"denoise_ms":0,"text_encode_ms":0,"vae_decode_ms":0}}"#,
    );

    #[test]
    fn an_earlier_picture_is_read_and_the_form_has_stayed() {
        let read: Metadata = serde_json::from_str(EARLIER).unwrap();
        assert_eq!(read.queue.owner.database, "83a1fd06109f02bd");
        assert_eq!((read.recipe.prompt.as_str(), read.recipe.guidance), ("a café, red", 1.5));
        let earlier: Value = serde_json::from_str(EARLIER).unwrap();
        let mut now: Value = serde_json::from_str(&read.json()).unwrap();
        // A parameter may have been added since.
        let recipe = now["recipe"].as_object_mut().unwrap();
        recipe.retain(|name, _| earlier["recipe"].get(name).is_some());
        assert_eq!(now.to_string(), EARLIER);
    }

    #[test]
    fn short_prompts_end_at_a_character() {
        let short = metadata("猫猫猫", "dog").with_short_prompts(4);
        assert_eq!(short.recipe.prompt, "猫…");
        assert_eq!(short.recipe.negative_prompt, "dog");
    }
}
