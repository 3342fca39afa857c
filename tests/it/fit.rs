//! `zimaged fit`: what a render would get, asked before and after there is any history.

use std::path::Path;

use crate::support::House;

fn house() -> House {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    House::with_config(&format!("[model]\npath = {model:?}\n[device]\nkind = 'cpu'\n"))
}

#[test]
fn a_large_device_gives_nothing_up_and_a_small_one_what_fits_it() {
    let house = house();
    let large = house.json(&["fit", "256x256", "--vram", "4GiB"]);
    assert_eq!((&large["rung"]["residency"], &large["rung"]["decode"]), (&"device".into(), &"whole".into()));
    assert_eq!(large["missing_bytes"], 0);
    // A reserve of 512 MiB leaves 30 MiB.
    let small = house.json(&["fit", "256x256", "--vram", "542MiB"]);
    assert_ne!(small["rung"], large["rung"]);
    let peak =
        ["text_encode_bytes", "denoise_bytes", "vae_decode_bytes"].map(|stage| small["prediction"][stage].as_u64());
    assert!(peak.iter().all(|bytes| *bytes <= small["usable_bytes"].as_u64()), "{small}");
    let none = house.json(&["fit", "256x256", "--vram", "513MiB"]);
    assert!(none["missing_bytes"].as_u64() > Some(0), "{none}");
}

#[test]
fn the_table_has_every_size_of_card_and_picture() {
    let table = house().json(&["fit", "--table"]);
    let answers = table.as_array().unwrap();
    assert!(answers.len() >= 25 && answers.len().is_multiple_of(5), "{}", answers.len());
    assert!(answers.iter().all(|answer| answer["missing_bytes"] == 0));
}

#[test]
fn the_time_comes_from_history_and_what_cannot_be_answered_says_why() {
    let mut house = house();
    let unknown = house.zimaged(&["fit", "256x256"]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && said.contains("--vram 6GiB"), "{said}");
    let odd = house.zimaged(&["fit", "250x256", "--vram", "6GiB"]);
    assert!(String::from_utf8_lossy(&odd.stderr).contains("multiples of 32"));

    house.start();
    house.drop_job("circle.toml", "prompt = 'a red circle on a white background'\nsteps = 8\nseed = 1\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let answer = house.json(&["fit", "256x256"]);
    assert_eq!(answer["seen"]["pictures"], 1, "{answer}");
    assert!(answer["seen"]["mean_ms"].as_f64() > Some(0.0));
}

#[test]
fn a_worker_needs_no_more_than_predicted_from_its_first_picture_on() {
    let mut house = house();
    house.start();
    house
        .drop_job("shapes.toml", "prompt = ['a red circle', 'a blue star on a white background', '大海']\nsteps = 2\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "3");
    for stage in ["text_encode_bytes", "denoise_bytes", "vae_decode_bytes"] {
        let sql = format!("SELECT {stage}, predicted ->> '{stage}' FROM attempts");
        for row in house.rows(&sql) {
            let [measured, predicted] = [0, 1].map(|column| row[column].parse::<u64>().expect("a number"));
            assert!(measured <= predicted, "{stage}: {measured} of {predicted}");
        }
    }
}

#[test]
fn a_limit_counts_beside_the_reserve_of_the_device() {
    let house = House::with_config(&format!(
        "[model]\npath = {:?}\n[device]\nkind = 'cpu'\nmemory_limit = '64MiB'\n",
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini")
    ));
    assert_eq!(house.json(&["fit", "256x256"])["usable_bytes"], 64 << 20, "of a device that nobody knows");
    assert_eq!(house.json(&["fit", "256x256", "--vram", "542MiB"])["usable_bytes"], 30 << 20, "of a made up one");
}
