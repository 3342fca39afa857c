//! Jobs without a file: lists of prompts, templates and single options.

mod prompt_file;
mod wildcards;

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{House, said};

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

// newcomer 5
#[test]
fn a_list_of_prompts_is_a_job_and_one_failed_picture_stops_no_other() {
    let house = House::started("");
    write(&house, "zoo.txt", "\u{feff}# the zoo\r\na fox\r\n\r\nblack\r\nan \"owl\"\r\n");
    write(
        &house,
        "base.toml",
        "prompt = [\n 'no',\n]\nsteps = 9\nwidth = 64 # small\nheight = 64\n",
    );
    let options =
        ["--prompts", "zoo.txt", "--template", "base.toml", "--steps", "7", "--tag", "zoo"];
    let submitted = house.zimaged(&[&["submit", "--wait"], &options[..]].concat());
    let said_of_it = said(&submitted);
    assert_eq!(submitted.status.code(), Some(3), "{said_of_it}");
    assert!(said_of_it.contains("2 of 3 pictures done, 1 failed"), "{said_of_it}");
    let rows = house.rows("SELECT prompt, state, width, steps FROM renders ORDER BY position");
    let expected = [
        ["a fox", "done", "64", "7"],
        ["black", "failed", "64", "7"],
        ["an \"owl\"", "done", "64", "7"],
    ];
    assert_eq!(rows, expected);
    assert_eq!(
        house.value("SELECT origin || file_name || tags FROM jobs"),
        "requestbase.toml[\"zoo\"]"
    );
}

#[test]
fn a_list_comes_from_standard_input_too_and_options_alone_are_a_job() {
    let house = House::started("");
    let mut submit = house.command(&["submit", "--wait", "--prompts", "-"]);
    let piped = submit.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(b"a fox\nan owl\n").expect("it reads");
    let output = child.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let options = ["-n", "4", "--size", "128x64", "--priority", "-5", "--seed", "7", "--tag", "a"];
    let job =
        house.zimaged(&[&["submit", "--wait", "--prompt", "a red fox"], &options[..]].concat());
    assert_eq!(job.status.code(), Some(0), "{}", said(&job));
    let rows = house.rows(
        "SELECT group_concat(seed, ' '), max(width), max(height), max(priority) FROM renders WHERE job_id = 2",
    );
    assert_eq!(rows, [["7 8 9 10", "128", "64", "-5"]]);
}

#[test]
fn mistakes_name_the_option_the_line_of_the_list_or_the_line_of_the_template() {
    let house = House::started("");
    let long = "x".repeat(20_000);
    write(&house, "long.txt", &format!("# one\na fox\n{long}\n"));
    write(&house, "base.toml", "steps = 8\nwidth = 'wide'\n");
    write(&house, "zoo.txt", "a fox\nan owl\n");
    let refused = |options: &[&str], code: i32, expected: &str| {
        let output = house.zimaged(&[&["submit"], options].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {said}");
        assert!(said.contains(expected), "{options:?}: {said}");
    };
    refused(
        &["--prompt", "a", "--steps", "0"],
        3,
        "--steps: 0 is out of range; use a whole number",
    );
    refused(&["--prompt", "a", "--min-side", "x"], 3, "--min-side: expected a whole number");
    refused(&["--prompt", "a", "--size", "big"], 3, "--size: 'big' is no size");
    refused(&["--steps", "4"], 3, "--prompt: missing");
    refused(&["--prompts", "long.txt"], 3, "long.txt:3: is 20000 bytes long");
    refused(&["--prompts", "zoo.txt", "--template", "base.toml"], 3, "base.toml:2:9: width: ");
    refused(&["zoo.txt", "--steps", "4"], 2, "--template FILE takes it as a base");
    refused(&[], 2, "name job files, or say --prompt");
    refused(&["zoo.txt"], 3, "zimaged submit --prompts zoo.txt");
    refused(&["--prompts", "base.toml"], 3, "this is a job file, and no list of prompts");
    write(&house, "odd.txt", &format!("a (fox:1.2)\n{long}\n"));
    refused(&["--prompts", "odd.txt"], 3, "odd.txt:2: is 20000 bytes long");
    refused(&["--prompts", "odd.txt"], 3, "but: (fox:1.2)");
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn an_option_takes_the_times_of_a_template_away() {
    let house = House::started("");
    house.json(&["pause", "no picture is wanted"]);
    let times = "not_before = '2099-01-01T00:00:00Z'\nnot_after = '2099-02-01T00:00:00Z'\n";
    write(&house, "base.toml", &format!("prompt = 'a'\nwindow = '22:00-07:00'\n{times}"));
    let none = ["--not-before", "none", "--not-after", "none", "--window", "none"];
    for command in ["check", "submit"] {
        house.json(&[&[command, "--template", "base.toml"], &none[..]].concat());
    }
    let kept = "SELECT coalesce(not_before_ms, not_after_ms, open_hours, 'none') FROM jobs";
    assert_eq!(house.value(kept), "none");
}

// newcomer 3
#[test]
fn nothing_is_waited_for_without_a_daemon() {
    let mut house = House::new("");
    write(&house, "fox.toml", "prompt = 'a fox'\n");
    let file = house.zimaged(&["submit", "--wait", "fox.toml"]);
    assert_eq!(file.status.code(), Some(1), "{}", said(&file));
    assert!(said(&file).contains("start one with: zimaged run"), "{}", said(&file));
    house.start();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.stop("TERM");
    let request = house.zimaged(&["submit", "--wait", "--prompt", "an owl"]);
    assert_eq!(request.status.code(), Some(1), "{}", said(&request));
    assert!(said(&request).contains("zimaged wait 2"), "{}", said(&request));
    house.start();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
}

/// A second on an idle machine; many times that without optimisation, and beside other tests.
const MANY_PROMPTS_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 });

#[test]
fn a_list_of_ten_thousand_prompts_is_one_job() {
    let house = House::started("");
    let words = "a lighthouse in a storm, oil on canvas, wide brush, golden light, ".repeat(2);
    let list: String = (0..10_000).map(|number| format!("{words}{number}\n")).collect();
    write(&house, "many.txt", &list);
    assert!(house.zimaged(&["pause"]).status.success());
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let submitted = house.zimaged(&["submit", "--prompts", "many.txt"]);
        fastest = fastest.min(started.elapsed());
        assert_eq!(submitted.status.code(), Some(0), "{}", said(&submitted));
    }
    println!("10,000 prompts: {fastest:?}");
    assert!(fastest < MANY_PROMPTS_MAX, "10,000 prompts: {fastest:?}");
    assert_eq!(house.value("SELECT count(*) FROM renders"), "30000");
}
