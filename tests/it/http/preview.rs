//! How the running picture looks, by the miniature: what the scripted engine draws has no latents.

use std::io::{BufRead, BufReader};

use image::RgbImage;
use serde_json::{Value, json};

use crate::support::House;

/// The preview, as long as there is one.
fn preview(house: &House, render: &str) -> Option<RgbImage> {
    let reply = house.get(&format!("/api/v1/renders/{render}/preview"));
    if reply.status != 200 {
        assert_eq!(reply.status, 404, "{}", reply.text());
        return None;
    }
    assert_eq!(reply.header("content-type"), Some("image/jpeg"));
    Some(image::load_from_memory(&reply.body).expect("a picture").into_rgb8())
}

#[test]
fn a_model_that_has_made_a_picture_shows_the_next_one_while_it_is_made() {
    let mut house = House::with_config("");
    house.start();
    // Small, and few steps: on a busy machine a step of a usual picture takes a second.
    let job = |steps: u32| json!({ "prompt": "a red circle", "width": 128, "height": 128, "steps": steps });
    house.post("/api/v1/jobs", &job(4)).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    assert!(preview(&house, "1.1").is_none(), "what is made is a picture and no preview");
    // As many as it takes: a fast machine makes some between two looks.
    let mut made = 1;
    let seen = house.until("a preview", || {
        made += 1;
        house.post("/api/v1/jobs", &job(20)).ok();
        let ended = format!("SELECT count(*) FROM history WHERE job = {made} AND state = 'done'");
        let mut last = None;
        house.until("it is done", || {
            last = preview(&house, &format!("{made}.1")).or(last.take());
            (house.value(&ended) == "1").then_some(())
        });
        last
    });
    assert_eq!(seen.dimensions(), (8, 8), "a pixel for each of its latents");
    assert!(preview(&house, &format!("{made}.1")).is_none());
    let left = std::fs::read_dir(house.path("state/previews")).expect("the folder");
    let names: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().ends_with(".json")), "{names:?}");
}

#[test]
fn whoever_follows_the_events_is_told_of_each_preview_with_its_address() {
    // So many that a fast machine shows one of them in time.
    const PICTURES: usize = 40;
    let mut house = House::with_config("");
    house.start();
    let events = house.send("GET /api/v1/events", &[], b"");
    let job = json!({ "prompt": "a red circle", "width": 128, "height": 128, "steps": 20,
                      "num_images": PICTURES });
    house.post("/api/v1/jobs", &job).ok();
    let mut lines = BufReader::new(events).lines().map(|line| line.expect("events go on"));
    let mut done = 0;
    let found = lines.find(|line| {
        done += usize::from(line == "event: done");
        line == "event: preview" || done == PICTURES
    });
    assert_eq!(found.as_deref(), Some("event: preview"));
    let told = lines.next().expect("what it is");
    let told: Value = serde_json::from_str(told.trim_start_matches("data: ")).expect("JSON");
    let render = told["render"].as_str().expect("a picture");
    assert_ne!(render, "1.1", "the first one of a model has no preview");
    assert_eq!(told["url"], format!("renders/{render}/preview"), "beside the events");
    assert!(told["step"].is_u64(), "{told}");
}
