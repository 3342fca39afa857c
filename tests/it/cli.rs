//! What the command line says to a person: exit codes with their hints, before a daemon is at work.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::places::miniature;
use crate::support::{House, said};

/// The configuration that these lines make, with the miniature.
fn house(more: &str) -> House {
    let model = miniature();
    House::with_config(&format!("[model]\npath = {model:?}\n{more}"))
}

#[track_caller]
fn assert_configuration_error(house: &House, arguments: &[&str], expected: &[&str]) {
    let output = house.zimaged(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
    assert!(expected.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn each_example_is_a_good_job_to_the_miniature() {
    let house = house("");
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).expect("examples")
    {
        let path = entry.expect("an entry").path().display().to_string();
        let output = house.zimaged(&["check", &path]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}

#[test]
fn a_model_folder_that_is_not_there_is_a_configuration_error_that_says_how_to_get_one() {
    let house = house("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let hint = ["there is no such file or folder", "zimaged model fetch turbo"];
    for command in [
        &["check", "fox.toml"][..],
        &["submit", "fox.toml"],
        &["run", "--until-idle"],
        &["fit", "--vram=6GiB"],
    ] {
        assert_configuration_error(
            &house,
            &[command, &["--model", "Tongyi-MAI/Z-Image-Turbo"]].concat(),
            &hint,
        );
    }
}

#[test]
fn folders_that_cannot_be_made_are_a_configuration_error() {
    let house = house("[folders]\njobs = 'daemon.toml/jobs'\n");
    assert_configuration_error(
        &house,
        &["run"],
        &["cannot make the folder", "daemon.toml/jobs", "[folders]"],
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_card_that_this_build_never_has_is_a_configuration_error() {
    let house = house("[device]\nkind = 'cuda'\n");
    assert_configuration_error(&house, &["run"], &["device.kind", "--features cuda"]);
}

#[test]
fn a_job_may_come_from_standard_input() {
    let house = house("");
    let piped = |command: &str, text: &str| {
        let mut child = house
            .command(&[command, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let good = piped("check", "prompt = 'a fox'\n");
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(
        said(&good).starts_with("standard input: good, 1 picture of 256x256 by the miniature "),
        "{}",
        said(&good)
    );
    let wrong = piped("check", "prompt = 3\n");
    assert!(
        wrong.status.code() == Some(3) && said(&wrong).contains("standard input:1:10: prompt"),
        "{}",
        said(&wrong)
    );
    let handed_over = piped("submit", "prompt = 'a fox'\n");
    assert!(
        handed_over.status.success() && house.path("jobs/job.toml").exists(),
        "{}",
        said(&handed_over)
    );
}

/// case F
#[test]
fn an_unknown_time_zone_is_told_once() {
    let house = house("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let warned = |zone: &str| {
        let output = house.command(&["check", "fox.toml"]).env("TZ", zone).output();
        said(&output.expect("the binary starts")).matches("times are in UTC").count()
    };
    let zones = ["Mars/Phobos", "Europe/Vienna", "CET-1CEST,M3.5.0,M10.5.0/3", ""];
    assert_eq!(zones.map(warned), [1, 0, 0, 0]);
}

/// case E
#[test]
fn a_file_of_a_terabyte_is_refused_at_once() {
    let house = house("");
    let file = fs::File::create(house.path("model.safetensors")).expect("a writable folder");
    file.set_len(1 << 40).expect("a file with a hole");
    let commands: [&[&str]; 5] = [
        &["check"],
        &["submit"],
        &["run", "--until-idle"],
        &["submit", "--prompt", "a fox", "--template"],
        &["submit", "--prompts"],
    ];
    for command in commands {
        let refused = house.zimaged(&[command, &["model.safetensors"]].concat());
        assert_eq!(refused.status.code(), Some(3), "{command:?}: {}", said(&refused));
        assert!(said(&refused).contains("the file has more than"), "{command:?}");
    }
}

/// newcomer 25
#[test]
fn a_submit_answers_with_what_is_hardly_meant() {
    let house = house("");
    fs::write(house.path("fox.toml"), "prompt = 'a (red:1.4) fox'\n").expect("a writable folder");
    let warnings = &house.json(&["submit", "fox.toml"])["warnings"];
    assert_eq!((&warnings[0]["file"], &warnings[1]), (&json!("fox.toml"), &Value::Null));
    assert_eq!(warnings[0]["warnings"][0]["kind"], "foreign_syntax");
    let house = House::started("");
    let wish = house.json(&["submit", "--prompt", "a (red:1.4) fox", "-n", "2"]);
    assert_eq!(wish["warnings"][0]["warnings"][0]["kind"], "foreign_syntax", "{wish}");
}

/// newcomer 24
#[test]
fn a_seed_that_is_left_open_is_null_in_a_check() {
    let house = house("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n[matrix]\nseed = [5, 'random']\n")
        .expect("a writable folder");
    let renders = &house.json(&["check", "fox.toml"])["renders"];
    assert_eq!((&renders[0]["seed"], &renders[1]["seed"]), (&json!(5), &Value::Null));
}

#[test]
fn a_check_warns_of_what_is_hardly_meant() {
    let house = house("");
    let check = |text: String| {
        fs::write(house.path("fox.toml"), text).expect("a writable folder");
        house.json(&["check", "fox.toml"])["warnings"].to_string()
    };
    // newcomer 25
    let guided = check("prompt = 'a fox'\nnegative_prompt = 'snow'\nguidance = 4\n".to_owned());
    assert!(guided.contains("wants guidance 0") && !guided.contains("does nothing"), "{guided}");
    assert!(guided.contains(r#""kind":"unwanted_guidance""#), "{guided}");
    let unheard = check(
        "prompt = 'a fox'\nnegative_prompt = 'snow'\n[matrix]\nguidance = [0, 4]\n".to_owned(),
    );
    assert!(unheard.contains("negative_prompt does nothing in 1 picture:"), "{unheard}");
    let words = "a red circle ".repeat(300);
    let cut = check(format!("prompt = ['a fox', '{words}']\n"));
    assert!(
        cut.contains("longer than the 512 tokens") && cut.contains("a red circle a red circle"),
        "{cut}"
    );
    assert_eq!(check("prompt = 'a fox'\nseed = 4294967295\n".to_owned()), "[]");
    let long = check("prompt = 'a fox'\nseed = 4294967295\nnum_images = 2\n".to_owned());
    assert!(long.contains("4294967296 repeats the picture of 0"), "{long}");
    // Many bytes are not many tokens.
    assert_eq!(check(format!("prompt = '{}'\n", "a red circle ".repeat(30))), "[]");
}

/// The file is good by the rules of whoever submits it, and not by the daemon's.
#[test]
fn a_submitted_file_that_the_daemon_refuses_is_told_with_the_reasons() {
    let house = House::started("[limits]\nsteps_max = 10\n");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    assert!(said(&house.zimaged(&["submit", "fox.toml"])).contains("fox.toml is job 1"));
    let config = fs::read_to_string(house.path("daemon.toml")).expect("its configuration");
    fs::write(house.path("daemon.toml"), config.replace("steps_max = 10", ""))
        .expect("a writable folder");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\nsteps = 50\n").expect("a writable folder");
    let refused = house.zimaged(&["submit", "fox.toml"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("steps: 50 is out of range"), "{}", said(&refused));
}

#[test]
fn a_job_that_waits_says_until_when_and_a_wait_for_it_says_what_is_missing() {
    let mut house = House::started("");
    house.drop_job("a.toml", "prompt = ['a fox', 'an owl']\n[matrix]\nseed = [1]\n");
    house.drop_job("b.toml", "prompt = 'a fox'\nnot_before = 2999-01-01T12:00:00\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.until_sql("SELECT count(*) FROM jobs", "2");
    for (command, words) in
        [(&["list"][..], "from"), (&["show", "2"], "starts on"), (&["status"], "starts on")]
    {
        let said = said(&house.zimaged(command));
        assert!(said.contains(&format!("{words} 2999-01-01 12:00")), "{command:?}: {said}");
        assert!(said.contains(" days"), "{command:?}: {said}");
    }
    assert!(said(&house.zimaged(&["status"])).contains("1 render queued"));
    assert!(house.zimaged(&["pause", "too hot"]).status.success());
    let paused = said(&house.zimaged(&["wait", "2", "--timeout", "1"]));
    assert_eq!(
        paused.matches("paused (too hot); go on with: zimaged resume").count(),
        1,
        "{paused}"
    );
    house.stop("TERM");
    let alone = house.zimaged(&["wait", "2", "--timeout", "1"]);
    assert_eq!(alone.status.code(), Some(75));
    assert_eq!(said(&alone).matches("no daemon is running").count(), 1, "{}", said(&alone));
}

#[test]
fn a_wait_ends_with_a_summary_and_a_row_for_what_is_not_done() {
    let house = House::started("");
    house.drop_job("a.toml", "prompt = ['a fox', 'black', 'an owl']\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state IN ('done', 'failed')", "3");
    let waited = house.zimaged(&["wait", "1"]);
    let said = said(&waited);
    assert_eq!(waited.status.code(), Some(3), "{said}");
    assert!(said.starts_with("2 of 3 pictures done, 1 failed\n"), "{said}");
    assert!(said.contains("1.2 ") && !said.contains("1.1 "), "{said}");
    assert_eq!(
        house.json(&["wait", "1"])["pictures"].as_array().map(Vec::len),
        Some(3),
        "programs get all rows"
    );
}

#[test]
fn a_daemon_that_ends_when_idle_says_what_it_waits_for_and_promises_no_pictures() {
    let house = House::new("");
    let later = "prompt = 'a fox'\nnot_before = 2999-01-01T12:00:00\n";
    fs::write(house.path("b.toml"), later).expect("a writable folder");
    let mut run = house.command(&["run", "--until-idle", "b.toml"]);
    let log = fs::File::create(house.path("log")).expect("a writable folder");
    let run = run.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
    house.until_logged("nothing is started before 2999-01-01 12:00");
    assert!(house.zimaged(&["pause", "too hot"]).status.success());
    house.until_logged("nothing is started: paused (too hot)");
    assert!(house.zimaged(&["resume"]).status.success());
    assert!(house.zimaged(&["cancel", "1"]).status.success());
    let said = said(&run.wait_with_output().expect("our own child"));
    assert_eq!(
        house.log().matches("nothing is started: paused (too hot)").count(),
        1,
        "{}",
        house.log()
    );
    assert!(!said.contains("Pictures are in"), "{said}");
}

#[test]
fn a_prompt_whose_end_was_not_seen_is_shown_as_such() {
    let house = house("");
    let words = "a red circle ".repeat(300);
    let text = format!("prompt = '{words}'\nsteps = 1\nwidth = 64\nheight = 64\n");
    fs::write(house.path("long.toml"), text).expect("a writable folder");
    let run = house.zimaged(&["run", "--until-idle", "long.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert!(said(&house.zimaged(&["show", "1"])).contains("(too long: its end was not seen)"));
    assert_eq!(house.json(&["show", "1"])["pictures"][0]["prompt_cut"], true);
}
