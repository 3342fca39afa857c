//! What clients of the web UI's API send, and what they get: recorded from the real ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::House;

fn api(name: &str) -> String {
    format!("/sdapi/v1/{name}")
}

/// What SillyTavern asks before its first picture, and sends for it.
#[test]
fn silly_tavern_finds_an_idle_server_chooses_our_model_and_gets_a_picture() {
    let house = House::started("");
    house.worker_pid();
    house.get(&api("options")).ok();
    for list in ["upscalers", "latent-upscale-modes", "sd-vae", "samplers", "schedulers"] {
        assert!(house.get(&api(list)).ok().json().is_array(), "{list}");
    }
    let models = house.get(&api("sd-models")).ok().json();
    let mut options = house.get(&api("options")).ok().json();
    assert_eq!(options["sd_model_checkpoint"], models[0]["title"]);
    options["sd_model_checkpoint"] = json!("another [abc]");
    assert!(house.post(&api("options"), &options).ok().json().is_null());
    let idle = house.get(&api("progress")).ok().json();
    assert_eq!((&idle["progress"], &idle["state"]["job_count"]), (&json!(0.0), &json!(0)));
    let sent = json!({
        "prompt": "a fox", "negative_prompt": "", "sampler_name": "Euler a", "scheduler": "simple",
        "steps": 20, "cfg_scale": 7, "width": 512, "height": 512, "restore_faces": false,
        "enable_hr": false, "hr_upscaler": "Latent", "hr_scale": 1, "denoising_strength": 0.7,
        "hr_resize_x": 0, "hr_resize_y": 0, "hr_second_pass_steps": 0,
        "override_settings": { "CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic" }, "clip_skip": 1,
        "override_settings_restore_afterwards": true, "save_images": true, "send_images": true,
        "do_not_save_grid": false, "do_not_save_samples": false, "seed": -1, "nobody_knows": 1,
    });
    let answer = house.post(&api("txt2img"), &sent).ok().json();
    let picture = STANDARD.decode(answer["images"][0].as_str().unwrap()).unwrap();
    assert_eq!(picture, std::fs::read(&house.pictures()[0]).unwrap());
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["extra_generation_params"]["Left to the model"], json!(["steps", "cfg_scale"]));
    assert_eq!(info["all_seeds"].as_array().unwrap().len(), 1);
    assert_eq!(answer["parameters"]["nobody_knows"], 1);
    assert_eq!(house.value("SELECT guidance FROM history"), "0");
    assert_eq!(house.value("SELECT origin FROM jobs"), "sdapi");
}

/// What Open WebUI sends from its settings to its first pictures: an empty Authorization header
/// everywhere, the list of models, all options back with the model of that list, and no seed but
/// where its administrator has said one.
#[test]
fn open_webui_chooses_our_model_and_gets_a_batch() {
    let house = House::started("");
    house.worker_pid();
    let headers = [("authorization", ""), ("Content-Type", "application/json")];
    let get = |name: &str| {
        house.ask(&format!("GET /sdapi/v1/{name}"), &[("authorization", "")], b"").ok().json()
    };
    let post = |name: &str, sent: &Value| {
        let line = format!("POST /sdapi/v1/{name}");
        house.ask(&line, &headers, sent.to_string().as_bytes()).ok().json()
    };
    let models = get("sd-models");
    assert!(models[0]["model_name"].is_string(), "what it shows: {models}");
    let mut options = get("options");
    options["sd_model_checkpoint"] = models[0]["title"].clone();
    assert!(post("options", &options).is_null());
    assert_eq!(get("options")["sd_model_checkpoint"], models[0]["title"]);
    let sent = json!({
        "prompt": "a fox", "batch_size": 2, "width": 256, "height": 256, "steps": 4,
        "negative_prompt": "blur", "seed": 3,
    });
    let answer = post("txt2img", &sent);
    assert!(answer["info"].is_string());
    for picture in answer["images"].as_array().unwrap() {
        let picture = picture.as_str().unwrap();
        assert!(!picture.contains(','), "it takes what has no comma for PNG");
        assert!(STANDARD.decode(picture).unwrap().starts_with(b"\x89PNG"));
    }
    let made = house.rows("SELECT seed, steps, negative_prompt FROM history ORDER BY picture");
    assert_eq!(made, [["3", "4", "blur"], ["4", "4", "blur"]]);
}

#[test]
fn more_pictures_than_there_are_numbers_for_are_refused() {
    let house = House::started("");
    let many = json!({ "prompt": "a fox", "batch_size": 4e15, "n_iter": 4e15 });
    assert_eq!(house.post(&api("txt2img"), &many).status, 400);
}

#[test]
fn an_interrupt_ends_the_job_of_this_api_and_no_other() {
    let house = House::started("");
    house.drop_job("own.toml", "prompt = 'mine'\npriority = -9\n");
    house.until_sql("SELECT count(*) FROM renders", "1");
    house.hold_renders();
    let sent = json!({ "prompt": "a fox, hold", "n_iter": 3 });
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| house.post(&api("txt2img"), &sent));
        let running = "SELECT prompt FROM renders WHERE state = 'running'";
        house.until_sql(running, "a fox, hold");
        house.until("it is told how far it is", || {
            let progress = house.get(&api("progress")).ok().json();
            (progress["state"]["job_count"] == 3).then_some(())
        });
        let state = || house.get(&api("progress")).ok().json()["state"].clone();
        assert_eq!(state()["interrupted"], false);
        house.ask("POST /sdapi/v1/interrupt", &[], b"").ok();
        let state = state();
        assert_eq!([&state["interrupted"], &state["stopping_generation"]], [true, true], "{state}");
        house.release_renders();
        let answer = answer.join().unwrap().ok().json();
        assert!(answer["images"].as_array().unwrap().len() < 3);
    });
    house.until_sql("SELECT state FROM history WHERE prompt = 'mine'", "done");
}

#[test]
fn a_large_seed_that_is_shown_makes_the_same_picture() {
    let house = House::started("");
    // Javascript's numbers have all digits up to 2^53.
    let large = (1_i64 << 53) + 1;
    let sent = json!({ "prompt": "a fox", "seed": large, "batch_size": 2 });
    let answer = house.post(&api("txt2img"), &sent).ok().json();
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    let shown = [large.to_string(), (large + 1).to_string()];
    assert_eq!(info["all_seeds"], json!(shown));
    let again = json!({ "prompt": "a fox", "seed": shown[1] });
    let again = house.post(&api("txt2img"), &again).ok().json();
    let pixels = |image: &Value| {
        let picture = STANDARD.decode(image.as_str().unwrap()).unwrap();
        image::load_from_memory(&picture).unwrap().into_rgb8()
    };
    assert!(pixels(&again["images"][0]) == pixels(&answer["images"][1]), "the same picture");
    assert!(pixels(&answer["images"][0]) != pixels(&answer["images"][1]), "by another seed");
    let seeds = house.rows("SELECT seed FROM history ORDER BY job, picture").concat();
    assert_eq!(seeds, [shown[0].as_str(), &shown[1], &shown[1]]);
    let small = json!({ "prompt": "a fox", "seed": 7 });
    let answer = house.post(&api("txt2img"), &small).ok().json();
    assert!(answer["info"].as_str().unwrap().contains("\"all_seeds\":[7]"), "{}", answer["info"]);
}

#[test]
fn what_cannot_be_done_is_refused_by_its_key_and_img2img_begins_with_its_picture() {
    let house = House::started("");
    let refused = house.post(&api("txt2img"), &json!({ "prompt": "a", "enable_hr": true }));
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", "enable_hr"]));
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let picture = STANDARD.encode(png.into_inner());
    let sent = json!({ "prompt": "a", "init_images": [picture], "width": 64, "height": 64 });
    house.post(&api("img2img"), &sent).ok();
    assert_eq!(house.rows("SELECT init_image <> '', strength FROM renders"), [["1", "0.75"]]);
    let url = json!({ "prompt": "a", "init_images": ["http://127.0.0.1/x.png"] });
    assert_eq!(house.post(&api("img2img"), &url).status, 400, "nothing is fetched");
}

#[test]
fn memory_and_loras_are_told() {
    let house = House::started("");
    let memory = house.get(&api("memory")).ok().json();
    assert!(memory["ram"]["total"].as_u64().is_some_and(|total| total > 1 << 20), "{memory}");
    assert!(memory["cuda"]["error"].is_string(), "the scripted engine has no card: {memory}");
    assert_eq!(house.get(&api("loras")).ok().json(), json!([]));
    std::fs::create_dir(house.path("loras")).expect("a writable folder");
    for name in ["ink.safetensors", "notes.txt"] {
        std::fs::write(house.path("loras").join(name), "").expect("a writable folder");
    }
    assert_eq!(house.get(&api("loras")).ok().json()[0]["name"], "ink");
    assert_eq!(house.get(&api("loras")).ok().json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_client_has_the_model_leave_the_device_and_come_back() {
    let house = House::started("");
    let worker = |state: &str| {
        house.until(state, || {
            let status = house.json(&["status"]);
            (status["daemon"]["worker"]["state"] == state).then_some(())
        });
    };
    worker("ready");
    assert_eq!(house.ask("POST /sdapi/v1/unload-checkpoint", &[], b"").ok().json(), json!({}));
    worker("released");
    assert_eq!(house.get("/ready").status, 200, "a job would be rendered");
    house.ask("POST /sdapi/v1/reload-checkpoint", &[], b"").ok();
    worker("ready");
    house.ask("POST /sdapi/v1/unload-checkpoint", &[], b"").ok();
    worker("released");
    house.post("/api/v1/jobs", &json!({ "prompt": "a fox" })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
}
