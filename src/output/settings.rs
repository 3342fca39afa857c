//! What a picture says of how it was made, whichever program has made it: ours, Stable Diffusion's
//! web UI and what writes as it does, ComfyUI, InvokeAI. Nothing of it is believed further than to
//! fill a form.

use std::io::Cursor;

use serde_json::Value;

use super::metadata::{KEY, Metadata};
use super::read::{JSON_BYTES_MAX, PNG_BYTES_MAX};
use super::{exif, read};

/// Under which words the programs write.
const WEB_UI: &str = "parameters";
const COMFY_UI: &str = "prompt";
const INVOKE_AI: &str = "invokeai_metadata";

/// So far the links of a graph are followed.
const LINKS_MAX: usize = 16;

/// What was found; empty where the picture does not say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundSettings {
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
    /// All of it as the web UI writes it, where that is there.
    pub text: String,
}

/// What the picture in `content` says; `None` where it says nothing that we can read.
pub fn settings_in(content: &[u8]) -> Option<FoundSettings> {
    if !content.starts_with(b"\x89PNG") {
        let container =
            ::exif::Reader::new().read_from_container(&mut Cursor::new(content)).ok()?;
        return ours(&exif::json(&container)?);
    }
    let texts = png_texts(content)?;
    let of = |key: &str| texts.iter().find(|(known, _)| known == key).map(|(_, text)| &**text);
    let found = of(KEY)
        .and_then(ours)
        .or_else(|| of(INVOKE_AI).and_then(invoke_ai))
        .or_else(|| of(WEB_UI).map(web_ui))
        .or_else(|| of(COMFY_UI).and_then(comfy_ui))?;
    Some(FoundSettings { text: of(WEB_UI).unwrap_or_default().to_owned(), ..found })
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

fn ours(json: &str) -> Option<FoundSettings> {
    let Metadata { recipe, queue, .. } = read::parsed(json)?;
    Some(FoundSettings {
        prompt: queue.asked_prompt.unwrap_or(recipe.prompt),
        negative_prompt: recipe.negative_prompt,
        width: Some(queue.asked.width.into()),
        height: Some(queue.asked.height.into()),
        steps: Some(queue.asked.steps.into()),
        seed: i64::try_from(recipe.seed).ok(),
        guidance: Some(recipe.guidance),
        text: String::new(),
    })
}

/// Lines of the prompt, perhaps of the negative one, and a last one of `Key: value` with commas.
fn web_ui(text: &str) -> FoundSettings {
    let (above, facts) = match text.rfind("\nSteps: ") {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let (prompt, negative) = above.split_once("\nNegative prompt:").unwrap_or((above, ""));
    let fact = |key: &str| {
        let facts = facts.split(", ").filter_map(|fact| fact.split_once(": "));
        facts.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value.trim())
    };
    let size = fact("Size").and_then(|size| size.split_once('x'));
    let number = |key: &str| fact(key)?.parse().ok();
    FoundSettings {
        prompt: prompt.trim().to_owned(),
        negative_prompt: negative.trim().to_owned(),
        width: size.and_then(|(width, _)| width.parse().ok()),
        height: size.and_then(|(_, height)| height.parse().ok()),
        steps: number("Steps"),
        seed: number("Seed"),
        guidance: fact("CFG scale").and_then(|scale| scale.parse().ok()).and_then(from_scale),
        text: String::new(),
    }
}

/// A scale of 1 is no guidance.
fn from_scale(scale: f64) -> Option<f64> {
    scale.is_finite().then_some((scale - 1.0).max(0.0))
}

fn invoke_ai(json: &str) -> Option<FoundSettings> {
    let facts: Value = serde_json::from_str(json).ok()?;
    let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    Some(FoundSettings {
        prompt: text("positive_prompt"),
        negative_prompt: text("negative_prompt"),
        width: facts["width"].as_i64(),
        height: facts["height"].as_i64(),
        steps: facts["steps"].as_i64(),
        seed: facts["seed"].as_i64(),
        guidance: facts["cfg_scale"].as_f64().and_then(from_scale),
        text: String::new(),
    })
}

/// A graph of nodes: the first sampler, and what leads to it.
fn comfy_ui(json: &str) -> Option<FoundSettings> {
    let graph: Value = serde_json::from_str(json).ok()?;
    let mut nodes = graph.as_object()?.values();
    let sampler = nodes.find(|node| {
        node["class_type"].as_str().is_some_and(|kind| kind.starts_with("KSampler"))
    })?;
    let inputs = &sampler["inputs"];
    let seed = inputs["seed"].as_i64().or_else(|| inputs["noise_seed"].as_i64());
    let latents = linked(&graph, &inputs["latent_image"]);
    let side = |key: &str| latents.and_then(|node| node["inputs"][key].as_i64());
    Some(FoundSettings {
        prompt: text_of(&graph, &inputs["positive"]),
        negative_prompt: text_of(&graph, &inputs["negative"]),
        width: side("width"),
        height: side("height"),
        steps: inputs["steps"].as_i64(),
        seed,
        guidance: inputs["cfg"].as_f64().and_then(from_scale),
        text: String::new(),
    })
}

/// The node that an input is linked to.
fn linked<'g>(graph: &'g Value, input: &Value) -> Option<&'g Value> {
    graph.get(input.get(0)?.as_str()?)
}

/// The text that an input comes from, through nodes that change it.
fn text_of(graph: &Value, input: &Value) -> String {
    let mut input = input.clone();
    for _ in 0..LINKS_MAX {
        if let Some(text) = input.as_str() {
            return text.to_owned();
        }
        let Some(node) = linked(graph, &input) else { break };
        // What is zeroed out says nothing any more.
        if node["class_type"] == "ConditioningZeroOut" {
            break;
        }
        let keys = ["text", "conditioning", "positive", "value", "string"];
        let next = keys.iter().find_map(|key| node["inputs"].get(key));
        let Some(next) = next else { break };
        input = next.clone();
    }
    String::new()
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
            text: text.to_owned(),
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

    #[test]
    fn invoke_ai_s_facts_are_read_and_what_is_none_is_not() {
        let facts = r#"{"positive_prompt": "an owl", "seed": 3, "cfg_scale": 4.5, "steps": 30}"#;
        let found = settings_in(&picture(&[("invokeai_metadata", facts)])).expect("facts");
        assert_eq!((found.prompt.as_str(), found.guidance), ("an owl", Some(3.5)));
        for nothing in [picture(&[]), picture(&[("prompt", "{")]), b"no picture".to_vec()] {
            assert_eq!(settings_in(&nothing), None);
        }
    }
}
