//! The jobs folder as users meet it: what is taken, what is told of the rest, and by whom.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{House, said};

const JOB: &str = "prompt = 'a fox'\n";

/// A name as it is copied out of a dialogue: the first character is not seen.
const ODD: &str = "\u{200e}fox.toml";

fn jobs(house: &House) -> String {
    house.value("SELECT group_concat(file_name) FROM jobs")
}

/// The jobs folder in the JSON of `status`.
fn folder(house: &House) -> Value {
    house.json(&["status"])["jobs_folder"].clone()
}

/// case B: `submit` waited for half a minute, and `run` made nothing and ended 0.
#[test]
fn a_file_with_an_odd_name_is_rendered_whoever_hands_it_over() {
    let mut house = House::new("");
    let long = "x".repeat(251) + ".tml";
    for name in [ODD, &long] {
        fs::write(house.path(name), JOB).expect("a writable folder");
        let output = house.zimaged(&["run", "--until-idle", name]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    assert_eq!(house.pictures().len(), 2);
    house.start();
    let output = house.zimaged(&["submit", "--wait", ODD]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    house.drop_job(ODD, JOB);
    house.until_sql("SELECT count(*) FROM jobs", "4");
    assert!(jobs(&house).starts_with("fox.toml,fox.toml,fox.toml,xx"), "{}", jobs(&house));
}

/// case B: a copy was made of a file that lay in the jobs folder already.
#[test]
fn a_file_of_the_jobs_folder_that_is_handed_over_is_one_job() {
    let house = House::new("");
    fs::write(house.path("jobs/fox.toml"), JOB).expect("a writable folder");
    let left = house.zimaged(&["submit", "jobs/fox.toml"]);
    assert_eq!(folder(&house)["waiting"], 1, "{}", said(&left));
    let output = house.zimaged(&["run", "--until-idle", "jobs/fox.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(jobs(&house), "fox.toml");
    assert!(house.path("jobs/accepted/000001-fox.toml").exists());
    assert_eq!(house.pictures().len(), 1);
}

/// newcomer 17: it ended 0, told an end time and counted no files.
#[test]
fn without_a_daemon_status_counts_the_files_that_wait_and_promises_no_end() {
    let house = House::new("");
    house.drop_job("fox.toml", JOB);
    let status = house.zimaged(&["status"]);
    assert_eq!(status.status.code(), Some(75), "{}", said(&status));
    assert!(said(&status).contains("there is no database yet"), "{}", said(&status));
    assert!(said(&status).contains("1 file waits in jobs/:\n  fox.toml: no daemon"), "{status:?}");
    assert_eq!(house.zimaged(&["run", "--until-idle"]).status.code(), Some(0));
    fs::write(house.path("owl.toml"), JOB).expect("a writable folder");
    house.zimaged(&["submit", "owl.toml"]);
    house.falsify("UPDATE renders SET state = 'queued', finished_at_ms = NULL");
    let status = house.zimaged(&["status"]);
    assert_eq!(status.status.code(), Some(75));
    assert!(said(&status).contains("1 render queued"), "{}", said(&status));
    assert!(!said(&status).contains("done at"), "{}", said(&status));
    assert_eq!(folder(&house)["files"][0]["file"], "owl.toml");
}

/// newcomer 18.
#[test]
fn status_tells_of_files_that_were_set_aside_newest_first() {
    let house = House::started("");
    house.drop_job("old.toml", "steps = 'many'\n");
    house.until_sql("SELECT count(*) FROM rejections", "1");
    house.drop_job("new.toml", "promt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM rejections", "2");
    let status = said(&house.zimaged(&["status"]));
    let [new, old] =
        ["new.toml:1:1", "old.toml:1:"].map(|place| status.find(place).expect(&status));
    assert!(new < old && !status.contains("^"), "first lines only: {status}");
}

/// newcomer 19, case F: such files were ignored without a word, or became jobs.
#[test]
fn what_is_left_alone_is_told_once_in_the_log_and_in_status() {
    let mut house = House::new("");
    let conflict = "fox.sync-conflict-20260101-120000-ABCDEFG.toml";
    for name in ["fox.toml.txt", "prompts.txt", "workflow.json", conflict, "owl.toml~"] {
        fs::write(house.path("jobs").join(name), JOB).expect("a writable folder");
    }
    fs::write(house.path("jobs/FOX.TOML"), JOB).expect("a writable folder");
    house.start();
    house.until_sql("SELECT group_concat(file_name) FROM jobs", "FOX.toml");
    let status = said(&house.zimaged(&["status"]));
    for told in [
        "5 others left alone in jobs/:",
        "fox.toml.txt: rename it",
        "prompts.txt: prompts, one in each line? zimaged submit --prompts",
        "workflow.json: not a job",
        "ABCDEFG.toml: a conflict copy",
        "owl.toml~: an editor's copy",
    ] {
        assert!(status.contains(told), "{told}: {status}");
    }
    assert_eq!(folder(&house)["others"][0]["why"], "conflict_copy", "{}", folder(&house));
    house.until_logged("workflow.json is left alone");
    // Some scans later.
    std::thread::sleep(std::time::Duration::from_millis(4500));
    let log = house.log();
    assert_eq!(log.matches("workflow.json is left alone").count(), 1, "{log}");
    // Another start tells what is new only.
    house.stop("TERM");
    fs::write(house.path("jobs/new.json"), "{}").expect("a writable folder");
    house.start();
    house.until_logged("new.json is left alone");
    let log = house.log();
    assert_eq!(log.matches("prompts.txt is left alone").count(), 1, "{log}");
    assert_eq!(jobs(&house), "FOX.toml");
}

/// case C: `status` said ready, and nothing else.
#[test]
fn status_says_why_files_wait_while_the_database_is_locked() {
    let house = House::started("");
    house.drop_job("first.toml", JOB);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.while_locked(|| {
        house.drop_job("fox.toml", JOB);
        house.until("the reason", || {
            let folder = folder(&house);
            let reason = folder["files"][0]["reason"].as_str()?.to_owned();
            (reason.contains("locked by another program") && folder["waiting"] == 1).then_some(())
        });
    });
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.until("no reason any more", || folder(&house)["trouble"].is_null().then_some(()));
}

/// case C: a file that is not whole, and one that is not right yet.
#[test]
fn status_says_why_a_single_file_waits() {
    let house = House::started("");
    fs::write(house.path("jobs/fox.toml"), "prompt = ").expect("a writable folder");
    house.until("the reason", || {
        let reason = folder(&house)["files"][0]["reason"].as_str()?.to_owned();
        (reason.contains("refused unless it changes") && reason.contains("fox.toml:1:"))
            .then_some(())
    });
}

/// case C: a folder that the daemon cannot use.
#[test]
fn status_says_that_the_jobs_folder_cannot_be_used() {
    let house = House::started("");
    // A folder that is wrong while the daemon starts ends the start.
    house.drop_job("first.toml", JOB);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.make_unusable("jobs/accepted");
    house.drop_job("fox.toml", JOB);
    house.until("the trouble", || {
        let folder = folder(&house);
        let trouble = folder["trouble"].as_str()?.to_owned();
        let is_told = trouble.contains("accepted is a link or a file");
        (is_told && folder["files"][0]["reason"] == trouble).then_some(())
    });
    fs::remove_file(house.path("jobs/accepted")).expect("ours");
    house.until_sql("SELECT count(*) FROM jobs", "2");
}

/// chaos 10: the second daemon, with a state folder of its own, took jobs from the folder as well.
#[test]
fn a_jobs_folder_made_again_still_has_one_daemon() {
    let house = House::started("");
    fs::write(house.path("other.toml"), "engine = 'fake'\n[folders]\nstate = 'other'\n")
        .expect("a writable folder");
    // A folder that goes while the daemon starts ends the start.
    fs::write(house.path("jobs/fox.toml"), JOB).expect("a writable folder");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    // The daemon may put its lock into it meanwhile.
    house.until("no folder", || fs::remove_dir_all(house.path("jobs")).ok());
    // It writes its process id when it has the lock.
    let id = || fs::read_to_string(house.path("jobs/.zimaged.lock")).ok();
    house.until("the folder again", || id().filter(|id| !id.trim().is_empty()));
    let mut second = Command::new(env!("CARGO_BIN_EXE_zimaged"));
    second.arg("--config").arg(house.path("other.toml")).arg("run");
    let second = second.output().expect("the binary starts");
    assert_eq!(second.status.code(), Some(75), "{}", said(&second));
    assert!(said(&second).contains("in use by another zimaged"), "{}", said(&second));
}

#[test]
fn the_folder_is_told_under_the_name_that_it_has() {
    let mut house = House::new("[folders]\njobs = \"in box\"\n");
    fs::create_dir(house.path("in box")).expect("a writable folder");
    fs::write(house.path("in box/fox.toml"), JOB).expect("a writable folder");
    fs::write(house.path("in box/notes.md"), "").expect("a writable folder");
    let status = said(&house.zimaged(&["status"]));
    for told in
        ["1 file waits in in box/:\n  fox.toml: no daemon", "1 other left alone in in box/:"]
    {
        assert!(status.contains(told), "{told}: {status}");
    }
    let path = folder(&house)["path"].as_str().map(std::path::PathBuf::from);
    assert_eq!(path, Some(house.path("in box")));
    house.start();
    let told = format!("{} is left alone", house.path("in box/notes.md").display());
    house.until_logged(&told);
    assert!(!house.log().contains("jobs/"), "{}", house.log());
}
