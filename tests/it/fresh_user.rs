//! What a fresh user met in an evening with the program, after the first trials: moments that were
//! other ones, times that were none, and waits without an end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use toml::Table;
use toml::Value::Datetime;

use crate::support::terminal::answer_on_terminal;
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
        format!("not_after = '{time}' # enough\nwindow = '20:00-08:00'\nnot_before = 01:02:03\n");
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

// newcomer 6
#[test]
fn pictures_of_a_busy_machine_change_no_time_and_all_faces_tell_the_same() {
    let mut house = House::with_config("[device]\nkind = 'cpu'\n");
    house.start();
    let small = "prompt = 'a red circle'\nwidth = 64\nheight = 64\nsteps = 2\n";
    house.drop_job("made.toml", &format!("{small}num_images = 12\n"));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "12");
    house.json(&["pause"]);
    house.falsify("UPDATE attempts SET denoise_ms = 2000, total_ms = 2700");
    // Three of twelve were made while another program had the machine; the last one may have been.
    house
        .falsify("UPDATE attempts SET denoise_ms = 12000, total_ms = 13700 WHERE id IN (3, 4, 12)");
    fs::write(house.path("next.toml"), format!("{small}num_images = 100\n")).expect("writable");
    let check = house.json(&["check", "next.toml"])["expected"]["work_ms"].clone();
    let submitted = house.json(&["submit", "next.toml"])["expected"]["work_ms"].clone();
    let status = house.json(&["status"])["outlook"]["work_ms"].clone();
    assert_eq!([&check, &submitted, &status], [270_000; 3], "{check}, {submitted}, {status}");
    house.falsify("UPDATE attempts SET width = 256, height = 256, rung_text = replace(rung_text, '64x64 2 steps', '256x256 8 steps'), steps = 8");
    let fit = house.json(&["fit", "256x256"]);
    assert_eq!((&fit["seen"]["mean_ms"], &fit["seen"]["pictures"]), (&2700.0.into(), &12.into()));
    let guided = house.json(&["fit", "256x256", "--guided"]);
    assert!(guided["seen"].is_null(), "none was made with guidance: {guided}");
}

// newcomer 17
#[test]
fn without_a_daemon_it_is_said_when_all_would_be_done_if_one_were_started() {
    let mut house = House::with_config("[device]\nkind = 'cpu'\n");
    let job = "prompt = 'a red circle'\nnum_images = 20\n";
    fs::write(house.path("many.toml"), job).expect("writable");
    fs::write(house.path("more.toml"), job).expect("writable");
    let words = "no daemon runs: started now it would be done in about ";
    // Before the first start, and after it.
    for _ in 0..2 {
        for command in ["check", "submit"] {
            let told = said(&house.zimaged(&[command, "many.toml"]));
            assert!(told.contains(words) && !told.contains("not counting"), "{command}: {told}");
        }
        let more = house.json(&["check", "more.toml"])["expected"].clone();
        assert!(more["done_at_ms"].is_null() && more["done_if_started_ms"].is_i64(), "{more}");
        assert_eq!(more["uncounted_files"], 1, "{more}");
        let told = said(&house.zimaged(&["check", "more.toml"]));
        assert!(told.contains("not counting 1 other file that waits in the jobs folder"), "{told}");
        house.start();
        house.until_sql("SELECT count(*) >= 1 FROM jobs", "1");
        house.json(&["pause"]);
        house.json(&["cancel", "--all"]);
        let running = house.json(&["check", "many.toml"])["expected"].clone();
        assert!(running["done_if_started_ms"].is_null(), "{running}");
        house.stop("TERM");
        let paused = said(&house.zimaged(&["check", "many.toml"]));
        assert!(!paused.contains(words) && paused.contains("but: nothing is started"), "{paused}");
        assert!(house.zimaged(&["resume"]).status.success());
    }
}

// newcomer 6
#[test]
fn who_has_not_fetched_the_model_is_told_how_to_ask_what_fits_without_it() {
    let house = House::with_config("[model]\npath = 'models/Z-Image-Turbo'\n");
    for arguments in [&["fit", "1024x1024", "--vram", "8GiB"][..], &["fit"], &["fit", "--table"]] {
        let output = house.zimaged(arguments);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains("model fetch turbo") && told.contains("fit --turbo"), "{told}");
    }
    let turbo = house.zimaged(&["fit", "1024x1024", "--vram", "8GiB", "--turbo"]);
    assert!(turbo.status.success(), "{}", said(&turbo));
}

#[test]
fn a_jobs_folder_in_which_nothing_can_be_moved_is_told_once_and_by_the_status() {
    let mut house = House::new("");
    let jobs = house.path("jobs");
    for name in ["accepted", "rejected"] {
        fs::create_dir(jobs.join(name)).expect("writable");
    }
    fs::write(jobs.join(".zimaged.lock"), "").expect("writable");
    for name in ["a.toml", "b.toml"] {
        fs::write(jobs.join(name), "prompt = 'a fox'\n").expect("writable");
    }
    fs::set_permissions(&jobs, fs::Permissions::from_mode(0o555)).expect("ours");
    house.start_as_anybody();
    let words = "job files are not taken in: ";
    house.until_logged(words);
    let cure = "closed to yourself: chmod u+rwX";
    house.until("the status tells it", || {
        let status = said(&house.zimaged(&["status"]));
        (status.contains(words) && status.contains(cure)).then_some(())
    });
    assert!(
        house.log().contains(cure) && !house.log().contains("cannot be renamed"),
        "{}",
        house.log()
    );
    fs::set_permissions(&jobs, fs::Permissions::from_mode(0o755)).expect("ours");
    house.until_sql("SELECT count(*) FROM jobs", "2");
    house.until_logged("job files are taken in again");
    assert_eq!(house.log().matches(words).count(), 1, "{}", house.log());
    fs::set_permissions(&jobs, fs::Permissions::from_mode(0o000)).expect("ours");
    house.until("a folder that cannot be read is told as well", || {
        let log = house.log();
        (log.matches(words).count() == 2 && log.matches(cure).count() == 2).then_some(())
    });
    fs::set_permissions(&jobs, fs::Permissions::from_mode(0o755)).expect("ours");
}

#[test]
fn a_picture_is_one_line_of_the_log() {
    let mut house = House::started("");
    house.drop_job("fox.toml", "prompt = 'a fox'\nnum_images = 3\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "3");
    house.stop("TERM");
    let log = house.log();
    let done = log.matches("done 000001-fox-").count();
    assert!(done == 3 && !log.contains("rendering"), "{log}");
    assert_eq!(log.matches(" rung=").count(), 3, "how it was made stands in it: {log}");
}

#[test]
fn a_sheet_of_a_long_job_that_goes_on_has_no_empty_places() {
    let house = House::started("");
    let prompts: Vec<String> = (1..=4).map(|n| format!("'a fox {n}'")).collect();
    let waiting: Vec<String> = (5..=300).map(|n| format!("'hold, a fox {n}'")).collect();
    house.hold_renders();
    let job = format!("prompt = [{}, {}]\n", prompts.join(", "), waiting.join(", "));
    house.drop_job("foxes.toml", &job);
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "4");
    let told = said(&house.zimaged(&["sheet", "1", "-o", "sheet.png"]));
    assert!(told.contains("4 pictures, 296 missing, 296 still to be made"), "{told}");
    let sheet = house.json(&["sheet", "1"]);
    assert!(sheet["height"].as_i64() < Some(2000) && sheet["waiting"] == 296, "{sheet}");
    house.release_renders();
}

#[test]
fn who_clears_the_history_on_a_terminal_is_asked_once() {
    let house = House::started("");
    house.drop_job("fox.toml", "prompt = 'a fox'\nnum_images = 2\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "2");
    let all = ["history", "prune", "--older-than", "0h"];
    let answered = |more: &[&str], answer: &str| {
        let arguments = [&all[..], more].concat();
        let (status, out, shown) = answer_on_terminal(&mut house.command(&arguments), answer);
        (status.code(), out, shown)
    };
    let (code, _, shown) = answered(&[], "n\n");
    let question = "1 job with 2 renders would be forgotten, 2 pictures of ";
    assert!(code == Some(3) && shown.contains(question), "{shown}");
    assert!(shown.contains("forget them? [y/N]") && shown.contains("nothing was forgotten"));
    assert_eq!(house.pictures().len(), 2);
    let (code, _, shown) = answered(&["--dry-run"], "n\n");
    assert!(code == Some(0) && !shown.contains('?'), "{shown}");
    let (code, out, _) = answered(&[], "y\n");
    assert!(code == Some(0) && out.contains("1 job with 2 renders forgotten"), "{out}");
    assert!(house.pictures().is_empty());
    let (code, _, shown) = answered(&[], "n\n");
    assert!(code == Some(0) && !shown.contains('?'), "there is nothing to ask about: {shown}");
}

#[test]
fn a_second_file_of_one_name_is_told_by_both_of_its_names() {
    let mut house = House::new("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("writable");
    assert!(said(&house.zimaged(&["submit", "fox.toml"])).contains("fox.toml waits in the jobs"));
    let told = said(&house.zimaged(&["submit", "fox.toml"]));
    assert!(told.contains("fox.toml (as fox-2.toml) waits in the jobs folder"), "{told}");
    house.start();
    house.until_sql("SELECT count(*) FROM jobs", "2");
    for report in ["bad.toml", "2-bad.toml"] {
        house.drop_job("bad.toml", "promt = 'a fox'\n");
        house.until_refused(report);
        house.until_logged(&format!("set aside, see rejected/{report}.error.txt: "));
    }
}

// newcomer 13
#[test]
fn a_report_that_is_stopped_early_says_so_at_once_and_leaves_no_folder() {
    let house = House::with_config("[device]\nkind = 'cpu'\n");
    let log = fs::File::create(house.path("log")).expect("writable");
    let mut report =
        house.command(&["report", "--size", "1024x1024", "--steps", "100", "--out", "a/r"]);
    let report = report.stderr(log).stdout(Stdio::null()).spawn().expect("it starts");
    house.until_logged("report: loading");
    kill("INT", report.id());
    house.until_logged("report: stopping, within some seconds; once more to end at once");
    let ended = report.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(75), "{}", house.log());
    assert!(house.log().contains("stopped: nothing was written"), "{}", house.log());
    assert!(!house.path("a").exists());
}
