//! What people and programs read of the queue: lists, pictures, sums, errors.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::support::House;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ENDED: &str = "SELECT count(*) FROM renders WHERE state IN ('done', 'failed', 'cancelled')";

/// The error that a command answers programs, with its exit code.
fn error(house: &House, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = house.zimaged(&[arguments, &["--json"]].concat());
    let mut answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
    (output.status.code(), answer["error"].take())
}

// newcomer 11
#[test]
fn one_picture_is_shown_with_all_that_was_asked_and_made() {
    let house = House::started("");
    let prompt = "a very long prompt about a red fox ".repeat(20);
    let job = format!(
        "prompt = '{prompt}'\nnegative_prompt = 'snow'\nguidance = 3.5\nseed = 4711\n\
         guidance_normalization = 1.5\nsampler = 'res_multistep'\nprecision = 'int8'\n"
    );
    house.drop_job("fox.toml", &job);
    house.until_sql(ENDED, "1");
    house.falsify("UPDATE attempts SET width = 32");
    let shown = text(&house.zimaged(&["show", "1.1"]));
    for part in [
        prompt.trim_end(),
        "negative prompt  snow",
        "seed             4711",
        "guidance         3.5, normalization 1.5",
        "sampler          res_multistep",
        "precision        int8",
        "asked            64x64, 2 steps",
        "made             32x64, 2 steps",
        "outputs/000001-fox-0001-4711.png",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

// newcomer 12
#[test]
fn a_long_failure_stands_under_the_table_once() {
    let house = House::started("");
    house.drop_job("a.toml", "prompt = ['a fox', 'black']\nnum_images = 3\nseed = 1\n");
    house.until_sql(ENDED, "6");
    let reason = "no ".repeat(100);
    house.falsify(&format!("UPDATE renders SET error = '{reason}' WHERE state = 'failed'"));
    let shown = text(&house.zimaged(&["show", "1"]));
    assert_eq!(shown.matches(reason.trim_end()).count(), 1, "{shown}");
    assert!(shown.contains("\n1.4, 1.5, 1.6: no no"), "{shown}");
    let table =
        shown.lines().filter(|line| line.starts_with("1.") && line.contains("(bad picture)"));
    assert!(table.clone().count() == 3 && table.clone().all(|line| line.width() < 130), "{shown}");
}

// newcomer 21
#[test]
fn many_pictures_are_summed_up_filtered_and_limited() {
    let house = House::started("");
    house.drop_job("many.toml", "prompt = ['a fox', 'black']\nnum_images = 30\nseed = 1\n");
    house.until_sql(ENDED, "60");
    let shown = text(&house.zimaged(&["show", "1"]));
    assert!(shown.starts_with("job 1 (many.toml): 30 of 60 done, 30 failed\n"), "{shown}");
    assert!(shown.contains("and 10 more: --limit 60 or --state"), "{shown}");
    let failed = text(&house.zimaged(&["show", "1", "--state", "failed", "--limit", "3"]));
    assert!(failed.contains("1.31 ") && !failed.contains("1.30 "), "{failed}");
    assert!(failed.contains("and 27 more"), "{failed}");
    let all = house.json(&["show", "1"]);
    let list = |value: &Value| value.as_array().map(Vec::len);
    assert_eq!((list(&all["pictures"]), list(&all["attempts"])), (Some(60), Some(60)));
    let some = house.json(&["show", "1", "--state", "failed", "--limit", "3"]);
    assert_eq!((list(&some["pictures"]), list(&some["attempts"])), (Some(3), Some(3)));
    assert_eq!((&some["left_out"], &some["summary"]["failed"]), (&json!(27), &json!(30)));
}

// newcomer 36
#[test]
fn a_list_says_priority_tags_end_and_retry_and_heeds_the_width() {
    let house = House::started("");
    let job = "prompt = 'black'\npriority = 7\ntags = ['night', 'zoo']\n";
    house.drop_job("a-rather-long-name-of-a-job-that-fills-the-line.toml", job);
    house.until_sql(ENDED, "1");
    assert!(house.zimaged(&["retry", "1"]).status.success());
    house.until_sql(ENDED, "2");
    let listed = text(&house.zimaged(&["list"]));
    for part in ["priority", " 7 ", "night zoo", "ended", "(retry of 1)"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert!(!listed.contains("--limit"), "{listed}");
    let first = text(&house.zimaged(&["list", "--limit", "1"]));
    assert!(first.contains("no more than 1 are listed: --limit"), "{first}");
    let narrow = house.command(&["list"]).env("COLUMNS", "60").output().expect("it starts");
    assert!(text(&narrow).lines().all(|line| line.width() <= 60), "{}", text(&narrow));
    house.json(&["submit", "--prompt", "later", "--not-before", "2099-01-01T00:00:00Z"]);
    let commands =
        [&["list"][..], &["show", "1"], &["status"], &["doctor"], &["fit", "--table", "--turbo"]];
    for command in commands {
        let narrow = house.command(command).env("COLUMNS", "40").output().expect("it starts");
        // Names and paths are copied whole.
        let is_name = |line: &str| line.split(' ').any(|word| word.width() > 30);
        let told = text(&narrow);
        let wide = told.lines().find(|line| line.width() > 40 && !is_name(line));
        assert_eq!(wide, None, "{command:?}: {told}");
    }
    let jobs = house.json(&["list", "--tag", "zoo", "--since", "1h", "--state", "failed"]);
    // newcomer 23
    assert_eq!(jobs[1]["tags"], json!(["night", "zoo"]));
    assert_eq!((&jobs[0]["retry_of"], &jobs[0]["origin"]), (&json!(1), &json!("retry")));
    assert_eq!(house.json(&["list", "--since", "2999-01-01"]), json!([]));
}

// newcomer 20, newcomer 37
#[test]
fn a_bulk_cancel_and_a_bulk_retry_answer_one_line() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    for name in ["a.toml", "b.toml", "c.toml"] {
        house.drop_job(name, "prompt = ['a fox', 'an owl']\ntags = ['night']\n");
    }
    house.until_sql("SELECT count(*) FROM jobs", "3");
    let answer = |arguments: &[&str]| {
        let output = house.zimaged(arguments);
        (output.status.code(), text(&output).trim_end().to_owned())
    };
    let ok = |text: &str| (Some(0), text.to_owned());
    assert_eq!(answer(&["cancel", "1", "2.1"]), ok("3 renders cancelled"));
    assert_eq!(answer(&["cancel", "--tag", "night"]), ok("3 renders cancelled"));
    let again = "6 renders to be rendered again, as jobs 4 to 6";
    assert_eq!(answer(&["retry", "--state", "cancelled"]), ok(again));
    assert_eq!(answer(&["retry", "--all"]).0, Some(3), "they are queued");
    assert_eq!(answer(&["cancel", "1"]).0, Some(3), "it has ended");
    assert_eq!(answer(&["retry", "1"]).0, Some(3), "it is queued again");
    assert_eq!(answer(&["cancel", "1", "4"]), ok("2 renders cancelled, 2 had ended"));
    assert_eq!(answer(&["cancel", "4", "99"]).0, Some(1), "there is no job 99");
    assert_eq!(answer(&["cancel"]).0, Some(2));
    assert_eq!(answer(&["cancel", "1", "--all"]).0, Some(2));
}

// newcomer 22
#[test]
fn an_error_is_an_object_for_programs() {
    let house = House::started("");
    fs::write(house.path("wrong.toml"), "prompt = 'a fox'\n[matrix]\nwidth = [1000.5]\n")
        .expect("a writable folder");
    let (code, wrong) = error(&house, &["submit", "wrong.toml"]);
    assert_eq!(
        (code, &wrong["code"], &wrong["exit_code"]),
        (Some(3), &json!("mistakes"), &json!(3))
    );
    let problem = &wrong["problems"][0];
    assert_eq!(
        (&problem["file"], &problem["key"], &problem["line"]),
        (&json!("wrong.toml"), &json!("matrix.width"), &json!(3))
    );
    assert!(wrong["message"].as_str().is_some_and(|text| text.contains("wrong.toml:3:10: ")));
    let word = |arguments: &[&str]| {
        let (code, error) = error(&house, arguments);
        assert_eq!(error["exit_code"].as_i64().map(|code| code as i32), code, "{arguments:?}");
        error["code"].as_str().map(str::to_owned)
    };
    assert_eq!(word(&["show", "7"]).as_deref(), Some("not_found"));
    assert_eq!(word(&["show", "fox"]).as_deref(), Some("usage"));
    for command in ["submit", "check"] {
        let (code, none) = error(&house, &[command, "none.toml"]);
        assert_eq!((code, &none["exit_code"]), (Some(3), &json!(3)), "{command}: {none}");
        let named = (&none["code"], &none["file"]);
        assert_eq!(named, (&json!("mistakes"), &json!("none.toml")), "{command}: {none}");
        assert_eq!(house.zimaged(&[command, "none.toml"]).status.code(), Some(3), "{command}");
    }
    house.drop_job("later.toml", "prompt = 'a fox'\nnot_before = 2999-01-01T12:00:00\n");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    assert_eq!(word(&["wait", "1", "--timeout", "0"]).as_deref(), Some("try_again"));
    assert!(house.zimaged(&["cancel", "1"]).status.success());
    assert_eq!(word(&["cancel", "1"]).as_deref(), Some("nothing_to_do"));
    let broken = House::new("nonsense = 1\n");
    let (code, facts) = error(&broken, &["list"]);
    assert_eq!((code, &facts["code"]), (Some(78), &json!("configuration")));
    assert_eq!(facts["problems"][0]["key"], "worker.nonsense");
}

// newcomer 30
#[test]
fn a_wait_for_what_was_cancelled_counts_it_and_ends_as_documented() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    house.drop_job("a.toml", "prompt = 'a fox'\nnum_images = 30\n");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    assert!(house.zimaged(&["cancel", "--all"]).status.success());
    let waited = house.zimaged(&["wait", "1"]);
    assert_eq!(waited.status.code(), Some(3));
    let told = "0 of 30 pictures done, 30 cancelled\ncancelled: by the user, before it was begun\n";
    assert_eq!(text(&waited), told);
    assert!(include_str!("../../docs/commands.md").contains("failed or was cancelled"));
}

/// A picture of the fake engine is found again on the sheet, and what failed is named there.
#[test]
fn a_sheet_has_the_pictures_of_a_job_on_its_axes() {
    let house = House::started("");
    let job = "prompt = ['a fox', '一只可爱的猫', 'black']\n[matrix]\nseed = [1, 2]\n";
    house.drop_job("zoo.toml", job);
    house.until_sql(ENDED, "6");
    let answer = house.json(&["sheet", "1", "-o", "zoo.png"]);
    assert_eq!((&answer["pictures"], &answer["missing"]), (&json!(4), &json!(2)));
    let sheet = image::open(house.path("zoo.png")).expect("a picture").into_rgb8();
    assert_eq!(json!([sheet.width(), sheet.height()]), json!([answer["width"], answer["height"]]));
    assert!(sheet.width() > 2 * 256 && sheet.height() > 3 * 256, "{answer}");
    for picture in house.pictures() {
        let picture = image::open(picture).expect("a picture").into_rgb8();
        let middle = picture.get_pixel(picture.width() / 2, picture.height() / 2);
        let near = |pixel: &&image::Rgb<u8>| {
            pixel.0.iter().zip(middle.0).all(|(one, other)| one.abs_diff(other) < 8)
        };
        assert!(sheet.pixels().filter(near).count() > 100, "its colours are on the sheet");
    }
    let grey = sheet.pixels().filter(|pixel| pixel.0 == [224; 3]).count();
    assert!(grey > 2 * 200 * 200, "two have failed");
    let again = house.zimaged(&["sheet", "1"]);
    assert!(text(&again).starts_with("job-1.png: 4 pictures, 2 missing, 2 failed, "), "{again:?}");
    let content = || fs::read(house.path("job-1.png")).expect("a sheet");
    let first = content();
    let again = house.json(&["sheet", "1"]);
    let path = again["path"].as_str().expect("a path");
    assert!(path.ends_with("job-1-2.png") && content() == first, "{again}: nothing is replaced");
    fs::write(house.path("mine.png"), "mine").expect("a writable folder");
    let (code, taken) = error(&house, &["sheet", "1", "-o", "mine.png"]);
    let told = taken["message"].as_str().expect("a text");
    assert!(code == Some(1) && told.contains("mine.png exists: a sheet replaces nothing"));
    assert_eq!(fs::read(house.path("mine.png")).expect("a file"), b"mine");
    assert!(!house.path("mine.png.part").exists(), "no temporary file stays");
    let wrong = house.zimaged(&["sheet", "1", "-o", "zoo.gif"]);
    assert!(!wrong.status.success() && !house.path("zoo.gif").exists());
}

#[test]
fn a_sheet_for_which_the_disk_has_no_room_may_be_tried_again() {
    let house = House::started("");
    house.drop_job("zoo.toml", "prompt = ['a fox', 'an owl']\nseed = 1\n");
    house.until_sql(ENDED, "2");
    // A limit on the size of files fails a write in the midst of the picture.
    let line = format!(
        "ulimit -f 1; trap '' XFSZ; exec {} --config daemon.toml sheet 1 -o zoo.png",
        env!("CARGO_BIN_EXE_zimaged")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(house.path(""))
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("zoo.png: File too large"), "{said}");
    assert!(!house.path("zoo.png").exists() && !house.path("zoo.png.part").exists());
}
