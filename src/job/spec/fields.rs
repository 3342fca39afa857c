//! What each key of a job file may hold. The defaults of `daemon.toml` are held to the same.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use crate::job::{AskedPrecision, Format, OnOom, SamplerKind, lora, name};
use crate::table::{Check, Mistake, Table, check};

/// A smaller side than this (pixels) is no picture to any model of the family.
pub const SIDE_MIN: u32 = 64;

/// Tags of one job, and bytes of one tag: for finding jobs, not for notes.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 64;

/// Bounds on what one job may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub file_bytes_max: u64,
    pub renders_max: u32,
    pub prompt_bytes_max: usize,
    pub side_max: u32,
    pub steps_max: u32,
    /// Of a picture as input.
    pub input_bytes_max: u64,
    /// Of a picture as input.
    pub input_pixels_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes_max: 1 << 20,
            renders_max: 10_000,
            // The model reads at most 512 tokens, some 2 KiB; the rest is room for other
            // tokenizers.
            prompt_bytes_max: 16 << 10,
            side_max: 4096,
            steps_max: 100,
            input_bytes_max: 64 << 20,
            // What cameras make. More would only be made smaller.
            input_pixels_max: 64_000_000,
        }
    }
}

/// Everything that a value is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub limits: &'a Limits,
    /// Both sides must be multiples of this (pixels); 1 while the model is not known.
    pub granularity: u32,
}

/// No name of a model is longer.
const MODEL_BYTES_MAX: usize = 64;

/// The name of a model in `daemon.toml`: a key of TOML that needs no quotes.
pub fn model_name(value: &DeValue) -> Check<String> {
    let name = check::text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match (1..=MODEL_BYTES_MAX).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(name.to_owned()),
        false => Err(Mistake::new(format!("{} is no name of a model", check::quoted(name)))
            .help(format!("use up to {MODEL_BYTES_MAX} of a-z, A-Z, 0-9, - and _"))),
    }
}

/// Something to paint.
pub fn prompt(value: &DeValue, bounds: &Bounds) -> Check<String> {
    prompt_text(check::text(value)?, bounds)
}

/// As [`prompt`], of a text.
pub fn prompt_text(text: &str, bounds: &Bounds) -> Check<String> {
    let prompt = any_text(text, bounds)?;
    let (without_tags, _) = lora::take_tags(&prompt)?;
    not_empty(without_tags).map(|_| prompt)
}

/// A prompt in which there is something to paint.
pub fn not_empty(prompt: String) -> Check<String> {
    match prompt.trim().is_empty() {
        true => Err(Mistake::new("is empty").help("say what to paint")),
        false => Ok(prompt),
    }
}

/// Something not to paint; may be empty. Line ends become `\n`, so that the file's own do not
/// change the picture.
pub fn negative_prompt(value: &DeValue, bounds: &Bounds) -> Check<String> {
    any_text(check::text(value)?, bounds)
}

fn any_text(text: &str, bounds: &Bounds) -> Check<String> {
    let text = text.replace("\r\n", "\n");
    let bytes_max = bounds.limits.prompt_bytes_max;
    if text.len() > bytes_max {
        let message = format!("is {} bytes long", text.len());
        return Err(Mistake::new(message).help(format!("at most {bytes_max} bytes")));
    }
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(c) => Err(Mistake::new(format!("holds the control character U+{:04X}", u32::from(c)))
            .help("remove it")),
        None => Ok(text),
    }
}

/// A width or a height.
pub fn side(value: &DeValue, bounds: &Bounds) -> Check<u32> {
    check_side(check::whole(value, SIDE_MIN..=bounds.limits.side_max)?, bounds)
}

/// Whether a side is in range and a multiple of the granularity; suggests the nearest that are.
pub fn check_side(side: u32, bounds: &Bounds) -> Check<u32> {
    let range = SIDE_MIN..=bounds.limits.side_max;
    if !range.contains(&side) {
        let right = format!("use sides from {} to {}", range.start(), range.end());
        return Err(Mistake::new(format!("{side} is out of range")).help(right));
    }
    if side.is_multiple_of(bounds.granularity) {
        return Ok(side);
    }
    let below = side - side % bounds.granularity;
    let near = [below, below + bounds.granularity].into_iter().filter(|side| range.contains(side));
    let near: Vec<String> = near.map(|side| side.to_string()).collect();
    let message = format!("{side} is not a multiple of {}", bounds.granularity);
    Err(Mistake::new(message).help(format!("use {}", near.join(" or "))))
}

/// Width and height in one, like `"1024x768"`.
pub fn size(value: &DeValue, bounds: &Bounds) -> Check<(u32, u32)> {
    let right = "use the form \"1024x768\"";
    let text = check::text(value).map_err(|mistake| mistake.help(right))?;
    let (width, height) = sides(text)
        .ok_or_else(|| Mistake::new(format!("{} is no size", check::quoted(text))).help(right))?;
    Ok((check_side(width, bounds)?, check_side(height, bounds)?))
}

/// The two numbers of `1024x768`.
pub fn sides(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// The floor of the shorter side; need not lie on the grid.
pub fn min_side(value: &DeValue, bounds: &Bounds) -> Check<u32> {
    check::whole(value, SIDE_MIN..=bounds.limits.side_max)
}

/// Denoising steps, or their floor.
pub fn steps(value: &DeValue, bounds: &Bounds) -> Check<u32> {
    check::whole(value, 1..=bounds.limits.steps_max)
}

/// A fixed seed, or `None` for `"random"`.
pub fn seed(value: &DeValue) -> Check<Option<u64>> {
    if value.as_str() == Some("random") {
        return Ok(None);
    }
    let seed = check::whole(value, 0..=i64::MAX as u64);
    seed.map(Some).map_err(|mistake| {
        let help = mistake.help.as_deref().unwrap_or_default();
        Mistake::new(mistake.message).help(format!("{help}, or \"random\""))
    })
}

/// How far the ladder may go.
pub fn on_oom(value: &DeValue) -> Check<OnOom> {
    let choices =
        [("fail", OnOom::Fail), ("offload", OnOom::Offload), ("downgrade", OnOom::Downgrade)];
    check::choice(value, &choices)
}

/// How a step goes along the model's velocity.
pub fn sampler(value: &DeValue) -> Check<SamplerKind> {
    let choice = |sampler: SamplerKind| (sampler.word(), sampler);
    check::choice(value, &[choice(SamplerKind::Euler), choice(SamplerKind::ResMultistep)])
}

/// In how many bits a render computes.
pub fn precision(value: &DeValue) -> Check<AskedPrecision> {
    let choice = |precision: AskedPrecision| (precision.word(), precision);
    check::choice(value, &[choice(AskedPrecision::Full), choice(AskedPrecision::Int8)])
}

/// Names of files are shorter on every system.
const PATH_BYTES_MAX: usize = 4096;

/// The path of a picture as input. Whether it is there is seen later.
pub fn input_path(value: &DeValue) -> Check<String> {
    let path = check::text(value)?;
    let right = "name a picture: \"fox.png\"";
    if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return Err(Mistake::new(format!("{} is no path", check::quoted(path))).help(right));
    }
    Ok(path.to_owned())
}

/// How much of what a render begins with is noise.
pub fn strength(value: &DeValue) -> Check<f64> {
    let right = "use a number above 0, at most 1";
    let strength = check::number(value, 0.0..=1.0).map_err(|mistake| mistake.help(right))?;
    match strength > 0.0 {
        true => Ok(strength),
        false => Err(Mistake::new("0 would paint nothing").help(right)),
    }
}

/// The file format. The extension `jpg` is as good a word as `jpeg`.
pub fn format(value: &DeValue) -> Check<Format> {
    let choices = [("png", Format::Png), ("jpeg", Format::Jpeg), ("webp", Format::Webp)];
    match value.as_str().and_then(Format::of_extension) {
        Some(format) => Ok(format),
        None => check::choice(value, &choices),
    }
}

/// A template for the picture's name. An extension at its end stays: see [`settle_extension`].
pub fn output(value: &DeValue) -> Check<String> {
    let template = check::text(value)?;
    match name::extension(template) {
        Some((stem, _)) => name::check(stem),
        None => name::check(template),
    }
    .map_err(Mistake::new)?;
    Ok(template.to_owned())
}

/// An extension that `output` ends in says the format: it leaves the name, because the format gives
/// it again, and is a mistake where `format` says another or no picture has it.
pub fn settle_extension(table: &mut Table, values: &mut Map<String, Value>) {
    let Some(output) = values.get("output").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    let Some((stem, extension)) = name::extension(&output) else { return };
    let Some(format) = Format::of_extension(&extension) else {
        let mistake = Mistake::new(format!("no picture is written as .{extension}"));
        return table.mistake("output", mistake.help("end it in .png, .jpg or .webp, or in none"));
    };
    let said = values.insert("format".to_owned(), json!(format));
    values.insert("output".to_owned(), json!(stem));
    if let Some(said) = said.filter(|said| *said != json!(format)) {
        let mistake = Mistake::new(format!("ends in .{extension}, but format is {said}"));
        table.mistake("output", mistake.help("leave the extension out, or change format"));
    }
}

/// The `tags` of a job.
pub fn tags(top: &mut Table) -> Vec<String> {
    let tags = top.read_list("tags", tag).unwrap_or_default();
    limit_tags(top, "tags", &tags);
    tags
}

/// Notes beside `key` where a job would have too many tags.
pub fn limit_tags(top: &mut Table, key: &str, tags: &[String]) {
    if tags.len() > TAGS_MAX {
        let mistake = Mistake::new(format!("{} of them", tags.len()));
        top.mistake(key, mistake.help(format!("at most {TAGS_MAX} tags")));
    }
}

/// A word to find a job by.
pub fn tag(value: &DeValue) -> Check<String> {
    let tag = check::text(value)?;
    let is_word =
        !tag.is_empty() && tag.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !is_word || tag.len() > TAG_BYTES_MAX {
        let right = format!(
            "use one word of letters, digits, '-', '_' and '.', at most {TAG_BYTES_MAX} bytes"
        );
        return Err(Mistake::new(format!("{} is no tag", check::quoted(tag))).help(right));
    }
    Ok(tag.to_owned())
}
