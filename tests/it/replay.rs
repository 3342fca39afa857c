//! Pictures made again from what they say of themselves.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zimaged::internals::{Format, Metadata, Pixels, metadata_of, write_picture};

use crate::support::{House, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";
const HASHED: &str = "SELECT count(*) FROM workers WHERE model_hash NOT LIKE 'unhashed:%'";

fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgb8()
}

/// The compressed pixels of a PNG, as they stand in the file.
fn image_data(path: &Path) -> Vec<u8> {
    let content = fs::read(path).unwrap();
    let mut rest = &content[8..];
    let mut data = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if &head[4..] == b"IDAT" {
            data.extend_from_slice(&behind[..length]);
        }
        rest = &behind[length + 4..];
    }
    data
}

/// Paints over a PNG and keeps its texts, as a picture editor does.
fn paint_over(path: &Path) {
    let mut reader =
        png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info();
    let (width, height, texts) = (info.width, info.height, info.utf8_text.clone());
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    for text in texts {
        let content = text.get_text().unwrap();
        encoder.add_itxt_chunk(text.keyword, content).unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![9; pixels.len()]).unwrap();
}

fn path_of(house: &House, job: i64) -> PathBuf {
    let path = house.value(&format!("SELECT path FROM history WHERE job = {job}"));
    house.path("outputs").join(path)
}

// peers P and R
#[test]
fn a_picture_of_ours_is_made_again_pixel_for_pixel_however_it_is_called() {
    let mut house = House::with_config("");
    fs::create_dir(house.path("wildcards")).unwrap();
    fs::write(house.path("wildcards/thing.txt"), "circle\nsquare\n").unwrap();
    let size = "size = '64x64'\nsteps = 3\n";
    house.drop_job(
        "a.toml",
        &format!(
            "prompt = 'a {{red|blue}} __thing__'\nwildcards = true\nseed = 7\nguidance = 1.5\n\
                  negative_prompt = 'grey'\nsampler = 'res_multistep'\n{size}"
        ),
    );
    house.drop_job("b.toml", &format!("prompt = 'a \"green\" \\\\ star'\nformat = 'webp'\n{size}"));
    house.start();
    house.until_sql(DONE, "2");
    house.until_sql(HASHED, "1");
    let [first, second] = [path_of(&house, 1), path_of(&house, 2)];
    let [renamed, edited] = ["elsewhere.webp", "edited.png"].map(|name| house.path(name));
    let by_name = |wanted: &str| {
        let is_wanted = |path: &&PathBuf| path.extension().unwrap() == wanted;
        [&first, &second].into_iter().find(is_wanted).unwrap().clone()
    };
    let (png, webp) = (by_name("png"), by_name("webp"));
    fs::rename(&webp, &renamed).unwrap();
    fs::copy(&png, &edited).unwrap();
    paint_over(&edited);
    assert_ne!(pixels(&edited), pixels(&png));

    let arguments = ["replay", edited.to_str().unwrap(), renamed.to_str().unwrap(), "--same"];
    let replays = house.json(&arguments);
    assert_eq!(replays["refused"], Value::Array(Vec::new()), "{replays}");
    house.until_sql(DONE, "4");
    let job = |place: usize| replays["pictures"][place]["job"].as_i64().unwrap();
    assert!(replays["pictures"].as_array().unwrap().iter().all(|it| it["same_picture"] == true));
    assert!(replays["pictures"][0]["notes"].to_string().contains("choices"), "{replays}");
    let again = path_of(&house, job(0));
    assert_eq!(pixels(&again), pixels(&png));
    assert_eq!(image_data(&again), image_data(&png));
    assert_eq!(pixels(&path_of(&house, job(1))), pixels(&renamed));
    let [before, after] = [&png, &again].map(|path| metadata_of(path).unwrap());
    assert_eq!(
        (before.recipe, before.rung, before.model.parts.len()),
        (after.recipe, after.rung, 3)
    );
}

/// A picture that says that of itself, with some of it changed.
fn picture(house: &House, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let facts = r#"{"software": "zimaged 0.0.9", "job": 3, "index": 1, "database": "elsewhere",
        "attempt_id": 4, "asked": {"width": 128, "height": 128, "steps": 8}, "degraded": false,
        "recipe": {"prompt": "a fox", "seed": 5}, "made": {"width": 128, "height": 128, "steps": 8},
        "rung": {"residency": "device", "precision": "full", "decode": "whole", "width": 128,
        "height": 128, "steps": 8}, "model": {"name": "x", "hash": null}, "device": "NVIDIA H200",
        "timings": {"text_encode_ms": 0, "denoise_ms": 0, "vae_decode_ms": 0}}"#;
    let mut facts: Value = serde_json::from_str(facts).unwrap();
    change(&mut facts);
    let metadata: Metadata = serde_json::from_value(facts).unwrap();
    let path = house.path(name);
    let pixels = Pixels { width: 2, height: 2, rgb: vec![0; 12] };
    write_picture(&path, &pixels, Format::Jpeg, &metadata).unwrap();
    path.display().to_string()
}

fn kinds(replay: &Value) -> Vec<&str> {
    replay["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn what_differs_is_said_and_nothing_is_promised_then() {
    let mut house = House::started("");
    let hash = "5a".repeat(32);
    let picture = picture(&house, "a.jpg", |facts| {
        facts["recipe"]["init_image"] = hash.as_str().into();
        facts["recipe"]["strength"] = 0.5.into();
        facts["recipe"]["lora"] =
            serde_json::json!([{"name": "ink", "weight": 0.5, "sha256": hash}]);
        facts["recipe"]["prompt"] = "a long prompt, cut…".into();
        facts["rung"]["decode"] = serde_json::json!({"tiles": {"side": 256}});
    });
    house.drop_job("warm.toml", "prompt = 'a fox'\n");
    house.until_sql(DONE, "1");
    let replays = house.json(&["replay", &picture, "--as-job"]);
    let replay = &replays["pictures"][0];
    let expected = ["prompt", "rung", "input", "lora", "version", "device"];
    assert_eq!(kinds(replay), expected, "{replays}");
    assert_eq!((&replay["same_picture"], &replay["job"]), (&false.into(), &Value::Null));
    let refused = house.zimaged(&["replay", &picture, "--same"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("LoRA ink"), "{}", said(&refused));
    house.until_sql("SELECT count(*) FROM jobs", "1");
    assert!(house.zimaged(&["replay", &picture]).status.success());
    house.until_sql(DONE, "2");
    house.stop("TERM");
    let text = house.value("SELECT text FROM jobs ORDER BY id DESC LIMIT 1");
    assert!(text.contains("on_oom = \"offload\""), "{text}");
}

#[test]
fn a_file_that_says_nothing_is_told_and_the_others_are_jobs() {
    let house = House::started("");
    let good = picture(&house, "good.jpg", |_| {});
    image::RgbImage::new(2, 2).save(house.path("mute.png")).unwrap();
    fs::write(house.path("text.txt"), "no picture").unwrap();
    let files = [good.as_str(), "mute.png", "text.txt", "none.png"];
    let output = house.zimaged(&[&["replay"], &files[..]].concat());
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    for line in [
        "good.jpg is job 1, perhaps another picture",
        "mute.png: it does not say how it was made",
        "text.txt: it is no PNG, JPEG or WebP picture",
        "none.png: No such file",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let two = house.zimaged(&["replay", "--as-job", &good, &good]);
    assert_eq!(two.status.code(), Some(2), "{}", said(&two));
}

/// A PNG with this text.
fn png_with(house: &House, name: &str, key: &str, text: &str) -> String {
    let path = house.path(name);
    let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 1, 1);
    encoder.add_itxt_chunk(key.to_owned(), text.to_owned()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    path.display().to_string()
}

#[test]
fn nothing_in_a_picture_or_its_name_can_speak_to_the_terminal() {
    let house = House::new("");
    let text =
        "a fox\nSteps: 8, Sampler: \x1b[31mred\x07, Odd\x1b]0;key: 1, Seed: 1, Model: \u{9b}m";
    png_with(&house, "a\nb is job 9\x1b[2J.png", "parameters", text);
    let name = "a\nb is job 9\x1b[2J.png";
    let is_plain = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.chars().all(|c| c == '\n' || !c.is_control())
    };
    let shown = house.zimaged(&["replay", "--as-job", name]);
    assert!(is_plain(&shown.stdout), "{}", said(&shown));
    fs::write(house.path("again.toml"), &shown.stdout).unwrap();
    let checked = house.zimaged(&["check", "again.toml"]);
    assert!(checked.status.success(), "{}", said(&checked));
    let told = house.zimaged(&["replay", name]);
    assert!(is_plain(&told.stdout) && is_plain(&told.stderr), "{}", said(&told));
    assert!(!said(&told).lines().any(|line| line.starts_with("b is job 9")), "{}", said(&told));
}

#[test]
fn a_picture_of_another_program_becomes_a_job_as_near_as_can_be() {
    let house = House::new("");
    fs::create_dir(house.path("loras")).unwrap();
    fs::write(house.path("loras/ink.safetensors"), "ink").unwrap();
    let text = "a \"red\" fox <lora:ink:0.5> <lora:oil:1>\nNegative prompt: fog\nSteps: 9, \
                Sampler: DPM++ 2M, CFG scale: 2.5, Seed: 77, Size: 500x512, Model: z-turbo";
    let picture = png_with(&house, "theirs.png", "parameters", text);
    let shown = house.zimaged(&["replay", "--as-job", &picture]);
    let job = String::from_utf8(shown.stdout).unwrap();
    for line in [
        "# the LoRA oil is not in the folder of LoRAs, and left out",
        "# its width is 500, of which this model makes 496",
        "# the sampler \"DPM++ 2M\" is not known here: euler",
        "prompt = \"a \\\"red\\\" fox\"",
        "negative_prompt = \"fog\"",
        "width = 496",
        "height = 512",
        "steps = 9",
        "seed = 77",
        "guidance = 1.5",
        "path = \"ink\"",
        "weight = 0.5",
    ] {
        assert!(job.lines().any(|it| it == line), "{line}: {job}");
    }
    fs::write(house.path("again.toml"), &job).unwrap();
    let checked = house.zimaged(&["check", "again.toml"]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(house.zimaged(&["replay", &picture]).status.success());
    assert!(house.path("jobs/theirs.toml").exists(), "it waits for the first daemon");
}
