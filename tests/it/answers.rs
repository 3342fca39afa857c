//! What commands say: which queue they speak to, by which clock their times are, what is waited
//! for, and nothing that the words beside it say already.

use std::fs;
use std::process::{Output, Stdio};

use jiff::{Timestamp, ToSpan, ZonedDateTime};
use serde_json::Value;

use crate::support::notify::Systemd;
use crate::support::{House, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";
const RUNNING: &str = "SELECT count(*) FROM renders WHERE state = 'running'";

/// A moment of which no test sees the end.
const FAR: &str = "2098-01-01T10:00:00Z";

fn told(house: &House, arguments: &[&str]) -> String {
    said(&house.zimaged(arguments))
}

/// What a terminal of so many columns gets.
fn told_in(house: &House, columns: &str, arguments: &[&str]) -> String {
    let mut command = house.command(arguments);
    said(&command.env("COLUMNS", columns).output().expect("it starts"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

/// A folder with a job whose only picture is done.
fn one_done() -> House {
    let house = House::started("");
    house.json(&["submit", "--prompt", "a fox"]);
    house.until_sql(DONE, "1");
    house
}

// newcomer 4
#[test]
fn what_changes_a_queue_says_which_one_where_that_is_not_to_be_seen() {
    let house = one_done();
    let other = tempfile::tempdir().expect("a temporary folder");
    let queue = format!("queue {}", house.path("state").display());
    house.json(&["submit", "--prompt", "later", "-n", "3", "--not-before", FAR]);
    for arguments in [
        &["submit", "--prompt", "later", "--not-before", FAR][..],
        &["pause"],
        &["resume"],
        &["edit", "2", "--priority", "5"],
        &["cancel", "2.1"],
        &["retry", "2"],
        &["sheet", "1"],
        &["history", "prune", "--older-than", "90d"],
        &["backup", "night.sqlite"],
        // What is looked for in the wrong queue is not found.
        &["cancel", "99"],
    ] {
        let here = house.zimaged(&[arguments, &["--json"]].concat());
        assert!(!stderr(&here).contains("queue /"), "{arguments:?}: {}", stderr(&here));
        let mut command = house.command(&[arguments, &["--json"]].concat());
        let elsewhere = command.current_dir(other.path()).output().expect("it starts");
        let named = stderr(&elsewhere);
        assert_eq!(named.matches(&queue).count(), 1, "{arguments:?}: {named}");
        serde_json::from_slice::<Value>(&elsewhere.stdout).expect("the answer alone");
    }
    let mut quiet = house.command(&["pause", "-q"]);
    let quiet = quiet.current_dir(other.path()).output().expect("it starts");
    assert_eq!(stderr(&quiet), "");
}

// newcomer 15
#[test]
fn the_times_of_a_table_have_their_zone_once() {
    let house = one_done();
    for (arguments, columns) in [(&["list"][..], "80"), (&["list"], "200"), (&["show", "1"], "200")]
    {
        let mut command = house.command(arguments);
        let output = command.env("TZ", "EAST-6").env("COLUMNS", columns).output();
        let told = said(&output.expect("it starts"));
        let said_zone = told.matches("\n\ntimes are in EAST\n").count();
        assert_eq!(said_zone, 1, "{arguments:?} {columns}: {told}");
    }
    house.json(&["submit", "--prompt", "later", "--not-before", FAR]);
    let waits = told_in(&house, "40", &["show", "2"]);
    assert!(waits.contains("from 2098-01-01") && waits.contains("\ntimes are in "), "{waits}");
    let empty = House::new("");
    assert!(!told(&empty, &["list"]).contains("times are in"));
}

// newcomer 9
#[test]
fn a_doctor_says_whether_this_build_could_use_a_card() {
    let house = House::new("[device]\nkind = 'cpu'\n");
    let build = if cfg!(feature = "cuda") { "has CUDA" } else { "is without CUDA" };
    let told = told(&house, &["doctor"]);
    assert!(told.contains(&format!("the processor, as configured; this build {build}")), "{told}");
}

// newcomer 13
#[test]
fn a_daemon_that_waits_says_for_what_and_until_when() {
    let mut house = House::new("");
    let systemd = Systemd::of(&house);
    house.start_as_service(&systemd.environment(""));
    house.json(&["submit", "--prompt", "later", "--not-before", FAR]);
    // The live line of a terminal is made of the same.
    systemd.until("STATUS=nothing is started before 2098-01-01 ");
    house.until_logged("nothing is started before 2098-01-01 ");
    house.json(&["pause", "a game"]);
    systemd.until("STATUS=nothing is started: paused (a game); go on with: zimaged resume");
    house.until_logged("nothing is started: paused (a game)");
}

// newcomer 31's brother: `submit --wait` in a pipe said nothing of the job before its end.
#[test]
fn who_submits_and_waits_is_told_the_job_at_once() {
    let house = House::started("");
    house.hold_renders();
    let log = fs::File::create(house.path("told")).expect("a writable folder");
    let mut wait = house.command(&["submit", "--wait", "--prompt", "hold at step 1"]);
    let wait = wait.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
    house.until_sql(RUNNING, "1");
    let told = || fs::read_to_string(house.path("told")).expect("our own file");
    house.until("the job is told", || told().contains(" is job 1, 1 picture of ").then_some(()));
    house.release_renders();
    let output = wait.wait_with_output().expect("our own child");
    assert!(output.status.success(), "{}", told());
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("1 of 1 picture done"), "{answer}");
}

// newcomer 2's brother: without a daemon none was said to come too late.
#[test]
fn an_end_is_said_to_come_too_early_without_a_daemon_too() {
    let mut house = one_done();
    house.falsify("UPDATE attempts SET denoise_ms = 59000, total_ms = 60000");
    house.hold_renders();
    house.json(&["submit", "--prompt", "hold at step 1", "-n", "5"]);
    house.until_sql(RUNNING, "1");
    house.stop("TERM");
    let end = Timestamp::from_second(Timestamp::now().as_second() + 90).expect("near").to_string();
    let edited = house.json(&["edit", "2", "--not-after", &end]);
    assert!(edited["too_late"].as_u64() >= Some(3), "{edited}");
    let told = told(&house, &["edit", "2", "--not-after", &end]);
    assert!(told.contains(" too late for their time, if a daemon is started now"), "{told}");
    let none = house.json(&["edit", "2", "--not-after", "none"]);
    assert_eq!(none["too_late"], 0, "{none}");
}

// newcomer 2's brother: an edit took a time of day that has passed as tomorrow's in silence.
#[test]
fn an_end_that_becomes_tomorrows_is_told() {
    let house = House::started("");
    house.json(&["pause"]);
    house.json(&["submit", "--prompt", "a fox"]);
    let passed =
        ZonedDateTime::now().checked_sub(1.hour()).expect("near").strftime("%H:%M").to_string();
    let told = told(&house, &["edit", "1", "--not-after", &passed]);
    assert!(told.contains("its end is more than 12 hours away"), "{told}");
    let later = ZonedDateTime::now().checked_add(1.hour()).expect("near").timestamp().to_string();
    let edited = house.json(&["edit", "1", "--not-after", &later]);
    assert_eq!(edited["warnings"].as_array().map(Vec::len), Some(0), "{edited}");
}

#[test]
fn a_run_until_idle_of_a_queue_that_is_paused_before_ends_and_says_so() {
    let house = House::new("");
    write(&house, "fox.toml", "prompt = 'a fox'\n");
    let run = |arguments: &[&str]| house.zimaged(&[&["run", "--until-idle"], arguments].concat());
    assert_eq!(run(&["fox.toml"]).status.code(), Some(0));
    house.json(&["pause", "a game"]);
    assert_eq!(run(&[]).status.code(), Some(0), "there is no work");
    let paused = run(&["fox.toml"]);
    assert_eq!(paused.status.code(), Some(75), "{}", said(&paused));
    let why = "nothing was started, 1 render waits: the queue is paused (a game); go on with: \
               zimaged resume";
    assert!(
        stderr(&paused).contains(&format!(
            "zimaged: fox.toml stays in the queue (run again \
        without naming it): {why}"
        )),
        "{}",
        stderr(&paused)
    );
    house.json(&["resume"]);
    assert_eq!(run(&[]).status.code(), Some(0));
    assert_eq!(house.value(DONE), "2");
}

#[test]
fn a_picture_that_is_taken_for_a_job_file_is_told_what_makes_it_again() {
    let house = House::new("");
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mini.png");
    fs::copy(mini, house.path("fox.png")).expect("a writable folder");
    for command in ["submit", "check"] {
        let output = house.zimaged(&[command, "fox.png"]);
        let told = said(&output);
        assert!(told.contains("this is a picture, and no job file"), "{told}");
        assert!(told.contains("zimaged replay fox.png") && !told.contains("UTF-8"), "{told}");
        assert_eq!(output.status.code(), Some(3), "{told}");
    }
}

// newcomer 17's brother
#[test]
fn a_list_counts_the_files_that_wait_as_a_status_does() {
    let house = House::new("");
    write(&house, "jobs/a.toml", "prompt = 'a'\n");
    let one = "\n\n1 job file waits in jobs/ for a daemon: zimaged run\n";
    assert!(told(&house, &["list"]).contains(one), "{}", told(&house, &["list"]));
    assert!(house.zimaged(&["run", "--until-idle"]).status.success());
    assert!(!told(&house, &["list"]).contains("job file"));
    write(&house, "jobs/b.toml", "prompt = 'a'\n");
    let list = told(&house, &["list"]);
    assert!(list.contains("a.toml") && list.contains(one), "{list}");
    assert!(!told(&house, &["list", "--tag", "night"]).contains("job file"));
}

#[test]
fn a_sheet_without_a_picture_is_none() {
    let house = one_done();
    fs::remove_file(house.pictures().remove(0)).expect("our own file");
    let sheet = house.zimaged(&["sheet", "1"]);
    let told = said(&sheet);
    assert_eq!(sheet.status.code(), Some(3), "{told}");
    assert!(told.contains("of the 1 picture of job 1 none is in "), "{told}");
    assert!(told.contains("zimaged retry --missing 1"), "{told}");
    assert!(!house.path("job-1.png").exists());
}

// newcomer 36
#[test]
fn a_narrow_terminal_keeps_what_became_of_a_job_and_whole_reasons() {
    let house = House::started("");
    house.drop_job("a-long-name-of-a-job-for-the-line.toml", "prompt = 'black'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'failed'", "1");
    house.json(&["submit", "--prompt", "later", "--not-before", FAR]);
    let list = told_in(&house, "40", &["list"]);
    assert!(list.contains("done") && list.contains("0/1"), "{list}");
    assert!(told_in(&house, "60", &["list"]).contains("  failed  "), "{list}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let attempt = house.json(&["show", "1"])["attempts"][0].clone();
    let [rung, why] = ["rung", "message"].map(|key| attempt[key].as_str().expect("a text"));
    let narrow = words(&told_in(&house, "40", &["show", "1"]));
    let whole = format!("picture 1, try 1: {rung}; {why}");
    assert!(narrow.contains(&words(&whole)), "{whole}: {narrow}");
    assert!(told(&house, &["show", "1"]).contains("  why\n"), "programs get one table");
}

// newcomer 35
#[test]
fn a_hint_of_ours_stands_in_the_place_of_one_that_leads_astray() {
    let house = House::new("");
    let told = told(&house, &["submit", "--prompt", "a", "--cfg", "7"]);
    assert!(told.contains("\n  tip: --cfg: here it is called --guidance"), "{told}");
    assert!(!told.contains("as a value"), "{told}");
    let json = house.json(&["submit", "--prompt", "a", "--cfg", "7"]);
    let message = json["error"]["message"].as_str().expect("a text");
    assert!(message.contains("tip: --cfg: here") && !message.contains("as a value"), "{message}");
}

#[test]
fn who_wants_quiet_gets_answers_and_errors_alone() {
    let house = House::new("");
    let job = ["submit", "-q", "--prompt", "later", "--not-before", FAR];
    let mut submit = house.command(&job);
    let submitted = submit.env("TZ", "Nowhere/None").output().expect("it starts");
    assert_eq!(stderr(&submitted), "", "a time zone and a begin that is far away are no errors");
    assert!(submitted.status.success() && !submitted.stdout.is_empty());
    let error = house.zimaged(&["submit", "-q", "nofile.toml"]);
    assert!(stderr(&error).starts_with("zimaged: cannot read nofile.toml"), "{}", stderr(&error));
}

// newcomer 25's brother
#[test]
fn what_is_said_of_options_names_them_and_no_file_that_nobody_has_written() {
    let house = House::new("");
    let job = ["--prompt", "a fox", "--not-before", FAR];
    let submitted = house.zimaged(&[&["submit"], &job[..]].concat());
    let warned = stderr(&submitted);
    assert!(warned.contains("--not-before: its begin is more than 12 hours away"), "{warned}");
    assert!(!warned.contains("a-fox.toml"), "{warned}");
    let answer = String::from_utf8_lossy(&submitted.stdout).into_owned();
    assert!(answer.contains("\nstarts on 2098-01-01 "), "{answer}");
    let checked = told(&house, &[&["check"], &job[..]].concat());
    assert!(checked.starts_with("good, 1 picture"), "{checked}");
    write(&house, "list.txt", "a fox (red:1.2)\n");
    write(&house, "template.toml", "prompt = 'a'\nnot_before = 2098-01-01T10:00:00Z\n");
    let of_list =
        house.zimaged(&["submit", "--prompts", "list.txt", "--template", "template.toml"]);
    let warned = stderr(&of_list);
    assert!(warned.contains("list.txt: (red:1.2)"), "{warned}");
    assert!(warned.contains("template.toml: its begin is more than"), "{warned}");
}

// newcomer 33
#[test]
fn no_error_has_a_number_beside_its_words() {
    let house = House::new("");
    let there_is_no = |arguments: &[&str]| {
        let told = told(&house, arguments);
        let words = ["No such file or directory", "Is a directory", "Not a directory"];
        assert!(words.iter().any(|words| told.contains(words)), "{arguments:?}: {told}");
        assert!(!told.contains("os error"), "{arguments:?}: {told}");
    };
    there_is_no(&["submit", "nofile.toml"]);
    there_is_no(&["check", "nofile.toml"]);
    there_is_no(&["submit", "nofile.toml", "--json"]);
    there_is_no(&["submit", "--prompts", "nofile.txt"]);
    there_is_no(&["submit", "--prompt", "a", "--template", "jobs"]);
    there_is_no(&["replay", "nofile.png"]);
    there_is_no(&["restore", "nofile.sqlite"]);
    there_is_no(&["report", "--compare", "a.json", "b.json"]);
}
