//! `zimaged report`: real renders in a queue of its own, written down, and compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{House, kill, said};

/// The files of every report. Some have more drawings.
const FILES: [&str; 5] = ["report.json", "report.md", "stages.svg", "published.svg", "report.html"];

fn written(folder: &Path) -> Value {
    for file in FILES {
        assert!(folder.join(file).is_file(), "{file}");
    }
    serde_json::from_slice(&fs::read(folder.join("report.json")).expect("a file")).expect("JSON")
}

/// Small pictures of the scripted engine.
fn scripted(house: &House) -> PathBuf {
    let answer = house.json(&["report", "--out", "r", "--size", "64x64", "--size", "128x64"]);
    let files = answer["files"].as_array().expect("a list");
    assert!(FILES.iter().all(|file| files.contains(&Value::from(*file))), "{answer}");
    house.path("r")
}

#[test]
fn a_report_measures_in_a_queue_of_its_own() {
    let house = House::new("[defaults]\nsteps = 3\n");
    let report = written(&scripted(&house));
    assert_eq!(report["machine"]["device"], "fake", "{report}");
    let sizes = report["sizes"].as_array().expect("a list");
    let made: Vec<_> = sizes.iter().map(|size| (&size["width"], &size["pictures"])).collect();
    assert_eq!(made, [(&Value::from(64), &Value::from(3)), (&Value::from(128), &Value::from(3))]);
    assert_eq!(report["asked"]["repeats"], 3);
    assert_eq!(report["loads"].as_array().map(Vec::len), Some(1), "{report}");
    let text = fs::read_to_string(house.path("r/report.md")).expect("a file");
    assert!(text.contains("| 128x64 |") && text.contains("## Energy"), "{text}");
    for folder in ["state", "outputs"] {
        assert!(!house.path(folder).exists(), "the user's own {folder} is not touched");
    }
}

#[test]
fn a_device_that_is_made_smaller_fails_nothing() {
    let house = House::new("");
    house.json(&["report", "--quick", "--out", "r", "--size", "1024x1024"]);
    let report = written(&house.path("r"));
    let limits = report["limits"].as_array().expect("a list");
    assert_eq!(limits.len(), 2, "{report}");
    assert!(house.path("r/limits.svg").is_file());
    for run in limits {
        assert!(run["failure"].is_null(), "{run}");
        assert!(run["limit_bytes"].as_u64() >= Some(1 << 20), "{run}");
    }
    assert!(!report["left_out"].as_array().expect("a list").is_empty(), "{report}");
}

#[test]
fn the_miniature_is_measured_on_the_processor() {
    let house = House::with_config("[device]\nkind = 'cpu'\n");
    let quick = ["report", "--quick", "--steps", "1", "--size", "128x128", "--out", "r"];
    house.json(&quick);
    let report = written(&house.path("r"));
    assert_eq!(report["model"]["is_miniature"], true, "{report}");
    assert_eq!(report["model"]["parts"].as_array().map(Vec::len), Some(3), "{report}");
    let size = &report["sizes"][0];
    assert!(size["total"]["median_ms"].as_f64() > Some(0.0), "{size}");
    let (peak, predicted) = (size["peak_bytes"].as_u64(), size["predicted_bytes"].as_u64());
    assert!(peak > Some(1 << 20) && peak <= predicted, "{size}");
    let loaded = report["loads"][0]["parts"].as_array().expect("a list");
    let words: Vec<&Value> = loaded.iter().map(|part| &part["part"]).collect();
    assert_eq!(words, ["transformer", "text encoder", "VAE"], "{report}");
    let ms = loaded.iter().filter_map(|part| part["load_ms"].as_u64()).sum::<u64>();
    assert!(Some(ms) <= report["loads"][0]["load_ms"].as_u64(), "{report}");
    assert_eq!(report["matrix_model"], "Z-Image-Turbo", "{report}");
    let matrix = report["matrix"].as_array().expect("a list");
    let here: Vec<&Value> = matrix.iter().filter(|cell| cell["is_this_device"] == true).collect();
    assert_eq!((matrix.len(), here.len()), (36, 6), "{report}");
    assert!(here.iter().all(|cell| cell["seconds"].as_f64() > Some(1.0)), "{report}");
    assert!(!report["curve"].as_array().expect("a list").is_empty(), "{report}");
    assert!(report["device_speed"]["linear_per_s"].as_f64() > Some(1.0), "{report}");
}

#[test]
fn while_the_daemon_runs_or_for_what_no_model_renders_there_is_no_report() {
    let house = House::new("");
    let refused = house.zimaged(&["report", "--size", "100x100", "--out", "r"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(
        said(&refused).contains("100") && !said(&refused).contains(".toml"),
        "{}",
        said(&refused)
    );
    let guided = house.zimaged(&["report", "--guidance", "nan", "--out", "r"]);
    assert_eq!(guided.status.code(), Some(3), "{}", said(&guided));
    assert!(said(&guided).contains("guidance"), "{}", said(&guided));
    // Before anything is measured, and not when all is.
    let nowhere = house.zimaged(&["report", "--size", "64x64", "--out", "daemon.toml"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
    assert!(
        said(&nowhere).contains("daemon.toml") && !said(&nowhere).contains("rendering"),
        "{}",
        said(&nowhere)
    );
    let house = House::started("");
    let busy = house.zimaged(&["report", "--out", "r"]);
    assert_eq!(busy.status.code(), Some(75), "{}", said(&busy));
    assert!(said(&busy).contains("stop it first"), "{}", said(&busy));
    assert!(!house.path("r").exists());
}

#[test]
fn two_reports_are_compared_and_what_is_none_is_named() {
    let house = House::new("");
    scripted(&house);
    let own = fs::read_to_string(house.path("r/report.json")).expect("a file");
    let other = own.replace("\"device\": \"fake\"", "\"device\": \"faster\"");
    fs::write(house.path("b.json"), other).expect("a writable folder");
    let compare =
        |other: &str| house.zimaged(&["report", "--compare", "r/report.json", other, "--out", "c"]);
    let compared = compare("b.json");
    assert!(compared.status.success(), "{}", said(&compared));
    let text = fs::read_to_string(house.path("c/compare.md")).expect("a file");
    assert!(text.contains("# fake and faster") && text.contains("| 64x64 |"), "{text}");
    assert!(house.path("c/compare.html").is_file() && house.path("c/times.svg").is_file());
    fs::write(house.path("no.json"), "{").expect("a writable folder");
    fs::write(house.path("old.json"), "{\"format\": 99}").expect("a writable folder");
    fs::write(house.path("job.json"), "{\"job\": 1}").expect("a writable folder");
    let wrong = [
        ("no.json", "no JSON"),
        ("old.json", "its format is 99"),
        ("job.json", "it has no format"),
        ("none.json", "No such file"),
    ];
    for (file, why) in wrong {
        let refused = compare(file);
        assert_eq!(refused.status.code(), Some(1), "{file}: {}", said(&refused));
        let words = said(&refused);
        assert!(words.contains(file) && words.contains(why), "{file}: {words}");
    }
}

// newcomer 31
#[test]
fn a_report_that_is_stopped_has_told_its_pictures_and_keeps_what_it_has_measured() {
    let house = House::with_config("[device]\nkind = 'cpu'\n");
    let sizes = ["--size", "64x64", "--size", "768x768"];
    let arguments = [&["report", "--quick", "--steps", "20", "--out", "r"][..], &sizes].concat();
    let log = fs::File::create(house.path("log")).expect("a writable folder");
    let report = house.command(&arguments).stderr(log).stdout(Stdio::piped()).spawn();
    let report = report.expect("it starts");
    house.until_logged("report: picture 1, device/full/whole 64x64 20 steps");
    house.until_logged(" 768x768 20 steps");
    kill("INT", report.id());
    let ended = report.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(75), "{}", house.log());
    let report = written(&house.path("r"));
    let sizes = report["sizes"].as_array().expect("a list");
    assert_eq!(sizes[0]["width"], 64, "{report}");
    let left_out = report["left_out"][0].as_str().expect("a reason");
    assert!(left_out.contains("this report is partial"), "{left_out}");
}
