//! What a new user met in an evening with the program: `evening F1` and so on are its points.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{House, said};

/// With the miniature on the processor.
fn house(more: &str) -> House {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    House::with_config(&format!("[model]\npath = {model:?}\n[device]\nkind = 'cpu'\n{more}"))
}

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

const BIG: &str = "prompt = 'a red circle'\nseed = 1\nwidth = 1024\nheight = 1024\nsteps = 1\n";

// evening F1
#[test]
fn a_picture_that_comes_out_smaller_is_told_before_and_in_the_log_with_the_time_of_what_is_made() {
    let mut house = house("memory_limit = '50MiB'\n");
    write(&house, "big.toml", BIG);
    write(&house, "roomy.toml", "memory_limit = '4GiB'\n");
    let before = house.json(&["check", "big.toml"]);
    let warning = before["warnings"][0]["message"].as_str().unwrap_or_else(|| panic!("{before}"));
    let (_, made) = warning.split_once("1 picture would be made as ").expect(warning);
    let made = made.split(';').next().expect(made).to_owned();
    assert!(warning.starts_with("1024x1024 does not fit into the 50 MiB that may be used"));
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "1");
    for command in ["check", "submit"] {
        let told = said(&house.zimaged(&[command, "big.toml"]));
        assert!(told.contains(&format!("1 picture would be made as {made}")), "{told}");
    }
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let size = house.value("SELECT width || 'x' || height FROM attempts WHERE outcome = 'done'");
    assert_eq!(size, made);
    assert!(house.log().contains(&format!(" s, {made} in place of 1024x1024")), "{}", house.log());
    // The time is that of what would be made.
    let made_ms: f64 = house.value("SELECT total_ms FROM attempts").parse().expect("ms");
    let after = house.json(&["check", "big.toml"]);
    let told_ms = after["expected"]["work_ms"].as_f64().expect("known");
    assert!((told_ms - made_ms).abs() < 0.1 * made_ms, "{told_ms} ms of {made_ms} ms");
    let small = house.json(&["submit", "--prompt", "a", "--size", "64x64"]);
    assert_eq!(small["warnings"], Value::Array(Vec::new()), "{small}");
}

// newcomer 6
#[test]
fn a_fresh_queue_says_how_long_pictures_take_where_the_processor_computes() {
    let house = house("");
    write(&house, "one.toml", "prompt = 'a red circle'\nseed = 1\n");
    let check = house.json(&["check", "one.toml"]);
    assert_eq!(check["expected"]["is_estimate"], true, "{check}");
    assert!(!house.path("state").exists(), "a check makes nothing");
    let submit = said(&house.zimaged(&["submit", "one.toml"]));
    assert!(submit.contains("(estimated, before any was rendered)"), "{submit}");
    let scripted = House::started("");
    let check = said(&scripted.zimaged(&["submit", "--prompt", "a fox"]));
    assert!(check.contains("how long it takes is known once the daemon has run here"), "{check}");
}

/// Three jobs of a paused daemon.
fn three() -> House {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    for name in ["first", "second", "third"] {
        house.zimaged(&["submit", "--prompt", name, "--tag", "night"]);
    }
    house
}

fn waiting(house: &House) -> String {
    house.value("SELECT group_concat(prompt, ' ') FROM (SELECT prompt FROM renders WHERE state = 'queued' ORDER BY id)")
}

// evening F2
#[test]
fn jobs_that_are_repeated_together_keep_their_order() {
    let house = three();
    for repeat in [&["retry", "--state", "cancelled"][..], &["retry", "--tag", "night"]] {
        house.zimaged(&["cancel", "--all"]);
        house.zimaged(repeat);
        assert_eq!(waiting(&house), "first second third");
    }
    house.zimaged(&["cancel", "--all"]);
    // Of the nine that are cancelled by now, each picture once.
    house.zimaged(&["retry", "--all"]);
    assert_eq!(waiting(&house), "first second third");
}

// evening F5
#[test]
fn what_is_done_to_nothing_is_no_success_and_a_tag_that_no_job_has_is_told() {
    let house = three();
    let refused = |arguments: &[&str], why: &str| {
        let output = house.zimaged(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{arguments:?}: {}", said(&output));
    };
    for command in [
        &["cancel", "--tag", "nosuch"][..],
        &["retry", "--tag", "nosuch"],
        &["edit", "--tag", "nosuch", "--priority", "3"],
    ] {
        refused(command, "no job has the tag nosuch");
    }
    refused(&["retry", "--tag", "night"], "nothing with the tag night is left that failed");
    refused(&["cancel", "--state", "running"], "nothing is left in the state running");
    house.zimaged(&["cancel", "--all"]);
    refused(&["cancel", "--all"], "nothing was cancelled: nothing waits or runs");
    refused(&["edit", "--all", "--priority", "3"], "nothing was changed");
    house.zimaged(&["retry", "--all"]);
    refused(&["retry", "--all"], "nothing is left that failed or was cancelled");
}

// newcomer 3's brother
#[test]
fn a_job_that_is_not_waited_for_is_handed_over_and_that_is_said() {
    let mut house = three();
    house.stop("TERM");
    let output = house.zimaged(&["submit", "--wait", "--prompt", "fourth"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("is handed over, do not submit it again"), "{}", said(&output));
    assert!(said(&output).contains("zimaged wait 4"), "{}", said(&output));
}
