//! Pictures as files: what is written reads back, and nothing is ever replaced.

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::Path;

use zimaged::internals::{
    Decode, Format, Metadata, Owner, PictureModel, Pixels, Precision, QueueFacts, Recipe,
    Residency, Rung, SizeAndSteps, StageTimings, Written, inspect, make_ready, metadata_of,
    publish, remove_temporaries, temp_path, write_picture,
};

const FORMATS: [Format; 3] = [Format::Png, Format::Jpeg, Format::Webp];

const PROMPTS: [&str; 4] = [
    "a café, with: a \"sign\"\nand a second line",
    "一只猫，戴着红帽子 🐈",
    "\\u0000 {} \u{1b}[31m",
    "",
];

const DATABASE: &str = "0123456789abcdef";

fn owner() -> Owner {
    Owner { database: DATABASE.to_owned(), attempt_id: 7 }
}

fn metadata(prompt: &str) -> Metadata {
    let rung = Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode: Decode::Whole,
        width: 37,
        height: 23,
        steps: 8,
    };
    let plain = Recipe { prompt: prompt.to_owned(), guidance: 1.5, seed: 42, ..Recipe::default() };
    let made = SizeAndSteps { width: 37, height: 23, steps: 8 };
    Metadata {
        software: "zimaged 0.1.0".to_owned(),
        queue: QueueFacts {
            job: 3,
            index: 2,
            owner: owner(),
            asked: made,
            degraded: false,
            created: Some("2026-11-24T22:05:01+01:00".to_owned()),
            file: Some("夜.toml".to_owned()),
            tags: vec!["night".to_owned()],
            asked_prompt: None,
        },
        recipe: Recipe { negative_prompt: "blur, 模糊".to_owned(), ..plain },
        made,
        rung,
        model: PictureModel {
            name: "Z-Image-Turbo".to_owned(),
            hash: Some("0123456789abcdef".to_owned()),
            parts: Vec::new(),
        },
        device: "cpu, 2 threads".to_owned(),
        timings: StageTimings { text_encode_ms: 1, denoise_ms: 12, vae_decode_ms: 2 },
    }
}

/// Smooth, so that JPEG stays close, and of odd sides.
fn pixels() -> Pixels {
    let (width, height) = (37, 23);
    let rgb = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [5 * x, 9 * y, 2 * (x + y)]))
        .map(|v| v as u8);
    Pixels { width, height, rgb: rgb.collect() }
}

fn write(path: &Path, format: Format, prompt: &str) -> Written {
    write_picture(path, &pixels(), format, &metadata(prompt)).expect("a picture")
}

/// A temporary picture in a folder of its own, and what was written.
fn outputs_with_picture() -> (tempfile::TempDir, std::path::PathBuf, Written) {
    let outputs = tempfile::tempdir().expect("a folder");
    let temp = temp_path(outputs.path(), &owner());
    let written = write(&temp, Format::Png, "a cat");
    (outputs, temp, written)
}

fn owner_of(path: &Path) -> Option<Owner> {
    inspect(path).map(|picture| picture.owner)
}

fn exif_text(path: &Path) -> String {
    let mut reader = BufReader::new(fs::File::open(path).expect("the picture"));
    let exif = exif::Reader::new().read_from_container(&mut reader).expect("EXIF");
    let comment = exif.get_field(exif::Tag::UserComment, exif::In::PRIMARY).expect("a comment");
    let exif::Value::Undefined(bytes, _) = &comment.value else { panic!("not bytes") };
    let units = bytes.strip_prefix(b"UNICODE\0").expect("the encoding's name").chunks(2);
    String::from_utf16(
        &units.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>(),
    )
    .expect("UTF-16")
}

fn png_parameters(path: &Path) -> String {
    let reader =
        png::Decoder::new(BufReader::new(fs::File::open(path).expect("the picture"))).read_info();
    let info = reader.expect("a PNG").info().clone();
    let latin =
        info.uncompressed_latin1_text.iter().map(|chunk| (&chunk.keyword, chunk.text.clone()));
    let utf8 = info.utf8_text.iter().map(|chunk| (&chunk.keyword, chunk.get_text().expect("text")));
    latin.chain(utf8).find(|(keyword, _)| *keyword == "parameters").expect("parameters").1
}

#[test]
fn every_format_keeps_pixels_texts_size_and_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in FORMATS {
        for prompt in PROMPTS {
            let path = folder.path().join("picture");
            let written = write(&path, format, prompt);
            let content = fs::read(&path).expect("the picture");
            assert_eq!(written.bytes, content.len() as u64);
            let image = image::load_from_memory(&content).expect("a picture").into_rgb8();
            assert_eq!((image.width(), image.height()), (37, 23));
            let furthest =
                image.iter().zip(&pixels().rgb).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
            assert!(
                furthest <= if format == Format::Jpeg { 16 } else { 0 },
                "{format:?}: {furthest} levels"
            );
            let text = if format == Format::Png { png_parameters(&path) } else { exif_text(&path) };
            assert_eq!(text, metadata(prompt).parameters());
            assert_eq!(metadata_of(&path), Some(metadata(prompt)));
            let picture = inspect(&path).expect("a picture of ours");
            assert_eq!((picture.owner, picture.timings.denoise_ms), (owner(), 12));
            assert_eq!((picture.bytes, picture.sha256), (written.bytes, written.sha256));
        }
    }
}

/// newcomer 38
#[test]
fn every_format_says_when_the_picture_was_made() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in FORMATS {
        let path = folder.path().join("picture");
        write(&path, format, "a cat");
        let mut reader = BufReader::new(fs::File::open(&path).expect("the picture"));
        let exif = exif::Reader::new().read_from_container(&mut reader).expect("EXIF");
        let said = |tag| exif.get_field(tag, exif::In::PRIMARY).map(|field| field.display_value());
        let time = said(exif::Tag::DateTimeOriginal).expect("a time").to_string();
        assert_eq!(time, "2026-11-24 22:05:01", "{format:?}");
        assert!(said(exif::Tag::MakerNote).is_none(), "{format:?}");
    }
}

#[test]
fn parameters_in_latin_1_stand_where_the_oldest_tools_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture");
    let mut metadata = metadata("a café");
    metadata.recipe.negative_prompt.clear();
    write_picture(&path, &pixels(), Format::Png, &metadata).expect("a picture");
    let content = fs::read(&path).expect("the picture");
    let place = |what: &[u8]| content.windows(what.len()).position(|window| window == what);
    let text = place(b"tEXtparameters\0a caf\xe9\n").expect("a Latin-1 chunk");
    assert!(text < place(b"IDAT").expect("pixels"));
}

#[test]
fn prompts_too_long_for_a_jpeg_are_cut_and_the_rest_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompt = "猫".repeat(20_000);
    for format in FORMATS {
        let path = folder.path().join("picture");
        write(&path, format, &prompt);
        let kept = metadata_of(&path).expect("our metadata").recipe.prompt;
        match format {
            Format::Jpeg => assert!(kept.len() < 2100 && kept.ends_with("猫…")),
            Format::Png | Format::Webp => assert!(kept == prompt),
        }
        assert_eq!(owner_of(&path), Some(owner()));
        image::open(&path).map(drop).unwrap_or_else(|_| {
            image::load_from_memory(&fs::read(&path).expect("the picture")).expect("a picture");
        });
    }
}

#[test]
fn a_temporary_file_of_an_earlier_death_and_a_link_in_its_place_are_replaced() {
    let (outputs, temp, _) = outputs_with_picture();
    fs::write(&temp, vec![0; 1 << 20]).expect("an older file");
    let written = write(&temp, Format::Png, "a cat");
    assert_eq!(fs::metadata(&temp).expect("the picture").len(), written.bytes);

    let precious = outputs.path().join("precious");
    fs::write(&precious, "mine").expect("a file");
    fs::remove_file(&temp).expect("removed");
    symlink(&precious, &temp).expect("a link");
    write_picture(&temp, &pixels(), Format::Png, &metadata("x")).expect("a picture");
    assert!(!temp.is_symlink());
    assert_eq!(fs::read_to_string(&precious).expect("the file"), "mine");
}

#[test]
fn pixels_that_do_not_fill_the_picture_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture");
    let mut pixels = pixels();
    pixels.rgb.pop();
    for format in FORMATS {
        let error =
            write_picture(&path, &pixels, format, &metadata("x")).expect_err("too few bytes");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!path.exists());
    }
}

#[test]
fn a_published_picture_has_its_final_name_alone() {
    let (outputs, temp, written) = outputs_with_picture();
    let place = outputs.path().join("cat.png");
    publish(&temp, written.bytes, &written.sha256, &place).expect("published");
    assert_eq!(owner_of(&place), Some(owner()));
    assert!(!temp.exists());
}

#[test]
fn folders_below_the_outputs_are_made() {
    let (outputs, temp, written) = outputs_with_picture();
    let place = outputs.path().join("2026-11-24/cats/1.png");
    publish(&temp, written.bytes, &written.sha256, &place).expect("published");
    assert_eq!(owner_of(&place), Some(owner()));
}

#[test]
fn a_taken_name_is_never_replaced() {
    let (outputs, temp, written) = outputs_with_picture();
    let place = outputs.path().join("cat.png");
    fs::write(&place, "mine").expect("a file");
    let error =
        publish(&temp, written.bytes, &written.sha256, &place).expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&place).expect("the file"), "mine");
    assert!(temp.exists());
}

#[test]
fn a_file_that_is_not_the_one_written_is_not_published() {
    let (outputs, temp, written) = outputs_with_picture();
    let place = outputs.path().join("cat.png");
    let mut content = fs::read(&temp).expect("the picture");
    *content.last_mut().expect("a byte") ^= 1;
    fs::write(&temp, &content).expect("changed");
    let error = publish(&temp, written.bytes, &written.sha256, &place).expect_err("another hash");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    content.pop();
    fs::write(&temp, &content).expect("shortened");
    publish(&temp, written.bytes, &written.sha256, &place).expect_err("another size");
    assert!(!place.exists());
}

#[test]
fn no_link_and_no_dots_lead_out_of_the_outputs() {
    let (outputs, temp, written) = outputs_with_picture();
    let elsewhere = tempfile::tempdir().expect("a folder");
    symlink(elsewhere.path(), outputs.path().join("link")).expect("a link");
    fs::write(outputs.path().join("file"), "").expect("a file");
    for name in ["link/cat.png", "file/cat.png", "../cat.png", "new/../../cat.png"] {
        publish(&temp, written.bytes, &written.sha256, &outputs.path().join(name)).expect_err(name);
    }
    publish(&temp, written.bytes, &written.sha256, &elsewhere.path().join("cat.png"))
        .expect_err("another folder");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("the folder").count(), 0);
    assert!(temp.exists());
}

#[test]
fn only_our_temporary_files_are_removed() {
    let (outputs, temp, _) = outputs_with_picture();
    let other = Owner { database: "fedcba9876543210".to_owned(), attempt_id: 7 };
    write(
        &temp_path(outputs.path(), &other),
        Format::Png,
        "a picture that another daemon is about to publish",
    );
    for name in ["cat.png", ".hidden", "x.part"] {
        fs::write(outputs.path().join(name), "mine").expect("a file");
    }
    fs::create_dir(outputs.path().join(format!(".zimaged-{DATABASE}-folder"))).expect("a folder");
    assert_eq!(remove_temporaries(outputs.path(), DATABASE).expect("removed"), 1);
    assert!(!temp.exists());
    assert_eq!(fs::read_dir(outputs.path()).expect("the folder").count(), 5);
}

#[test]
fn a_missing_output_folder_is_made_but_none_above_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let outputs = folder.path().join("outputs");
    assert!(make_ready(&outputs).expect("made"));
    assert!(!make_ready(&outputs).expect("there already"));
    assert!(outputs.is_dir());
    let error = make_ready(&folder.path().join("disk/outputs")).expect_err("the disk is not there");
    assert!(error.to_string().contains("disk/outputs: "), "{error}");
    fs::write(folder.path().join("file"), "").expect("a file");
    make_ready(&folder.path().join("file")).expect_err("a file");
}

#[test]
fn what_is_wrong_with_a_folder_below_has_no_code_that_would_hold_the_queue() {
    let (outputs, temp, written) = outputs_with_picture();
    fs::write(outputs.path().join("cats"), "").expect("a file");
    let below = publish(&temp, written.bytes, &written.sha256, &outputs.path().join("cats/1.png"));
    assert_eq!(below.expect_err("a file is in the way").raw_os_error(), None);
    assert!(temp.exists());
}

#[test]
fn pictures_of_others_have_no_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (name, content) in
        [("empty", &b""[..]), ("text", b"\x89PNG?"), ("riff", b"RIFF\xff\xff\xff\xffWEBPEXIF")]
    {
        fs::write(path(name), content).expect("a file");
        assert_eq!(owner_of(&path(name)), None, "{name}");
    }
    image::RgbImage::new(8, 8).save(path("plain.png")).expect("a picture");
    write(&path("ours"), Format::Png, "x");
    symlink(path("ours"), path("link")).expect("a link");
    for name in ["plain.png", "link", "missing", "."] {
        assert_eq!(owner_of(&path(name)), None, "{name}");
    }
}

#[test]
fn a_picture_with_texts_like_a_bomb_is_nobody_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb.png");
    let mut encoder = png::Encoder::new(fs::File::create(&path).expect("a file"), 1, 1);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a header");
    let mut bomb = png::text_metadata::ITXtChunk::new(
        "zimaged",
        metadata("a cat").json() + &" ".repeat(4 << 20),
    );
    bomb.compressed = true;
    writer.write_text_chunk(&bomb).expect("a chunk");
    writer.write_image_data(&[0]).expect("a pixel");
    writer.finish().expect("an end");
    assert_eq!(owner_of(&path), None);
}
