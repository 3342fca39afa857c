//! What a new user met in a second evening with the program: answers that were silent, or said what
//! was not so.

use std::fs;
use std::process::Stdio;

use jiff::Timestamp;
use serde_json::json;

use crate::support::terminal::{answer_on_terminal, run_on_terminal};
use crate::support::{House, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";
const RUNNING: &str = "SELECT count(*) FROM renders WHERE state = 'running'";

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

fn told(house: &House, arguments: &[&str]) -> String {
    said(&house.zimaged(arguments))
}

/// What a terminal of so many columns gets.
fn told_in(house: &House, columns: &str, arguments: &[&str]) -> String {
    let mut command = house.command(arguments);
    said(&command.env("COLUMNS", columns).output().expect("it starts"))
}

fn in_seconds(seconds: i64) -> String {
    Timestamp::from_second(Timestamp::now().as_second() + seconds).expect("near").to_string()
}

/// A daemon whose pictures take a minute, by all that it knows, at work on the first of them.
fn slow() -> House {
    let house = House::started("");
    house.json(&["submit", "--prompt", "a fox"]);
    house.until_sql(DONE, "1");
    house.falsify("UPDATE attempts SET denoise_ms = 59000, total_ms = 60000");
    house.hold_renders();
    house.json(&["submit", "--prompt", "hold at step 1"]);
    house.until_sql(RUNNING, "1");
    house
}

// newcomer 2's brother: `submit` and `check` said so, and `edit` was silent.
#[test]
fn an_end_that_is_set_later_says_how_many_come_too_late_as_one_that_is_set_at_once() {
    let house = slow();
    let end = in_seconds(90);
    let submit = ["submit", "--prompt", "an owl", "-n", "5"];
    let at_once = house.json(&[&submit[..], &["--not-after", &end]].concat());
    house.json(&submit);
    let later = house.json(&["edit", "4", "--not-after", &end]);
    assert!(at_once["expected"]["too_late"].as_u64() >= Some(3), "{at_once}");
    assert_eq!(later["too_late"], 5, "the others of this time come before: {later}");
    let told = told(&house, &["edit", "4", "--not-after", &end]);
    assert!(told.contains("5 renders too late for their time"), "{told}");
    // Each number has its noun: jobs and pictures stand side by side.
    let status = self::told(&house, &["status"]);
    assert!(status.contains("renders too late for their time"), "{status}");
    assert!(status.contains(": 0 of 1 render done"), "{status}");
    let none = house.json(&["edit", "4", "--not-after", "none"]);
    assert_eq!(none["too_late"], 0, "{none}");
    house.release_renders();
}

// Who had forgotten `[model] path` took the miniature's promise for Turbo's.
#[test]
fn what_is_promised_names_the_model_and_the_size() {
    let house = House::with_config("");
    let job = ["--prompt", "a red circle", "-n", "3", "--size", "64x64"];
    for command in ["check", "submit"] {
        let told = told(&house, &[&[command], &job[..]].concat());
        assert!(told.contains("3 pictures of 64x64 by the miniature (zimage-mini)"), "{told}");
    }
    let answer = house.json(&[&["submit"], &job[..]].concat());
    let asked = json!([{"model": "zimage-mini", "miniature": true, "width": 64, "height": 64,
        "pictures": 3}]);
    assert_eq!(answer["asked"], asked);
    write(&house, "sizes.toml", "prompt = 'a'\nwidth = 64\n[matrix]\nheight = [64, 128]\n");
    let two = told(&house, &["check", "sizes.toml"]);
    assert!(two.contains("2 pictures of 64x64, 64x128 by the miniature"), "{two}");
}

#[test]
fn what_is_cancelled_while_no_daemon_lives_is_not_said_to_go_on() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold at step 1'\n");
    house.until_sql(RUNNING, "1");
    house.stop("KILL");
    house.json(&["cancel", "1"]);
    for command in [&["list"][..], &["show", "1"], &["show", "1.1"]] {
        let told = told(&house, command);
        assert!(told.contains("to be cancelled") && !told.contains("goes on"), "{told}");
    }
    house.start();
    house.until_sql("SELECT state FROM renders", "cancelled");
    house.until_logged("found running: cancelled, as it was told to be");
    assert!(!house.log().contains("queued again"), "{}", house.log());
    assert_eq!(house.value("SELECT outcome FROM attempts"), "cancelled");
}

#[test]
fn a_render_that_fits_no_memory_is_told_in_the_outlook() {
    let mut house = House::with_config("[device]\nmemory_limit = '38MiB'\n");
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "1");
    house.zimaged(&["pause"]);
    house.json(&["submit", "--prompt", "a", "--size", "1024x1024", "--on-oom", "fail"]);
    house.json(&["submit", "--prompt", "a", "--size", "64x64", "-n", "2"]);
    assert_eq!(house.json(&["status"])["outlook"]["unfit"], 1);
    let told = told(&house, &["status"]);
    assert!(told.contains(" of work (1 render may run out of memory)"), "{told}");
}

#[test]
fn a_list_of_prompts_is_to_be_seen_in_a_narrow_terminal() {
    let house = House::started("");
    write(&house, "zoo.txt", "a fox in deep snow\nan owl by the moon\na bear with honey\n");
    house.json(&["submit", "--prompts", "zoo.txt"]);
    house.until_sql(DONE, "3");
    let shown = told_in(&house, "80", &["show", "1"]);
    for part in ["a fox in", "an owl by", "a bear wi"] {
        let row = |line: &&str| line.starts_with("1.") && line.contains(part);
        assert!(shown.lines().any(|line| row(&line)), "{part}: {shown}");
    }
}

#[test]
fn a_narrow_list_keeps_its_times_and_cuts_its_names() {
    let house = House::started("");
    house.drop_job("a-rather-long-name-that-fills-the-line.toml", "prompt = 'a'\n");
    house.until_sql(DONE, "1");
    house.json(&[
        "submit",
        "--prompt",
        "a-prompt-of-many-letters",
        "--not-before",
        "2098-01-01T10:00:00Z",
    ]);
    let ended = house.value(
        "SELECT strftime('%H:%M', finished_at_ms / 1000, 'unixepoch', 'localtime') FROM renders",
    );
    for columns in ["40", "80"] {
        let list = told_in(&house, columns, &["list"]);
        for part in ["done", "1/1", "from 2098-01-01", "a-rather"] {
            assert!(list.contains(part), "{columns}, {part}: {list}");
        }
        // What became of a job is more than when.
        assert!(columns == "40" || list.contains("ended") && list.contains(&ended), "{list}");
        assert!(!list.contains("fills-the-line.toml") || columns == "80", "{list}");
    }
}

#[test]
fn a_status_says_whose_the_last_time_is() {
    let house = slow();
    house.json(&["submit", "--prompt", "an owl", "--not-before", &in_seconds(7200)]);
    let outlook = house.json(&["status"])["outlook"].clone();
    assert_eq!(outlook["last_job"], 3, "{outlook}");
    assert!(outlook["sooner_done_at_ms"].as_i64() < outlook["done_at_ms"].as_i64(), "{outlook}");
    let told = told(&house, &["status"]);
    assert!(told.contains(" but for what waits for its time, and at about "), "{told}");
    assert!(told.contains(" with job 3"), "{told}");
    let page = house.get("/queue").ok().text();
    assert!(page.contains(", with <a href=\"gallery?job=3\">job 3</a>; but for what"), "{page}");
    assert!(page.contains("; but for what waits for its time, at about <strong>"), "{page}");
    house.json(&["cancel", "3"]);
    let outlook = house.json(&["status"])["outlook"].clone();
    assert!(outlook["last_job"].is_null() && outlook["done_at_ms"].is_number(), "{outlook}");
    house.release_renders();
}

#[test]
fn the_page_of_the_queue_tells_the_day_of_an_end_that_is_not_today() {
    let house = slow();
    house.json(&["submit", "--prompt", "an owl", "--not-before", "2098-01-01T10:00:00Z"]);
    let at_ms = house.json(&["status"])["outlook"]["done_at_ms"].as_i64().expect("an end");
    let day = format!("SELECT date({at_ms} / 1000, 'unixepoch', 'localtime')");
    let told = format!("All done at about <strong>{} ", house.value(&day));
    house.until("the page tells it", || {
        house.get("/queue").ok().text().contains(&told).then_some(())
    });
    house.release_renders();
}

#[test]
fn the_hours_of_a_window_are_told_with_their_zone() {
    let mut house = House::new("");
    house.start_with(&[("TZ", "EAST-6")]);
    house.json(&["pause"]);
    house.json(&["submit", "--prompt", "a fox", "--window", "20:00-08:00"]);
    for what in ["1", "1.1"] {
        let told = told(&house, &["show", what]);
        assert!(told.contains("window 20:00-08:00 EAST"), "{told}");
    }
}

#[test]
fn the_queue_s_page_has_first_what_is_begun_first() {
    let house = slow();
    let later = ["submit", "--prompt", "later", "--priority", "9", "--not-before"];
    house.json(&[&later[..], &[&in_seconds(7200)]].concat());
    house.json(&["submit", "--prompt", "soon"]);
    let places = || {
        let page = house.get("/queue").ok().text();
        ["data-key=\"4\"", "data-key=\"3\""].map(|row| page.find(row).expect(row))
    };
    assert!(places().is_sorted(), "by their turns");
    house.json(&["pause"]);
    house.until("a new look", || places().is_sorted().then_some(()));
    house.release_renders();
}

#[test]
fn a_picture_that_was_changed_is_told_with_what_brings_it_back() {
    let house = House::started("");
    house.json(&["submit", "--prompt", "a fox"]);
    house.until_sql(DONE, "1");
    let picture = house.pictures().remove(0);
    let before = fs::read(&picture).expect("a picture");
    fs::write(&picture, "painted over").expect("a writable folder");
    let verified = told(&house, &["verify"]);
    let command = "zimaged retry --missing 1.1";
    assert!(verified.contains("move the file away") && verified.contains(command), "{verified}");
    fs::rename(&picture, house.path("aside")).expect("the same filesystem");
    assert!(house.zimaged(&["retry", "--missing", "1.1"]).status.success());
    house.until_sql(DONE, "2");
    assert!(before.len() > 12 && house.pictures().len() == 1);
}

#[test]
fn a_second_word_of_a_prompt_is_not_taken_for_a_job_file() {
    let house = House::new("");
    let told = told(&house, &["submit", "--prompt", "a", "fox"]);
    assert!(told.contains("fox is no job file") && told.contains("--prompt \"a fox\""), "{told}");
}

#[test]
fn a_try_that_was_killed_has_no_seconds_and_no_memory() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold at step 1'\n");
    house.until_sql(RUNNING, "1");
    house.stop("KILL");
    let shown = told(&house, &["show", "1"]);
    assert!(shown.contains("interrupted") && !shown.contains("0.00"), "{shown}");
    let picture = told(&house, &["show", "1.1"]);
    assert!(!picture.contains("seconds") && !picture.contains("0 MiB"), "{picture}");
}

#[test]
fn a_pause_without_a_reason_says_once_that_it_is_one() {
    let house = House::started("");
    house.json(&["pause"]);
    assert!(told(&house, &["status"]).contains("\npaused: by the user\n"));
}

#[test]
fn who_cancels_everything_on_a_terminal_is_asked_once() {
    let house = House::started("");
    house.json(&["pause"]);
    let answered = |arguments: &[&str], answer: &str| {
        let (status, out, shown) = answer_on_terminal(&mut house.command(arguments), answer);
        (status.code(), out, shown)
    };
    house.json(&["submit", "--prompt", "a fox", "-n", "12"]);
    for no in ["n\n", "\n"] {
        let (code, _, shown) = answered(&["cancel", "--all"], no);
        assert!(
            code == Some(3) && shown.contains("12 renders wait or run: cancel them?"),
            "{shown}"
        );
        assert!(shown.contains("nothing was cancelled"), "{shown}");
    }
    let (code, _, shown) = answered(&["cancel", "1.1"], "n\n");
    assert!(code == Some(0) && !shown.contains('?'), "what is named is meant: {shown}");
    let (code, out, _) = answered(&["cancel", "--all"], "y\n");
    assert!(code == Some(0) && out.contains("11 renders cancelled"), "{out}");
    house.json(&["submit", "--prompt", "a fox"]);
    let (code, _, shown) = answered(&["cancel", "--all", "--yes"], "n\n");
    assert!(code == Some(0) && !shown.contains('?'), "{shown}");
    house.json(&["submit", "--prompt", "a fox"]);
    let mut script = house.command(&["cancel", "--all"]);
    let (status, out, _) = run_on_terminal(script.stdin(Stdio::null()), 80);
    assert!(status.success() && out.contains("1 render cancelled"), "a script is not asked: {out}");
}

#[test]
fn a_replay_is_called_as_the_picture_that_it_repeats() {
    let house = House::started("");
    house.json(&["submit", "--prompt", "a fox", "--output", "fox"]);
    house.until_sql(DONE, "1");
    house.json(&["replay", "outputs/fox.png"]);
    house.until_sql(DONE, "2");
    assert!(house.path("outputs/fox-replay.png").exists(), "{:?}", house.pictures());
}

#[test]
fn a_chinese_page_names_the_field_of_an_english_message() {
    let house = House::started("");
    let origin = format!("http://{}", house.http());
    let form = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept-Language", "zh-CN"),
        ("Origin", &origin),
    ];
    let advice = house.ask("POST /create/check", &form, b"prompt=fox&height=500").ok().text();
    let right = "请填写像素数：必须在允许的范围内，并且是模型步长的倍数。";
    let told = format!("高度填写有误：<br>{right}<br><span lang=\"en\">height");
    assert!(advice.contains(&told), "{advice}");
}
