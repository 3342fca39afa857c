//! What clients of OpenAI's image API send, and what they get: recorded from the real ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::House;

const IMAGES: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";

fn pictures(reply: &Value) -> Vec<Vec<u8>> {
    let data = reply["data"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let decode = |one: &Value| STANDARD.decode(one["b64_json"].as_str().unwrap()).unwrap();
    data.iter().map(decode).collect()
}

/// What Open WebUI sends, with its usual settings.
#[test]
fn open_webui_gets_its_pictures_by_a_name_that_is_not_ours() {
    let house = House::started("");
    let sent = json!({
        "model": "dall-e-2", "prompt": "a fox", "n": 2, "size": "512x512",
        "response_format": "b64_json", "seed": 5, "steps": 4,
    });
    let reply = house.post(IMAGES, &sent).ok();
    let length = reply.header("content-length").unwrap().parse::<usize>().unwrap();
    assert_eq!(length, reply.body.len());
    let answer = reply.json();
    assert!(answer["data"][0]["url"].is_null(), "it would fetch that, and may not from here");
    let stored: Vec<Vec<u8>> =
        house.pictures().iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(pictures(&answer), stored);
    assert_eq!((&answer["size"], &answer["output_format"]), (&json!("512x512"), &json!("png")));
    assert_eq!(answer["zimaged"]["seeds"], json!([5, 6]));
    let row = house.rows("SELECT origin, file_name FROM jobs");
    assert_eq!(row, [["openai", "openai.toml"]]);
    assert_eq!(house.value("SELECT DISTINCT asked_steps FROM history"), "4");
}

#[test]
fn a_picture_that_is_less_than_was_asked_for_says_so_with_its_real_size() {
    let house = House::started("");
    let sent = json!({ "prompt": "a fox, oom above 300 px", "size": "512x512" });
    let reply = house.post(IMAGES, &sent).ok();
    assert_eq!(reply.header("x-zimaged-degraded"), Some("1"));
    let answer = reply.json();
    let picture = image::load_from_memory(&pictures(&answer)[0]).expect("a picture");
    assert!(picture.width() <= 300, "{}", picture.width());
    assert_eq!(answer["size"], format!("{}x{}", picture.width(), picture.height()));
    assert_eq!(answer["zimaged"]["degraded"], true);
    let whole = house.post(IMAGES, &json!({ "prompt": "a fox", "size": "64x64" })).ok();
    assert_eq!(whole.header("x-zimaged-degraded"), None);
}

/// What Home Assistant's integration sends: no size.
#[test]
fn what_is_left_out_is_the_models_own_and_urls_are_answered_where_asked() {
    let house = House::started("");
    let sent = json!({ "prompt": "a fox", "model": "x", "response_format": "url", "size": "auto" });
    let answer = house.post(IMAGES, &sent).ok().json();
    let url = answer["data"][0]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", house.http())).unwrap();
    assert_eq!(house.get(path).ok().header("content-type"), Some("image/png"));
}

#[test]
fn mistakes_have_the_form_that_their_clients_read() {
    let house = House::started("");
    let wrong = house.post(IMAGES, &json!({ "prompt": "a", "n": 11 }));
    assert_eq!(wrong.status, 400);
    let error = &wrong.json()["error"];
    assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("n")));
    let size = house.post(IMAGES, &json!({ "prompt": "a", "size": "17x17" }));
    assert_eq!((size.status, &size.json()["error"]["code"]), (400, &json!("mistakes")));
    let models = house.get("/v1/models").ok().json();
    let name = models["data"][0]["id"].as_str().unwrap();
    assert_eq!(house.get(&format!("/v1/models/{name}")).ok().json()["object"], "model");
    assert_eq!(house.get("/v1/models/dall-e-2").status, 404);
    let strict = House::started("[http]\nlisten = '127.0.0.1:0'\nstrict_model = true\n");
    let reply = strict.post(IMAGES, &json!({ "prompt": "a", "model": "dall-e-2" }));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn a_configured_model_is_listed_and_named_and_an_unknown_name_is_told_which_there_are() {
    let house = House::started("[models.base]\npath = \"base\"\n");
    let models = house.get("/v1/models").ok().json();
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fake", "base"]);
    assert_eq!(house.get("/v1/models/base").ok().json()["id"], "base");
    let missing = house.get("/v1/models/dall-e-2").text();
    assert!(missing.contains("use \\\"fake\\\" or \\\"base\\\""), "{missing}");
    for name in ["base", "fake", "dall-e-2"] {
        house.post(IMAGES, &json!({ "prompt": "a", "model": name, "size": "64x64" })).ok();
    }
    let rendered = house.rows("SELECT model FROM renders ORDER BY id").concat();
    assert_eq!(rendered, ["base", "", ""], "any other name gets the usual one");
    let more =
        "[models.base]\npath = \"base\"\n[http]\nlisten = '127.0.0.1:0'\nstrict_model = true\n";
    let strict = House::started(more);
    strict.post(IMAGES, &json!({ "prompt": "a", "model": "base" })).ok();
    let reply = strict.post(IMAGES, &json!({ "prompt": "a", "model": "dall-e-2" }));
    assert_eq!(reply.status, 404);
    let told = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("\"fake\" or \"base\""), "{told}");
}

#[test]
fn an_edit_begins_with_the_picture_and_paints_where_the_mask_is_transparent() {
    let house = House::started("");
    let png = |color: image::Rgba<u8>| {
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = image::RgbaImage::from_pixel(64, 64, color);
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    };
    let (picture, mask) = (png(image::Rgba([1, 2, 3, 255])), png(image::Rgba([0, 0, 0, 0])));
    let reply = house.post_form(
        EDITS,
        &[
            ("prompt", None, b"a hat"),
            ("n", None, b"1"),
            ("size", None, b"64x64"),
            ("image", Some("fox.png"), &picture),
            ("mask", Some("mask.png"), &mask),
        ],
    );
    assert_eq!(pictures(&reply.ok().json()).len(), 1);
    let row = house.rows(
        "SELECT init_image <> '', mask <> '', num FROM (SELECT *, width AS num FROM renders)",
    );
    assert_eq!(row, [["1", "1", "64"]]);
    assert_eq!(house.post_form(EDITS, &[("prompt", None, b"a hat")]).status, 400);
    let two = [("image[]", Some("a"), picture.as_slice()), ("image[]", Some("b"), &picture)];
    assert_eq!(house.post_form(EDITS, &two).status, 400);
}

#[test]
fn a_client_that_asks_again_gets_the_job_that_it_has() {
    let house = House::started("");
    let body = json!({ "prompt": "a fox" }).to_string();
    let send = |count: &str| {
        let headers = [("Content-Type", "application/json"), ("x-stainless-retry-count", count)];
        house.ask(&format!("POST {IMAGES}"), &headers, body.as_bytes()).ok().json()
    };
    let first = send("0");
    assert_eq!(send("1")["zimaged"]["job"], first["zimaged"]["job"]);
    assert_ne!(send("0")["zimaged"]["job"], first["zimaged"]["job"]);
}

#[test]
fn who_rather_asks_again_is_answered_at_once_with_the_place_of_the_job() {
    let house = House::started("");
    let slow = json!({ "prompt": "a fox, steps of 300 ms" });
    for path in [IMAGES, "/sdapi/v1/txt2img"] {
        let headers = [("Content-Type", "application/json"), ("Prefer", "wait=5, respond-async")];
        let reply = house.ask(&format!("POST {path}"), &headers, slow.to_string().as_bytes());
        assert_eq!(reply.status, 202, "{}", reply.text());
        let place = reply.header("location").expect("a place").to_owned();
        assert_eq!(house.get(&place).ok().json()["job"]["job"], reply.json()["jobs"][0]["job"]);
    }
    assert_eq!(house.rows("SELECT origin FROM jobs ORDER BY id"), [["openai"], ["sdapi"]]);
}

#[test]
fn what_cannot_be_done_while_the_client_waits_is_refused_at_once_and_for_good() {
    let house = House::started("");
    house.post(IMAGES, &json!({ "prompt": "a fox, steps of 300 ms", "steps": 2 })).ok();
    let long = json!({ "prompt": "a fox, steps of 300 ms", "steps": 50, "n": 10 }).to_string();
    let headers = [("Content-Type", "application/json"), ("x-stainless-read-timeout", "2")];
    let refused = house.ask(&format!("POST {IMAGES}"), &headers, long.as_bytes());
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "1", "nothing is left of it");
}

#[test]
fn who_hangs_up_wants_nothing_more_but_what_is_being_made_is_kept() {
    let house = House::started("");
    house.hold_renders();
    let body = json!({ "prompt": "a fox, hold", "n": 3 }).to_string();
    let json = [("Content-Type", "application/json")];
    let stream = house.send(&format!("POST {IMAGES}"), &json, body.as_bytes());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    drop(stream);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'cancelled'", "2");
    house.release_renders();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
}

/// The engine is told by the prompt which of the pictures fails.
// Its client would ask for the same three times.
#[test]
fn a_picture_that_failed_is_told_as_final() {
    let house = House::started("");
    let sent = json!({ "prompt": "a fox, invalid" });
    let failed = house.post("/v1/images/generations", &sent);
    assert_eq!(failed.status, 500, "{}", failed.text());
    assert_eq!(failed.header("x-should-retry"), Some("false"));
    assert!(failed.json()["error"]["message"].is_string());
}

#[test]
fn an_answer_without_some_of_its_pictures_says_which_and_why() {
    let house = House::started("");
    let sent = json!({ "prompt": "a fox, invalid at step 2 once", "n": 3, "size": "64x64" });
    let answer = house.post(IMAGES, &sent).ok().json();
    assert_eq!(pictures(&answer).len(), 2);
    let missing = &answer["zimaged"]["not_made"];
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!((&missing[0]["render"], &missing[0]["state"]), (&json!("1.1"), &json!("failed")));
    assert!(missing[0]["reason"].as_str().is_some_and(|why| why.contains("invalid")), "{missing}");
    let whole = house.post(IMAGES, &json!({ "prompt": "a fox", "size": "64x64" })).ok().json();
    assert_eq!(whole["zimaged"]["not_made"], json!([]));
    let sent = json!({ "prompt": "a fox, invalid at step 2 once", "batch_size": 2, "width": 64,
                       "height": 64, "seed": 5 });
    let answer = house.post("/sdapi/v1/txt2img", &sent).ok().json();
    let info = answer["info"].as_str().expect("a text");
    assert!(info.contains("\"Not made\":"), "{info}");
}
