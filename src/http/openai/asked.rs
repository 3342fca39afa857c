//! The fields of a request for images, as a job.

use image::{ImageFormat, Luma};
use serde_json::Value;
use tokio::sync::Semaphore;
use toml::Table;

use crate::http::blocking::blocking;
use crate::http::fields::Fields;
use crate::http::problem::HttpProblem;
use crate::inputs::{self, InputLimits};
use crate::job::spec::fields::sides;

/// OpenAI's own most.
const IMAGES_MAX: i64 = 10;

/// Theirs, too.
const PREVIEWS_MAX: u32 = 3;

/// One mask at a time is decoded: it takes some hundred times the memory of its file.
static DECODING: Semaphore = Semaphore::const_new(1);

/// What is asked for.
pub struct AskedImages {
    /// The keys of the job.
    pub job: Table,
    /// Whether pictures are answered by where they are, and not themselves.
    pub by_url: bool,
    /// Where the pictures are to come as a stream: how many previews of each come before it.
    pub previews_max: Option<u32>,
    /// As it is called in the answer.
    pub format: String,
}

impl AskedImages {
    pub fn read(fields: &Fields) -> Result<AskedImages, HttpProblem> {
        let mut job = Table::new();
        let prompt = fields.text("prompt")?;
        let prompt = prompt.ok_or_else(|| HttpProblem::field("prompt", "prompt is missing"))?;
        job.insert("prompt".to_owned(), prompt.into());
        match fields.whole("n")?.unwrap_or(1) {
            n @ 1..=IMAGES_MAX => drop(job.insert("num_images".to_owned(), n.into())),
            _ => return Err(HttpProblem::field("n", format!("n: use 1 to {IMAGES_MAX}"))),
        }
        if let Some(size) = fields.text("size")?.filter(|size| *size != "auto") {
            let wrong = || HttpProblem::field("size", "size: use WIDTHxHEIGHT in pixels, or auto");
            let (width, height) = sides(size).ok_or_else(wrong)?;
            for (key, side) in [("width", width), ("height", height)] {
                job.insert(key.to_owned(), i64::from(side).into());
            }
        }
        let format = one_of(fields, "output_format", &["png", "jpeg", "webp"])?.unwrap_or("png");
        job.insert("format".to_owned(), format.into());
        one_of(fields, "background", &["auto", "opaque"])?;
        let by_url = one_of(fields, "response_format", &["b64_json", "url"])? == Some("url");
        own_fields(fields, &mut job)?;
        let previews_max = previews_max(fields)?;
        let previews_max = fields.is_true("stream").then_some(previews_max);
        Ok(AskedImages { job, by_url, previews_max, format: format.to_owned() })
    }
}

fn previews_max(fields: &Fields) -> Result<u32, HttpProblem> {
    let asked = fields.whole("partial_images")?.unwrap_or(0);
    let number = u32::try_from(asked).ok().filter(|number| *number <= PREVIEWS_MAX);
    let why = || format!("partial_images: use 0 to {PREVIEWS_MAX}");
    number.ok_or_else(|| HttpProblem::field("partial_images", why()))
}

fn one_of<'f>(
    fields: &'f Fields,
    key: &str,
    known: &[&str],
) -> Result<Option<&'f str>, HttpProblem> {
    match fields.text(key)? {
        Some(word) if !known.contains(&word) => {
            Err(HttpProblem::field(key, format!("{key}: use {}", known.join(" or "))))
        }
        word => Ok(word),
    }
}

/// Keys of ours, and what other servers with this API call them.
fn own_fields(fields: &Fields, job: &mut Table) -> Result<(), HttpProblem> {
    for key in ["negative_prompt", "on_oom"] {
        if let Some(text) = fields.text(key)? {
            job.insert(key.to_owned(), text.into());
        }
    }
    for key in ["seed", "priority"] {
        if let Some(number) = fields.whole(key)? {
            job.insert(key.to_owned(), number.into());
        }
    }
    let steps = fields.first_number(&["steps", "num_inference_steps", "step"])?;
    if let Some(steps) = steps {
        job.insert("steps".to_owned(), (steps as i64).into());
    }
    for (key, names) in
        [("guidance", &["guidance", "guidance_scale"][..]), ("strength", &["strength"])]
    {
        if let Some(number) = fields.first_number(names)? {
            job.insert(key.to_owned(), number.into());
        }
    }
    if let Some(Value::Array(tags)) = fields.get("tags") {
        let tags: Vec<toml::Value> =
            tags.iter().filter_map(|tag| Some(tag.as_str()?.to_owned().into())).collect();
        job.insert("tags".to_owned(), tags.into());
    }
    Ok(())
}

/// Their masks are transparent where is painted, ours white.
pub async fn painted_over(mask: Vec<u8>, limits: InputLimits) -> Result<Vec<u8>, HttpProblem> {
    let _turn = DECODING.acquire().await;
    blocking(move || painted_over_in(&mask, limits)).await?
}

fn painted_over_in(mask: &[u8], limits: InputLimits) -> Result<Vec<u8>, HttpProblem> {
    let wrong = |why: String| HttpProblem::field("mask", format!("mask: {why}"));
    // Before it is decoded: a small file may hold many pixels.
    inputs::inspect(mask, limits).map_err(|error| wrong(error.to_string()))?;
    let mask = image::load_from_memory(mask).map_err(|error| wrong(error.to_string()))?;
    if !mask.color().has_alpha() {
        return Err(wrong("it has no transparent part, which is where is painted".to_owned()));
    }
    let mask = mask.into_rgba8();
    let painted = image::ImageBuffer::from_fn(mask.width(), mask.height(), |x, y| {
        Luma([255 - mask.get_pixel(x, y).0[3]])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    painted.write_to(&mut png, ImageFormat::Png).map_err(|error| wrong(error.to_string()))?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<AskedImages, HttpProblem> {
        let Value::Object(fields) = fields else { panic!("an object") };
        AskedImages::read(&Fields(fields))
    }

    #[test]
    fn what_means_something_here_becomes_a_job_and_the_rest_is_ignored() {
        let asked = read(json!({
            "model": "dall-e-2", "prompt": "a fox", "n": 2, "size": "1024x768", "quality": "hd",
            "user": "me", "seed": 7, "num_inference_steps": 4, "tags": ["zoo"], "style": null,
        }));
        let job = toml::to_string(&asked.expect("a job").job).expect("TOML");
        assert_eq!(
            job,
            "format = \"png\"\nheight = 768\nnum_images = 2\nprompt = \"a fox\"\nseed = 7\n\
             steps = 4\ntags = [\"zoo\"]\nwidth = 1024\n"
        );
        let auto = read(json!({ "prompt": "a fox", "size": "auto", "response_format": "url" }));
        let auto = auto.expect("a job");
        assert!(auto.by_url && !auto.job.contains_key("width"));
        // In a form all values are texts.
        for (fields, previews_max) in [
            (json!({ "prompt": "a", "partial_images": 2 }), None),
            (json!({ "prompt": "a", "stream": true }), Some(0)),
            (json!({ "prompt": "a", "stream": "true", "partial_images": "3" }), Some(3)),
        ] {
            assert_eq!(read(fields).expect("a job").previews_max, previews_max);
        }
    }

    #[test]
    fn what_we_cannot_do_is_refused_by_its_field() {
        for (fields, param) in [
            (json!({}), "prompt"),
            (json!({ "prompt": 3 }), "prompt"),
            (json!({ "prompt": "a", "n": 11 }), "n"),
            (json!({ "prompt": "a", "size": "big" }), "size"),
            (json!({ "prompt": "a", "stream": true, "partial_images": 4 }), "partial_images"),
            (json!({ "prompt": "a", "partial_images": -1 }), "partial_images"),
            (json!({ "prompt": "a", "output_format": "svg" }), "output_format"),
            (json!({ "prompt": "a", "background": "transparent" }), "background"),
        ] {
            let problem = read(fields).err().expect("refused");
            assert_eq!(problem.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn a_transparent_part_is_painted_over() {
        let mut mask = image::RgbaImage::from_pixel(2, 1, image::Rgba([9, 9, 9, 255]));
        mask.put_pixel(0, 0, image::Rgba([9, 9, 9, 0]));
        let mut png = std::io::Cursor::new(Vec::new());
        mask.write_to(&mut png, ImageFormat::Png).expect("encoded");
        let limits = |pixels_max| InputLimits { bytes_max: 1 << 20, pixels_max };
        let painted = painted_over_in(png.get_ref(), limits(2)).expect("a mask");
        let painted = image::load_from_memory(&painted).expect("a picture").into_luma8();
        assert_eq!(painted.into_raw(), [255, 0]);
        assert!(painted_over_in(b"no picture", limits(2)).is_err());
        let large = painted_over_in(png.get_ref(), limits(1)).expect_err("too many pixels");
        assert_eq!(
            large.detail,
            "mask: it has 2x1 pixels; at most 1 in all are read (limits.input_pixels_max)"
        );
    }
}
