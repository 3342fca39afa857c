//! Pictures of others: as input, and what they say of themselves.

use std::fs;
use std::io::Write;

use zimaged::internals::{
    InputLimits, input_picture, inspect, inspect_input, metadata_of, settings_in,
};

use super::{Target, example};

const LIMITS: InputLimits = InputLimits { bytes_max: 4 << 20, pixels_max: 1 << 20 };

/// A megapixel as the decoder has it, turned, as RGB, and resized in f32.
const HEAP_BYTES_MAX: usize = 128 << 20;

/// Names of chunks, and what metadata consists of.
const WORDS: &[&str] = &[
    "IHDR",
    "IDAT",
    "IEND",
    "PLTE",
    "iTXt",
    "zTXt",
    "tEXt",
    "eXIf",
    "iCCP",
    "acTL",
    "fcTL",
    "tRNS",
    "parameters\0",
    "prompt\0",
    "zimaged\0",
    "invokeai_metadata\0",
    "Steps: 20, Seed: 1, Size: ",
    "{\"3\": {\"class_type\": \"KSampler\", \"inputs\": {\"positive\": [\"3\", 0]}}}",
    "RIFF",
    "WEBP",
    "VP8 ",
    "VP8L",
    "VP8X",
    "ANIM",
    "ALPH",
    "EXIF",
    "Exif\0\0",
    "MM\0*",
    "II*\0",
    "\u{ff}\u{d8}",
];

fn corpus() -> Vec<Vec<u8>> {
    let picture = image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut corpus = vec![example("tests/data/mini/square.png")];
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let mut bytes = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), format).expect("a picture");
        corpus.push(bytes);
    }
    let texts = [
        ("parameters", "a fox\nNegative prompt: b\nSteps: 20, Seed: 7, CFG scale: 2, Size: 64x64"),
        ("prompt", COMFY_UI),
        ("invokeai_metadata", "{\"positive_prompt\": \"a\", \"width\": 64, \"seed\": 3}"),
    ];
    corpus.extend(texts.map(|(key, text)| with_text(key, text)));
    corpus
}

const COMFY_UI: &str = r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 8,
    "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["6", 0]}}}"#;

/// A small PNG with a text.
fn with_text(key: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_itxt_chunk(key.to_owned(), text.to_owned()).expect("a text");
    encoder.add_ztxt_chunk(key.to_owned(), "once more".to_owned()).expect("a text");
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&[9; 12]).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

#[test]
fn a_picture_as_input_may_be_anything() {
    let heap_bytes_max = HEAP_BYTES_MAX;
    let target = Target { name: "input", corpus: corpus(), words: WORDS, heap_bytes_max };
    target.run(|bytes| {
        inspect_input(bytes, LIMITS).map_err(|error| error.to_string())?;
        input_picture(bytes, 64, 48).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn a_picture_may_say_anything_of_itself() {
    let heap_bytes_max = 64 << 20;
    let target = Target { name: "metadata", corpus: corpus(), words: WORDS, heap_bytes_max };
    let folder = tempfile::tempdir().expect("a temporary folder");
    target.run(move |bytes| {
        let path = folder.path().join("a.png");
        let mut file = fs::File::create(&path).expect("our own file");
        file.write_all(bytes).expect("room");
        let (found, ours) = (settings_in(bytes), metadata_of(&path));
        assert_eq!(ours.is_some(), inspect(&path).is_some(), "ours, or not");
        // What is not understood is no picture of ours; nobody is told.
        drop(found);
        Ok(())
    });
}
