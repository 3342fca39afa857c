//! The text of Stable Diffusion's web UI, and of the programs that write as it does: lines of the
//! prompt, perhaps of the negative one, and a last one of `Key: value` with commas.

use super::{FoundSettings, PictureMaker, Remarks, from_scale};

/// So many settings are read: more is no text of these programs.
const PAIRS_MAX: usize = 200;

/// Settings that are the same of each picture here, or say the same again.
const MEANINGLESS: [&str; 9] =
    ["Model hash", "Lora hashes", "Version", "Eta", "RNG", "Emphasis", "User", "VAE", "TE"];

/// How the settings begin of a second pass that has enlarged the picture.
const ENLARGED: &str = "Hires ";

/// How our own version begins.
const OURS: &str = "zimaged ";

/// Behind this stable-diffusion.cpp says all of it once more, as JSON.
const JSON_TAIL: &str = ", SDCPP: {";

/// Where the settings begin; `None` where there are none.
fn beginning(text: &str) -> Option<usize> {
    let behind_a_line = text.rfind("\nSteps: ").map(|at| at + 1);
    behind_a_line.or_else(|| text.starts_with("Steps: ").then_some(0))
}

/// Whether the text is one of these programs: a comment may be anything.
pub(super) fn has_settings(text: &str) -> bool {
    beginning(text).is_some()
}

/// What the text says; without settings it is a prompt alone.
pub(super) fn settings(text: &str) -> FoundSettings {
    let text = text.split_once(JSON_TAIL).map_or(text, |(before, _)| before);
    let (above, facts) = text.split_at(beginning(text).unwrap_or(text.len()));
    let facts = pairs(facts);
    let (prompt, negative) = above.split_once("\nNegative prompt:").unwrap_or((above, ""));
    let mut found = FoundSettings {
        prompt: prompt.trim().to_owned(),
        negative_prompt: negative.trim().to_owned(),
        ..FoundSettings::default()
    };
    let mut remarks = Remarks::default();
    let is_enlarged = facts.iter().any(|(key, _)| key.starts_with(ENLARGED));
    for (key, value) in &facts {
        match *key {
            // Of the picture that the second pass begins with, which was made of the prompt alone.
            "Denoising strength" if is_enlarged => remarks.unknown(key, value),
            key => read(&mut found, &mut remarks, key, value),
        }
    }
    found.remarks = remarks.0;
    found
}

fn read(found: &mut FoundSettings, remarks: &mut Remarks, key: &str, value: &str) {
    match key {
        "Steps" => found.steps = value.parse().ok(),
        "Seed" => found.seed = remarks.seed(value.parse().ok()),
        "CFG scale" => found.guidance = value.parse().ok().and_then(from_scale),
        "Size" => {
            let sides = value.split_once('x');
            found.width = sides.and_then(|(width, _)| width.parse().ok());
            found.height = sides.and_then(|(_, height)| height.parse().ok());
        }
        "Sampler" => found.sampler = Some(remarks.sampler(value)),
        "Schedule type" => remarks.schedule(value),
        "Model" => found.model = Some(value.to_owned()),
        "Denoising strength" => {
            value.parse().into_iter().for_each(|strength| remarks.strength(strength));
        }
        "Version" if value == "stable-diffusion.cpp" => {
            found.maker = PictureMaker::StableDiffusionCpp;
        }
        "Version" if value.starts_with(OURS) => found.maker = PictureMaker::Zimaged,
        _ if MEANINGLESS.contains(&key) || key.starts_with("Module ") => (),
        _ => remarks.unknown(key, value),
    }
}

/// `Key: value, Key: "a value, with a comma"`; such a value is a JSON string.
fn pairs(line: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while pairs.len() < PAIRS_MAX
        && let Some((key, behind)) = rest.split_once(": ")
    {
        let (value, after) = value(behind);
        pairs.push((key.trim(), value));
        rest = after;
    }
    pairs
}

/// The value that stands first, and what comes after it.
fn value(text: &str) -> (String, &str) {
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(value)) = strings.next() {
            let after = &text[strings.byte_offset()..];
            return (value, after.strip_prefix(", ").unwrap_or(after));
        }
    }
    let (value, after) = text.split_once(", ").unwrap_or((text, ""));
    (value.trim().to_owned(), after)
}
