//! Files of pictures over HTTP: whole, in parts, known already, gone, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::House;

const PICTURE: &str = "/api/v1/renders/1.1/picture";

/// A house with one picture, and its content.
fn with_picture() -> (House, Vec<u8>) {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox" })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let content = fs::read(&house.pictures()[0]).unwrap();
    (house, content)
}

#[test]
fn a_picture_is_sent_whole_in_parts_or_not_again() {
    let (house, content) = with_picture();
    let whole = house.get(PICTURE).ok();
    assert_eq!(whole.header("content-type"), Some("image/png"));
    assert_eq!(whole.body, content);
    let tag = whole.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", house.value("SELECT sha256 FROM history")));
    assert!(whole.header("cache-control").unwrap().contains("immutable"));
    let known = house.ask(&format!("GET {PICTURE}"), &[("If-None-Match", &tag)], b"");
    assert_eq!((known.status, known.body.len()), (304, 0));
    let part = house.ask(&format!("GET {PICTURE}"), &[("Range", "bytes=2-9")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &content[2..10]));
    let range = format!("bytes 2-9/{}", content.len());
    assert_eq!(part.header("content-range"), Some(range.as_str()));
    let beyond = house.ask(&format!("GET {PICTURE}"), &[("Range", "bytes=9999999-")], b"");
    assert_eq!(beyond.status, 416);
    let head = house.ask(&format!("HEAD {PICTURE}"), &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(content.len().to_string().as_str()));
}

#[test]
fn programs_get_small_copies_as_the_pages_do() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox", "width": 640, "height": 320 })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let small = house.get("/api/v1/renders/1.1/thumbnail").ok();
    assert_eq!(small.header("content-type"), Some("image/jpeg"));
    assert!(small.header("cache-control").unwrap().contains("immutable"));
    let small = image::load_from_memory(&small.body).expect("a picture");
    assert_eq!((small.width(), small.height()), (320, 160));
    assert_eq!(house.get("/api/v1/renders/1.2/thumbnail").status, 404);
    assert_eq!(house.get("/api/v1/renders/1/thumbnail").status, 400);
}

// faults 115
#[test]
fn a_name_that_leads_elsewhere_is_no_picture() {
    let (house, _) = with_picture();
    for path in [
        "/api/v1/renders/../../daemon.toml/picture",
        "/api/v1/renders/1.1/picture/../../../../daemon.toml",
        "/api/v1/renders/%2e%2e%2fdaemon.toml/picture",
        "/api/v1/renders/..%5c..%5cdaemon.toml/picture",
        "/api/v1/renders/1.1%00/picture",
        "/outputs/1.png",
        "/daemon.toml",
    ] {
        let reply = house.get(path);
        assert!([400, 404].contains(&reply.status), "{path}: {}", reply.status);
        assert!(!reply.text().contains("engine ="), "{path}");
    }
    // Rows that a hand has edited lead nowhere else either.
    for path in ["../daemon.toml", "../log", "/etc/passwd"] {
        house.falsify(&format!("UPDATE attempts SET path = '{path}'"));
        let reply = house.get(PICTURE);
        assert!([404, 410].contains(&reply.status), "{path}: {}", reply.status);
    }
}

#[test]
fn a_link_in_the_outputs_is_not_followed_and_a_picture_that_is_gone_is_gone() {
    let (house, content) = with_picture();
    let picture = house.pictures()[0].clone();
    let elsewhere = house.path("elsewhere.png");
    fs::write(&elsewhere, &content).unwrap();
    fs::remove_file(&picture).unwrap();
    assert_eq!(house.get(PICTURE).status, 410);
    symlink(&elsewhere, &picture).unwrap();
    assert_eq!(house.get(PICTURE).status, 410);
    fs::remove_file(&picture).unwrap();
    fs::create_dir(&picture).unwrap();
    assert_eq!(house.get(PICTURE).status, 410);
}

#[test]
fn a_picture_that_was_cut_short_is_not_sent_as_whole() {
    let (house, content) = with_picture();
    let picture = house.pictures()[0].clone();
    fs::write(&picture, &content[..content.len() / 2]).unwrap();
    let told = format!("it has {} bytes, and {} were written", content.len() / 2, content.len());
    for range in ["bytes=0-9", "none"] {
        let cut = house.ask(&format!("GET {PICTURE}"), &[("Range", range)], b"");
        assert_eq!(cut.status, 410);
        assert!(cut.text().contains(&told), "{}", cut.text());
    }
    assert_eq!(house.get("/file?job=1&n=1").status, 410);
    let archive = house.get("/api/v1/pictures.zip").ok();
    let notes = told.as_bytes();
    assert!(archive.body.windows(notes.len()).any(|window| window == notes), "its notes tell it");
    fs::write(&picture, &content).unwrap();
    assert_eq!(house.get(PICTURE).ok().body, content);
}

// Another program paints in it, or puts a picture of its own in its place.
#[test]
fn a_picture_that_has_other_bytes_of_the_same_length_is_not_sent_as_ours() {
    let (house, content) = with_picture();
    let picture = house.pictures()[0].clone();
    assert_eq!(house.get(PICTURE).ok().body, content);
    let tag = format!("\"{}\"", house.value("SELECT sha256 FROM history"));
    let modified = fs::metadata(&picture).unwrap().modified().unwrap();
    let mut other = content.clone();
    *other.last_mut().expect("a picture") ^= 1;
    fs::write(&picture, &other).unwrap();
    fs::File::options().write(true).open(&picture).unwrap().set_modified(modified).unwrap();
    let _ = fs::remove_dir_all(house.path("state/thumbnails"));
    let told = "it has other bytes than were written";
    for header in [("Range", "bytes=0-9"), ("If-None-Match", &tag), ("Accept", "*/*")] {
        let reply = house.ask(&format!("GET {PICTURE}"), &[header], b"");
        assert_eq!((reply.status, reply.text().contains(told)), (410, true), "{}", reply.text());
    }
    assert_eq!(house.get("/file?job=1&n=1").status, 410);
    assert_eq!(house.get("/api/v1/renders/1.1/thumbnail").status, 404);
    let archive = house.get("/api/v1/pictures.zip").ok().body;
    assert!(archive.windows(told.len()).any(|window| window == told.as_bytes()));
    assert!(!archive.windows(other.len()).any(|window| window == other));
    fs::write(&picture, &content).unwrap();
    assert_eq!(house.get(PICTURE).ok().body, content, "it is ours again");
}

// faults 116
#[test]
fn a_prompt_full_of_script_is_text_everywhere() {
    let house = House::started("");
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    house.post("/api/v1/jobs?name=%3Cscript%3E", &json!({ "prompt": evil })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    for path in ["/api/v1/renders", "/api/v1/jobs", "/api/v1/jobs/1", "/api/v1/jobs/1/text"] {
        let reply = house.get(path).ok();
        let kind = reply.header("content-type").unwrap();
        assert!(!kind.contains("html"), "{path}: {kind}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(house.get("/api/v1/renders").json()["renders"][0]["prompt"], evil);
    let echo = house.get("/api/v1/renders/%3Cscript%3E/picture");
    assert!(!echo.header("content-type").unwrap().contains("html"));
}
