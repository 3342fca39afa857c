//! How the running picture looks, by the miniature: what the scripted engine draws has no latents.

use image::RgbImage;
use serde_json::json;

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
