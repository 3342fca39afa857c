//! What a fresh user met in an evening with the program, after the first trials: moments that were
//! other ones, times that were none, and waits without an end.

use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use toml::Table;
use toml::Value::Datetime;

use crate::support::{House, kill, said};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn local(at_ms: i64, zone: &TimeZone, form: &str) -> String {
    let at = Timestamp::from_millisecond(at_ms).expect("in range");
    at.to_zoned_datetime(zone.clone()).strftime(form).to_string()
}

/// A time zone in which noon has just passed, whenever the test runs.
fn noon() -> String {
    let hour = Timestamp::now().to_zoned_datetime(TimeZone::UTC).hour();
    // By the rules of POSIX, what is west of Greenwich is positive.
    format!("NOON{:+}", hour - 12)
}

// newcomer 2
#[test]
fn a_time_of_day_is_the_same_moment_however_late_and_wherever_a_daemon_takes_it_in() {
    let mut house = House::new("");
    let here = noon();
    let zone = TimeZone::posix(&here).expect("a zone");
    let at_ms = (now_ms() + 3 * HOUR_MS) / 1000 * 1000;
    let time = local(at_ms, &zone, "%H:%M:%S");
    let file =
        format!("not_after = '{time}' # enough\nwindow = '22:00-07:00'\nnot_before = 01:02:03\n");
    fs::write(house.path("night.toml"), format!("prompt = 'a fox'\n{file}")).expect("writable");
    for arguments in
        [&["submit", "--prompt", "an owl", "--not-before", &time][..], &["submit", "night.toml"]]
    {
        let output = house.command(arguments).env("TZ", &here).output().expect("it starts");
        assert!(output.status.success(), "{}", said(&output));
    }
    let jobs = fs::read_dir(house.path("jobs"))
        .expect("the folder")
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a job file"));
    for text in jobs {
        let job: Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        for key in ["not_before", "not_after"] {
            let moment = job.get(key);
            let is_fixed = |moment: &toml::Value| match moment {
                Datetime(at) => at.date.is_some() && at.offset.is_some(),
                _ => false,
            };
            assert!(moment.is_none_or(is_fixed), "{text}");
        }
        assert_eq!(text.contains("# enough"), job.contains_key("window"), "the rest stays: {text}");
    }
    house.start_with(&[("TZ", "ELSEWHERE-9")]);
    house.until_sql("SELECT count(*) FROM jobs", "2");
    let begin = "SELECT run_after_ms FROM renders WHERE prompt = 'an owl'";
    assert_eq!(house.value(begin), at_ms.to_string());
}

// newcomer 2
#[test]
fn the_log_warns_of_a_dropped_time_of_day_that_turned_out_to_be_tomorrows() {
    let mut house = House::new("");
    let here = noon();
    house.start_with(&[("TZ", &here)]);
    let zone = TimeZone::posix(&here).expect("a zone");
    let time = local(now_ms() + 23 * HOUR_MS, &zone, "%H:%M");
    house.drop_job("late.toml", &format!("prompt = 'a fox'\nnot_before = '{time}'\n"));
    house.until_logged("late.toml: its begin is more than 12 hours away: a time of day that has");
    house.drop_job("dated.toml", "prompt = 'a fox'\nnot_before = 2999-01-01T00:00:00Z\n");
    house.until_sql("SELECT count(*) FROM jobs", "2");
    assert!(!house.log().contains("dated.toml: its begin"), "who names a date means it");
}

// newcomer 37
#[test]
fn a_try_whose_end_nobody_saw_has_no_seconds_and_its_picture_was_begun() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold, a fox'\n");
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome = 'running'", "1");
    assert!(house.zimaged(&["pause"]).status.success());
    house.stop("KILL");
    let left = said(&house.zimaged(&["status"]));
    assert!(left.contains("0 renders queued, 1 interrupted"), "{left}");
    house.start();
    house.until_sql("SELECT outcome FROM attempts", "interrupted");
    let shown = house.json(&["show", "1"]);
    let attempt = &shown["attempts"][0];
    assert!(attempt["total_ms"].is_null() && attempt["peak_bytes"].is_null(), "{attempt}");
    assert!(shown["pictures"][0]["total_s"].is_null(), "{shown}");
    assert_eq!(house.value("SELECT total_s IS NULL AND denoise_s IS NULL FROM history"), "1");
    let told = said(&house.zimaged(&["show", "1"]));
    assert!(told.contains("unknown"), "{told}");
    assert!(house.zimaged(&["cancel", "1"]).status.success());
    house.until_sql("SELECT state FROM renders", "cancelled");
    let reason = house.value("SELECT cancel_reason FROM renders");
    assert_eq!(reason, "by the user, before it was begun again");
}

#[test]
fn an_output_folder_that_is_moved_away_is_made_anew_and_the_log_says_so() {
    let house = House::started("");
    std::fs::rename(house.path("outputs"), house.path("elsewhere")).expect("our own folder");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT state FROM renders", "done");
    house.until_logged("the folder of the pictures was gone and is made anew");
    assert_eq!(house.pictures().len(), 1);
}

// newcomer 3
#[test]
fn a_wait_ends_where_no_daemon_runs_and_says_so() {
    let mut house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    house.json(&["submit", "--prompt", "a fox"]);
    house.stop("TERM");
    let waited = house.zimaged(&["wait", "1"]);
    let told = said(&waited);
    assert_eq!(waited.status.code(), Some(75), "{told}");
    let why = "no daemon runs, and none was started within 3 s: zimaged run";
    assert!(
        told.contains("job 1 has not ended: 0 of 1 pictures have") && told.contains(why),
        "{told}"
    );
}

// newcomer 36
#[test]
fn a_job_of_many_prompts_that_waits_shows_prompts_and_whole_times_on_a_narrow_terminal() {
    let mut house = House::new("");
    house.start_with(&[("TZ", "UTC")]);
    let prompts: Vec<String> = (1..=9).map(|n| format!("'a lighthouse number {n}'")).collect();
    let job = format!("prompt = [{}]\nnot_before = 2999-12-31T22:00:00Z\n", prompts.join(", "));
    house.drop_job("many.toml", &job);
    house.until_sql("SELECT count(*) FROM jobs", "1");
    for columns in [80, 40] {
        let mut show = house.command(&["show", "1"]);
        let told = said(
            &show
                .envs([("COLUMNS", &*columns.to_string()), ("TZ", "UTC")])
                .output()
                .expect("it starts"),
        );
        let table = told.split_once("\n\n").expect("a table").1;
        assert!(table.lines().all(|line| line.chars().count() <= columns), "{told}");
        assert!(table.contains("from 2999-12-31") && table.contains("a lighthou"), "{told}");
        assert!(!table.contains("seed") && !table.contains("picture"), "{told}");
        let varies = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(varies.contains("varies: prompt (a lighthouse number 1, "), "{told}");
        assert!(varies.contains("and 4 more), seed (each its own)"), "{told}");
    }
}

// newcomer 13
#[test]
fn a_daemon_that_is_told_to_stop_says_so_until_its_picture_has_stopped() {
    let mut house = House::started("");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold, steps of 200 ms'\nsteps = 10\n");
    let status = |words: &str| said(&house.zimaged(&["status"])).contains(words).then_some(());
    house.until("it renders", || status("rendering 1.1"));
    kill("TERM", house.daemon_pid());
    house.until("it says that it stops", || status("stopping at the picture's next step"));
    assert!(house.log().contains("once more to end at once"), "{}", house.log());
    house.release_renders();
    house.stop("CONT");
}

// newcomer 18
#[test]
fn what_is_not_listed_of_rejected_files_is_counted_and_a_narrow_terminal_gets_folded_reports() {
    let house = House::started("");
    for number in 1..=7 {
        house.drop_job(
            &format!("a-rather-long-name-{number}.toml"),
            "prompt = 'a fox'\nwidht = 512\n",
        );
    }
    house.until_sql("SELECT count(*) FROM rejections", "7");
    let status = said(&house.zimaged(&["status"]));
    assert_eq!(status.matches("set aside 2").count(), 5, "{status}");
    assert!(status.contains("and 2 files more set aside: zimaged list --rejected"), "{status}");
    assert_eq!(house.json(&["status"])["more_rejected"], 2);
    let mut list = house.command(&["list", "--rejected"]);
    let list = said(&list.env("COLUMNS", "40").output().expect("it starts"));
    assert!(list.lines().all(|line| line.chars().count() <= 40), "{list}");
    assert!(list.contains("    widht = 512\n    ^\n"), "the marks stand below it: {list}");
}

// newcomer 11
#[test]
fn a_picture_that_was_moved_away_is_told_and_times_have_their_zone() {
    let mut house = House::new("");
    house.start_with(&[("TZ", "UTC")]);
    house.drop_job("fox.toml", "prompt = 'a fox'\nnum_images = 2\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    assert_eq!(house.json(&["show", "1"])["missing"], serde_json::json!([]));
    fs::rename(house.pictures().remove(0), house.path("moved.png")).expect("one filesystem");
    let show = |what| {
        let mut show = house.command(&["show", what]);
        said(&show.env("TZ", "UTC").output().expect("it starts"))
    };
    let job = show("1");
    assert!(job.contains("1 picture not in ") && job.contains("retry --missing 1"), "{job}");
    let of_renders = format!("{}{}", show("1.1"), show("1.2"));
    assert_eq!(of_renders.matches("which is gone").count(), 1, "{of_renders}");
    let first = job.lines().nth(1).expect("two lines");
    assert!(first.starts_with("taken in 20") && first.matches(" UTC").count() == 2, "{first}");
}
