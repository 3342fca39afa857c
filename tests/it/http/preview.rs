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
fn a_model_that_has_made_pictures_shows_the_next_one_while_it_is_made() {
    let mut house = House::with_config("");
    house.start();
    let grounds = ["white", "black", "green"];
    let shapes = ["red circle", "blue square", "yellow triangle"];
    let prompts: Vec<String> = shapes
        .iter()
        .flat_map(|shape| grounds.map(|ground| format!("a {shape} on a {ground} background")))
        .collect();
    house.post("/api/v1/jobs", &json!({ "prompt": prompts, "seed": 1 })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "9");
    assert!(preview(&house, "1.1").is_none(), "what is made is a picture and no preview");
    let job = json!({ "prompt": "a red circle on a white background", "seed": 5, "steps": 100 });
    house.post("/api/v1/jobs", &job).ok();
    let mut last = None;
    house.until("the second job is done", || {
        last = preview(&house, "2.1").or(last.take());
        let left = "SELECT count(*) FROM renders WHERE state IN ('queued', 'running')";
        (house.value(left) == "0").then_some(())
    });
    assert_eq!(house.value("SELECT count(*) FROM history WHERE state = 'done'"), "10");
    let seen = last.expect("a preview while it was made");
    let corner = seen.get_pixel(1, 1).0;
    assert!(corner.iter().all(|level| *level > 150), "the ground: {corner:?}");
    // Nine pictures are few to learn hues from; that the circle is none of the ground is seen.
    let [red, _, blue] = seen.get_pixel(seen.width() / 2, seen.height() / 2).0;
    assert!(red > 80 && blue < 110, "the circle: {red} {blue}");
    assert!(preview(&house, "2.1").is_none());
    let left = std::fs::read_dir(house.path("state/previews")).expect("the folder");
    let names: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().ends_with(".json")), "{names:?}");
}
