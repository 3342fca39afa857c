//! newcomer 6: how long pictures take is told before any was rendered, and marked as an estimate
//! until one was.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::House;
use crate::support::places::miniature;

/// With the miniature on the processor.
fn house() -> House {
    let model = miniature();
    House::with_config(&format!("[model]\npath = {model:?}\n[device]\nkind = 'cpu'\n"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A house whose worker has measured its device and rendered nothing.
fn measured() -> House {
    let mut house = house();
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "1");
    assert!(house.path("state/device-speeds.json").exists());
    house
}

const JOB: &str = "prompt = ['a red circle', 'a blue heart']\nseed = 1\n";
const JOB_OF_ONE: &str = "prompt = 'a red circle'\nseed = 1\n";

// newcomer 6
#[test]
fn before_the_first_picture_every_face_says_how_long_it_takes_by_estimate() {
    let house = measured();
    fs::write(house.path("two.toml"), JOB).expect("a writable folder");
    let fit = house.json(&["fit", "256x256"]);
    assert!(fit["estimate"]["total_ms"].as_i64() > Some(0) && fit["seen"].is_null(), "{fit}");
    assert!(text(&house.zimaged(&["fit", "256x256"])).contains("estimated for cpu"));
    let check = house.json(&["check", "two.toml"]);
    assert_eq!(check["expected"]["is_estimate"], true, "{check}");
    let ms = |check: &Value| check["expected"]["work_ms"].as_i64().expect("an estimate");
    // With a prompt of the same length as each of the two.
    fs::write(house.path("one.toml"), JOB_OF_ONE).expect("a writable folder");
    let (one_ms, both_ms) = (ms(&house.json(&["check", "one.toml"])), ms(&check));
    assert_eq!(both_ms, 2 * one_ms);
    assert!(text(&house.zimaged(&["check", "two.toml"])).contains("(estimated"));
    house.zimaged(&["pause"]);
    assert!(text(&house.zimaged(&["submit", "two.toml"])).contains("(estimated"));
    let status = house.json(&["status"]);
    assert_eq!(status["outlook"]["is_estimate"], true, "{status}");
    assert!(status["outlook"]["work_ms"].as_i64() > Some(one_ms), "{status}");
    assert!(text(&house.zimaged(&["status"])).contains("(estimated"));
}

// newcomer 6
#[test]
fn a_picture_takes_the_place_of_the_estimate_which_was_near_it() {
    let mut house = measured();
    let estimated = house.json(&["fit", "256x256"])["estimate"]["denoise_ms"].clone();
    fs::write(house.path("two.toml"), JOB).expect("a writable folder");
    house.drop_job("two.toml", JOB);
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "2");
    let fit = house.json(&["fit", "256x256"]);
    assert!(fit["estimate"].is_null() && fit["seen"]["pictures"] == 2, "{fit}");
    assert_eq!(house.json(&["check", "two.toml"])["expected"]["is_estimate"], false);
    assert_eq!(house.json(&["status"])["outlook"]["is_estimate"], false);
    // The other tests share the processor with both: a factor of ten is an error of counting.
    let measured: f64 = house.value("SELECT min(denoise_ms) FROM attempts").parse().expect("ms");
    let ratio = estimated.as_f64().expect("an estimate") / measured;
    assert!(ratio > 0.1 && ratio < 10.0, "{ratio}");
    // A device is measured once.
    let written = |house: &House| {
        let file = fs::metadata(house.path("state/device-speeds.json")).expect("a file");
        file.modified().expect("a time")
    };
    let before = written(&house);
    house.stop("TERM");
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "2");
    assert_eq!(written(&house), before);
}

// newcomer 6
#[test]
fn while_the_model_is_loaded_for_the_first_time_it_is_said_when_the_time_is_known() {
    let house = house();
    fs::write(house.path("one.toml"), JOB_OF_ONE).expect("a writable folder");
    // As by a daemon that has begun.
    fs::create_dir(house.path("state")).expect("a writable folder");
    let lock = fs::File::create(house.path("state/.zimaged.lock")).expect("a writable folder");
    lock.lock().expect("nobody has it");
    assert!(house.json(&["check", "one.toml"])["expected"].is_null());
    let check = text(&house.zimaged(&["check", "one.toml"]));
    assert!(check.contains("is known once the daemon has loaded the model"), "{check}");
}

// newcomer 6
#[test]
fn of_a_card_that_nobody_measured_no_time_is_told() {
    let house = measured();
    // The same kind of device, whatever its memory and the model.
    let turbo = house.json(&["fit", "1024x1024", "--vram", "48GiB", "--turbo"]);
    assert!(turbo["estimate"]["total_ms"].as_i64() > Some(10_000), "{turbo}");
    let config = fs::read_to_string(house.path("daemon.toml")).expect("its configuration");
    fs::write(house.path("auto.toml"), config.replace("'cpu'", "'auto'"))
        .expect("a writable folder");
    let of_card = ["--config", "auto.toml", "fit", "1024x1024", "--vram", "8GiB", "--turbo"];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .args(of_card)
        .current_dir(house.path("."))
        .output()
        .expect("the binary starts");
    let said = text(&output);
    // newcomer 6
    assert!(said.contains("known once such a card has been measured"), "{said}");
    // What streams its weights takes no less than they need over the bus, and that is said as such.
    assert!(said.contains("time    at least ") && said.contains("PCIe 4.0 x16, assumed"), "{said}");
    assert!(said.contains("zimaged report"), "{said}");
}

// newcomer 6
#[test]
fn what_small_pictures_take_for_themselves_is_not_told_of_large_ones_and_both_commands_agree() {
    let house = measured();
    // As long as `fit` takes prompts to be.
    let prompt = format!("{:128}", "a red circle");
    let large = format!("prompt = '{prompt}'\nseed = 1\nwidth = 768\nheight = 768\n");
    fs::write(house.path("large.toml"), large).expect("a writable folder");
    let total_ms = |fit: Value| fit["estimate"]["total_ms"].as_f64().expect("an estimate");
    let before_ms = total_ms(house.json(&["fit", "768x768"]));
    house.drop_job("small.toml", "prompt = 'a red circle'\nwidth = 64\nheight = 64\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    // A picture of so few pixels on a busy machine.
    house.falsify("UPDATE attempts SET denoise_ms = 900, total_ms = 1800");
    let check = house.json(&["check", "large.toml"])["expected"].clone();
    let check_ms = check["work_ms"].as_f64().expect("known");
    assert!(check["is_estimate"] == false && check_ms < 3.0 * before_ms, "{check}, {before_ms}");
    let fit_ms = total_ms(house.json(&["fit", "768x768"]));
    assert!((fit_ms / check_ms - 1.0).abs() < 0.01, "{fit_ms} ms and {check_ms} ms");
}
