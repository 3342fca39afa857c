//! What a picture says of how it was made, whichever program has made it: ours, Stable Diffusion's
//! web UI and what writes as it does, stable-diffusion.cpp, ComfyUI, InvokeAI. Nothing of it is
//! believed further than to fill a form, or a job that is checked as any other.

mod comfy_ui;
mod invoke_ai;
mod python_json;
mod web_ui;

use std::io::Cursor;

use serde::Serialize;

use super::metadata::{KEY, Metadata};
use super::read::{JSON_BYTES_MAX, PNG_BYTES_MAX};
use super::{exif, read};
use crate::job::{Format, SamplerKind};
use crate::spelling::spelled_by_serde;

/// Under which words the programs write.
const WEB_UI: &str = "parameters";
const COMFY_UI: &str = "prompt";
const INVOKE_AI: &str = "invokeai_metadata";

/// So many remarks are made at the most: anybody can write anything into a picture.
const REMARKS_MAX: usize = 32;

/// What a remark quotes of a picture is no longer.
const QUOTED_CHARS_MAX: usize = 60;

/// The program that has made a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PictureMaker {
    /// This one.
    Zimaged,
    /// Stable Diffusion's web UI, or what writes as it does.
    #[default]
    WebUi,
    /// stable-diffusion.cpp.
    StableDiffusionCpp,
    /// ComfyUI.
    ComfyUi,
    /// InvokeAI.
    InvokeAi,
}

spelled_by_serde!(PictureMaker);

impl PictureMaker {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            PictureMaker::Zimaged => "zimaged",
            PictureMaker::WebUi => "a web UI",
            PictureMaker::StableDiffusionCpp => "stable-diffusion.cpp",
            PictureMaker::ComfyUi => "ComfyUI",
            PictureMaker::InvokeAi => "InvokeAI",
        }
    }
}

/// What was found; empty where the picture does not say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundSettings {
    pub maker: PictureMaker,
    pub prompt: String,
    pub negative_prompt: String,
    /// Pixels.
    pub width: Option<i64>,
    /// Pixels.
    pub height: Option<i64>,
    pub steps: Option<i64>,
    pub seed: Option<i64>,
    /// As we count it: 0 is none, where others say 1.
    pub guidance: Option<f64>,
    pub sampler: Option<SamplerKind>,
    /// Names and weights of LoRAs that the prompt does not name itself.
    pub loras: Vec<(String, f64)>,
    /// What its maker calls the model.
    pub model: Option<String>,
    /// What was found and counts for nothing here, each in a sentence.
    pub remarks: Vec<String>,
    /// All of it as the web UI writes it, where that is there.
    pub text: String,
}

/// All that a picture says of how it was made.
#[derive(Clone, Debug, PartialEq)]
pub enum PictureFacts {
    Ours(Box<Metadata>),
    Others(Box<FoundSettings>),
}

/// What the picture in `content` says; `None` where it says nothing that we can read.
pub fn facts_in(content: &[u8]) -> Option<PictureFacts> {
    let others = |found| PictureFacts::Others(Box::new(found));
    if !content.starts_with(PNG) {
        let container =
            ::exif::Reader::new().read_from_container(&mut Cursor::new(content)).ok()?;
        let ours = exif::json(&container).and_then(|json| read::parsed(&json));
        return match ours {
            Some(ours) => Some(PictureFacts::Ours(Box::new(ours))),
            None => others_in(&container).map(others),
        };
    }
    let texts = png_texts(content)?;
    let of = |key: &str| texts.iter().find(|(known, _)| known == key).map(|(_, text)| &**text);
    if let Some(ours) = of(KEY).and_then(read::parsed) {
        return Some(PictureFacts::Ours(Box::new(ours)));
    }
    let found = of(INVOKE_AI)
        .and_then(invoke_ai::settings)
        .or_else(|| of(WEB_UI).map(web_ui::settings))
        .or_else(|| of(COMFY_UI).and_then(comfy_ui::settings))?;
    Some(others(FoundSettings { text: of(WEB_UI).unwrap_or_default().to_owned(), ..found }))
}

/// What another program says in a JPEG or WebP.
fn others_in(container: &::exif::Exif) -> Option<FoundSettings> {
    let text = exif::comment(container).filter(|text| web_ui::has_settings(text));
    match text {
        Some(text) => Some(FoundSettings { text: text.clone(), ..web_ui::settings(&text) }),
        None => comfy_ui::settings(&exif::comfy_ui_graph(container)?),
    }
}

/// The same in one form, whichever program has made the picture.
pub fn settings_in(content: &[u8]) -> Option<FoundSettings> {
    match facts_in(content)? {
        PictureFacts::Others(found) => Some(*found),
        PictureFacts::Ours(metadata) => {
            let text = metadata.parameters();
            Some(FoundSettings { text, ..ours(*metadata) })
        }
    }
}

const PNG: &[u8] = b"\x89PNG";

/// The format of the picture that begins so; `None` where it is none that we write.
pub fn format_of(content: &[u8]) -> Option<Format> {
    match content {
        _ if content.starts_with(PNG) => Some(Format::Png),
        _ if content.starts_with(b"\xff\xd8\xff") => Some(Format::Jpeg),
        _ if content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP") => {
            Some(Format::Webp)
        }
        _ => None,
    }
}

/// All texts before the first pixels, by their words.
fn png_texts(content: &[u8]) -> Option<Vec<(String, String)>> {
    let limits = png::Limits { bytes: PNG_BYTES_MAX };
    let reader = png::Decoder::new_with_limits(Cursor::new(content), limits).read_info().ok()?;
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter();
    let mut texts: Vec<_> =
        latin.map(|chunk| (chunk.keyword.clone(), chunk.text.clone())).collect();
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        if chunk.decompress_text_with_limit(JSON_BYTES_MAX).is_ok() {
            texts.extend(chunk.get_text().ok().map(|text| (chunk.keyword.clone(), text)));
        }
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        if chunk.decompress_text_with_limit(JSON_BYTES_MAX).is_ok() {
            texts.extend(chunk.get_text().ok().map(|text| (chunk.keyword.clone(), text)));
        }
    }
    Some(texts)
}

fn ours(metadata: Metadata) -> FoundSettings {
    let Metadata { recipe, queue, model, .. } = metadata;
    FoundSettings {
        maker: PictureMaker::Zimaged,
        prompt: queue.asked_prompt.unwrap_or(recipe.prompt),
        negative_prompt: recipe.negative_prompt,
        width: Some(queue.asked.width.into()),
        height: Some(queue.asked.height.into()),
        steps: Some(queue.asked.steps.into()),
        seed: i64::try_from(recipe.seed).ok(),
        guidance: Some(recipe.guidance),
        sampler: Some(recipe.sampler),
        loras: recipe.lora.0.into_iter().map(|lora| (lora.name, lora.weight)).collect(),
        model: Some(model.name),
        remarks: Vec::new(),
        text: String::new(),
    }
}

/// A scale of 1 is no guidance.
fn from_scale(scale: f64) -> Option<f64> {
    // Rounded, because a difference of decimal fractions need not be one: 1.14 - 1.
    let guidance = ((scale - 1.0).max(0.0) * 1e9).round() / 1e9;
    scale.is_finite().then_some(guidance)
}

/// What is said of settings that mean nothing here.
#[derive(Default)]
struct Remarks(Vec<String>);

impl Remarks {
    fn add(&mut self, remark: String) {
        if self.0.len() < REMARKS_MAX {
            self.0.push(remark);
        }
    }

    /// Of a setting that there is none of here.
    fn unknown(&mut self, key: &str, value: &str) {
        self.add(format!("{key}: {} means nothing here", quoted(value)));
    }

    /// Of a value that is no number of ours.
    fn seed(&mut self, seed: Option<u64>) -> Option<i64> {
        let ours = seed.and_then(|seed| i64::try_from(seed).ok());
        if let (Some(seed), None) = (seed, ours) {
            self.add(format!("the seed {seed} is larger than {}: a random one", i64::MAX));
        }
        ours
    }

    /// The sampler that its maker calls `word`.
    fn sampler(&mut self, word: &str) -> SamplerKind {
        let plain: String = word.to_lowercase().replace([' ', '-'], "_");
        match plain.as_str() {
            "euler" | "euler_discrete" => SamplerKind::Euler,
            "res_multistep" => SamplerKind::ResMultistep,
            _ => {
                self.add(format!("the sampler {} is not known here: euler", quoted(word)));
                SamplerKind::Euler
            }
        }
    }

    /// The spacing of the steps that its maker calls `word`.
    fn schedule(&mut self, word: &str) {
        let is_ours = ["simple", "automatic", "normal", "discrete", "default"];
        if !is_ours.contains(&word.to_lowercase().as_str()) {
            self.add(format!("the schedule {} is not known here: simple", quoted(word)));
        }
    }

    /// A part of what the picture began with is kept.
    fn strength(&mut self, strength: f64) {
        if strength < 1.0 {
            self.add(format!(
                "it began with another picture (strength {strength}), which is not in it: \
                 name that as init_image"
            ));
        }
    }
}

/// For a remark.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with these texts.
    fn picture(texts: &[(&str, &str)]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut encoder = png::Encoder::new(&mut content, 1, 1);
        for (key, text) in texts {
            encoder.add_itxt_chunk((*key).to_owned(), (*text).to_owned()).expect("a text");
        }
        let mut writer = encoder.write_header().expect("memory");
        writer.write_image_data(&[0]).expect("memory");
        writer.finish().expect("memory");
        content
    }

    #[test]
    fn the_web_ui_s_text_is_read() {
        let text = "a red fox,\nin the snow\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, \
                    CFG scale: 7, Seed: 41, Size: 768x512, Model: x";
        let found = settings_in(&picture(&[("parameters", text)])).expect("a text");
        let expected = FoundSettings {
            prompt: "a red fox,\nin the snow".to_owned(),
            negative_prompt: "blurry".to_owned(),
            width: Some(768),
            height: Some(512),
            steps: Some(20),
            seed: Some(41),
            guidance: Some(6.0),
            sampler: Some(SamplerKind::Euler),
            model: Some("x".to_owned()),
            remarks: vec!["the sampler \"Euler a\" is not known here: euler".to_owned()],
            text: text.to_owned(),
            ..FoundSettings::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_graph_of_comfy_ui_is_followed_to_its_prompt() {
        let graph = r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 9, "steps": 8, "cfg": 1.0,
            "positive": ["5", 0], "negative": ["7", 0], "latent_image": ["4", 0]}},
            "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 576}},
            "5": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0]}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
            "7": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}}"#;
        let found = settings_in(&picture(&[("prompt", graph)])).expect("a graph");
        assert_eq!((found.prompt.as_str(), found.negative_prompt.as_str()), ("a fox", ""));
        assert_eq!((found.width, found.height, found.seed), (Some(1024), Some(576), Some(9)));
        assert_eq!((found.steps, found.guidance), (Some(8), Some(0.0)));
        let circle = graph.replace("[\"6\", 0]", "[\"5\", 0]");
        assert_eq!(settings_in(&picture(&[("prompt", &circle)])).expect("a graph").prompt, "");
    }

    // peers R
    #[test]
    fn what_counts_for_nothing_here_is_remarked() {
        let text = "a fox <lora:ink:0.5>\nSteps: 9, Sampler: DPM++ 2M, Schedule type: Beta, \
                    CFG scale: 1, Seed: 18446744073709551615, Size: 512x512, Hires upscale: 2, \
                    Lora hashes: \"ink: 0123, b: 44\", Denoising strength: 0.4, Version: f2";
        let found = settings_in(&picture(&[("parameters", text)])).expect("a text");
        assert_eq!((found.seed, found.steps), (None, Some(9)));
        let told = found.remarks.join("\n");
        for part in [
            "\"DPM++ 2M\"",
            "\"Beta\"",
            "18446744073709551615",
            "Hires upscale: \"2\"",
            "Denoising strength: \"0.4\"",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(found.remarks.len(), 5, "{told}");
    }

    #[test]
    fn stable_diffusion_cpp_s_text_is_read_and_its_json_behind_it_is_not() {
        let text = "an owl\nSteps: 8, CFG scale: 1.000000, Guidance: 3.5, Eta: 0, Seed: 42, \
                    Size: 256x512, Model: z.gguf, RNG: cuda, Sampler: euler, Version: \
                    stable-diffusion.cpp, SDCPP: {\"steps\": 99, \"a\": \"x, Seed: 1\"}";
        let found = settings_in(&picture(&[("parameters", text)])).expect("a text");
        assert_eq!(found.maker, PictureMaker::StableDiffusionCpp);
        assert_eq!((found.seed, found.height, found.guidance), (Some(42), Some(512), Some(0.0)));
        assert_eq!(found.remarks, ["Guidance: \"3.5\" means nothing here"]);
    }

    #[test]
    fn loras_and_what_is_not_understood_of_a_graph_are_found_through_its_links() {
        let graph = r#"{"3": {"class_type": "KSampler", "inputs": {"seed": ["9", 0], "steps": 8,
            "cfg": 2.5, "sampler_name": "res_multistep", "scheduler": "simple", "denoise": 1.0,
            "model": ["8", 0], "positive": ["6", 0], "negative": ["6", 0],
            "latent_image": ["4", 0]}},
            "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["10", 0]}},
            "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "z_image_turbo.safetensors"}},
            "8": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["11", 0],
                "lora_name": "people\\anna.safetensors", "strength_model": 0.7}},
            "9": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
            "10": {"class_type": "PrimitiveString", "inputs": {"value": "a hat"}},
            "11": {"class_type": "ModelSamplingAuraFlow", "inputs": {"shift": 5, "model": ["7", 0]}},
            "12": {"class_type": "FaceFixer", "inputs": {}}}"#;
        let found = settings_in(&picture(&[("prompt", graph)])).expect("a graph");
        assert_eq!((found.prompt.as_str(), found.seed), ("a hat", Some(77)));
        assert_eq!(found.sampler, Some(SamplerKind::ResMultistep));
        assert_eq!(found.loras, [("people/anna.safetensors".to_owned(), 0.7)]);
        assert_eq!(found.model.as_deref(), Some("z_image_turbo.safetensors"));
        assert_eq!(found.remarks.len(), 2, "{:?}", found.remarks);
        let told = found.remarks.join("\n");
        assert!(told.contains("\"FaceFixer\"") && told.contains("shifted by 5"), "{told}");
    }

    #[test]
    fn what_a_graph_does_besides_one_whole_run_of_a_sampler_is_told() {
        let graph = r#"{"3": {"class_type": "KSamplerAdvanced", "inputs": {"noise_seed": 9,
            "steps": ["5", 0], "add_noise": "enable", "start_at_step": 2, "end_at_step": 10000,
            "return_with_leftover_noise": "enable", "latent_image": ["4", 0]}, "is_changed": [NaN]},
            "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64,
                "batch_size": 4}},
            "5": {"class_type": "Half", "inputs": {"value": 16}},
            "6": {"class_type": "KSampler", "inputs": {"seed": 5}}}"#;
        let found = settings_in(&picture(&[("prompt", graph)])).expect("a graph");
        assert_eq!((found.seed, found.steps, found.width), (Some(9), Some(16), Some(64)));
        let expected = [
            "the node \"Half\" is not understood",
            "its graph has 2 samplers, of which one is read",
            "steps comes from the node \"Half\", which is not understood",
            "it is one of a batch of 4 pictures: the first is made",
            "return_with_leftover_noise: \"enable\" means nothing here",
            "start_at_step: \"2\" means nothing here",
        ];
        assert_eq!(found.remarks, expected);
        let whole = graph.replace("_step\": 2", "_step\": 0").replace(": 10000", ": 8");
        let told = settings_in(&picture(&[("prompt", &whole)])).expect("a graph").remarks;
        let is_cut = told.iter().any(|it| it == "end_at_step: \"8\" means nothing here");
        assert!(is_cut && told.len() == 6, "{told:?}");
    }

    #[test]
    fn a_picture_of_ours_whose_facts_are_damaged_is_known_by_its_text() {
        let text = "a fox\nSteps: 8, Seed: 1, Size: 64x64, Model: mini, Version: zimaged 0.1.0";
        let damaged = picture(&[("zimaged", "{\"software\":"), ("parameters", text)]);
        let Some(PictureFacts::Others(found)) = facts_in(&damaged) else { panic!("its text") };
        assert_eq!((found.maker, found.seed), (PictureMaker::Zimaged, Some(1)));
    }

    #[test]
    fn a_comment_of_a_photo_is_no_prompt() {
        assert!(!web_ui::has_settings("at the sea, Steps: none"));
        assert!(web_ui::has_settings("Steps: 8, Seed: 1"));
    }

    #[test]
    fn invoke_ai_s_facts_are_read_and_what_is_none_is_not() {
        let facts = r#"{"positive_prompt": "an owl", "seed": 3, "cfg_scale": 4.5, "steps": 30,
            "generation_mode": "z_image_img2img", "strength": 0.6, "hrf_enabled": true,
            "loras": [{"model": {"name": "ink"}, "weight": 0.4}]}"#;
        let found = settings_in(&picture(&[("invokeai_metadata", facts)])).expect("facts");
        assert_eq!((found.prompt.as_str(), found.guidance), ("an owl", Some(3.5)));
        assert_eq!(found.loras, [("ink".to_owned(), 0.4)]);
        assert_eq!(found.remarks.len(), 3, "{:?}", found.remarks);
        for nothing in [picture(&[]), picture(&[("prompt", "{")]), b"no picture".to_vec()] {
            assert_eq!(settings_in(&nothing), None);
        }
    }
}
