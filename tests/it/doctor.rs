//! `zimaged doctor`: each of its lines, well and made wrong.

use std::fs;
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::support::{House, fault, said};

/// What the doctor says about `about`: the verdicts, and all that is told.
fn about(diagnosis: &Value, about: &str) -> (Vec<String>, String) {
    let findings = diagnosis["findings"].as_array().expect("findings");
    let ours: Vec<&Value> = findings.iter().filter(|finding| finding["about"] == about).collect();
    let text = |field| {
        let texts = ours.iter().map(|finding| finding[field].as_str().expect("a text").to_owned());
        texts.collect::<Vec<String>>()
    };
    (text("verdict"), text("told").join("\n"))
}

fn diagnosis(house: &House) -> Value {
    house.json(&["doctor"])
}

/// Asserts that the doctor has found what is wrong, with words that say what mends it.
fn assert_found(diagnosis: &Value, aspect: &str, verdict: &str, words: &[&str]) {
    let (verdicts, told) = about(diagnosis, aspect);
    assert!(verdicts.iter().any(|found| found == verdict), "{aspect}: {verdicts:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{aspect}, {word:?}: {told}");
    }
    assert_eq!(diagnosis["healthy"], verdict != "wrong", "{diagnosis}");
}

#[test]
fn a_healthy_queue_has_nothing_wrong_before_while_and_after_its_daemon_runs() {
    let mut house = House::new("");
    let aspects = ["configuration", "folders", "watching", "database", "daemon", "port", "model"];
    let assert_well = |house: &House, words: &str| {
        let output = house.zimaged(&["doctor"]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        let diagnosis = diagnosis(house);
        for aspect in aspects {
            assert_eq!(about(&diagnosis, aspect).0, ["ok"], "{aspect}: {diagnosis}");
        }
    };
    assert_well(&house, "there is no database yet");
    assert!(!house.path("state").exists(), "it makes nothing");
    house.start();
    house.drop_job("a.toml", "prompt = 'a'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    assert_well(&house, "our daemon answers at http://127.0.0.1:");
    house.stop("TERM");
    assert_well(&house, "none runs");
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_and_the_machine_is_looked_at_all_the_same() {
    let house = House::with_config("engine = 'fake'\nworker = 3\n");
    let output = house.zimaged(&["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let diagnosis = diagnosis(&house);
    assert_found(&diagnosis, "configuration", "wrong", &["daemon.toml", "worker"]);
    assert_eq!(about(&diagnosis, "clock").0, ["ok"]);
    assert_eq!(about(&diagnosis, "device").0.len(), 1);
}

#[test]
fn folders_and_watches_that_cannot_be_had_are_told() {
    let house = House::new("");
    fs::write(house.path("outputs"), "").expect("a writable folder");
    let told = &["outputs", "is no folder", "[folders]"];
    assert_found(&diagnosis(&house), "folders", "wrong", told);
    fs::remove_file(house.path("outputs")).expect("ours");
    let jobs = house.path("jobs");
    fs::set_permissions(&jobs, fs::Permissions::from_mode(0o777)).expect("ours");
    assert_found(&diagnosis(&house), "folders", "warning", &["everybody", "chmod o-w"]);
    let mut command = house.command(&["doctor", "--json"]);
    fault::inject(&mut command, "inotify", "inotify", libc::EMFILE, 0, 9);
    let output = command.output().expect("the binary starts");
    let diagnosis: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = &["every two seconds", "fs.inotify.max_user_instances"];
    assert_found(&diagnosis, "watching", "warning", told);
}

#[test]
fn a_disk_without_room_is_told() {
    let house = House::new("");
    // In a mount namespace of its own: nobody else sees this disk.
    let script = "mount -t tmpfs -o size=1m none outputs && exec \"$0\" doctor --json";
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]);
    command.arg(env!("CARGO_BIN_EXE_zimaged")).current_dir(house.path(""));
    fs::create_dir(house.path("outputs")).expect("a writable folder");
    let output = command.output().expect("unshare is everywhere");
    if output.stdout.is_empty() {
        // Only root may mount; the judgement itself is a unit test of `doctor/folders`.
        return;
    }
    let diagnosis: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_found(&diagnosis, "disk", "wrong", &["outputs", "full", "make room"]);
}

#[test]
fn a_database_that_is_lost_foreign_damaged_or_newer_is_told_with_what_mends_it() {
    let mut house = House::started("");
    house.drop_job("a.toml", "prompt = 'a'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.stop("TERM");
    let database = house.path("state/zimaged.sqlite");
    let whole = fs::read(&database).expect("a database");
    let assert_wrong = |what: &str, words: &[&str]| {
        let diagnosis = diagnosis(&house);
        assert_found(&diagnosis, "database", "wrong", words);
        let is_changed = fs::read(&database).is_ok_and(|now| now == whole);
        assert!(!is_changed || what == "newer", "{what}");
    };
    fs::remove_file(&database).expect("ours");
    assert_wrong("lost", &["missing", "zimaged restore", "zimaged history begin"]);
    let mut file = fs::File::create(&database).expect("ours");
    file.write_all(&whole).expect("room");
    // The second page and all that follow.
    file.seek(std::io::SeekFrom::Start(4096)).expect("a file");
    file.write_all(&vec![0x5a; whole.len() - 4096]).expect("room");
    assert_wrong("damaged", &["damaged", "zimaged restore"]);
    fs::write(&database, &whole).expect("ours");
    house.falsify("PRAGMA application_id = 7");
    assert_wrong("foreign", &["belongs to another program"]);
    fs::write(&database, &whole).expect("ours");
    house.falsify("INSERT INTO _sqlx_migrations VALUES (9999, '', 0, 1, X'00', 0)");
    assert_wrong("newer", &["a newer zimaged", "9999"]);
}

#[test]
fn rows_that_cannot_be_are_counted_and_told() {
    let mut house = House::started("");
    for name in ["a.toml", "b.toml"] {
        house.drop_job(name, "prompt = 'a'\n");
    }
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.stop("TERM");
    let copy = fs::read(house.path("state/zimaged.sqlite")).expect("a database");
    let off = "PRAGMA foreign_keys = OFF;";
    for (sql, aspect, words) in [
        (
            "UPDATE renders SET job_id = 99 WHERE job_id = 1",
            "database",
            "rows of renders belong to rows that are gone",
        ),
        (
            "UPDATE renders SET state = 'queued', finished_at_ms = NULL",
            "database",
            "2 renders are not done although an attempt is",
        ),
        ("DELETE FROM attempts", "database", "2 renders are done without an attempt that is"),
        (
            "UPDATE attempts SET outcome = 'running', ended_at_ms = NULL, sha256 = NULL",
            "database",
            "2 attempts run whose render does not",
        ),
        (
            "DELETE FROM attempts; DELETE FROM renders; DELETE FROM jobs; \
             UPDATE sqlite_sequence SET seq = 0 WHERE name = 'jobs'",
            "database",
            "2 job files in",
        ),
        ("UPDATE events SET at_ms = 99999999999999", "clock", "newest row is of 5138-"),
    ] {
        house.falsify(&format!("{off} {sql}"));
        assert_found(&diagnosis(&house), aspect, "warning", &[words]);
        fs::write(house.path("state/zimaged.sqlite"), &copy).expect("ours");
    }
    assert_eq!(about(&diagnosis(&house), "database").0, ["ok"], "it was put back");
}

#[test]
fn what_a_running_daemon_is_held_by_is_told() {
    let house = House::started("");
    house.make_unusable("outputs");
    house.drop_job("a.toml", "prompt = 'a'\n");
    let held = || {
        let (verdicts, told) = about(&diagnosis(&house), "daemon");
        (verdicts == ["wrong"] && told.contains("starts no render")).then_some(())
    };
    house.until("the doctor tells of the hold", held);
}

#[test]
fn files_that_become_no_job_and_a_hook_that_is_not_there_are_told() {
    let house =
        House::new("[hooks]\non_done = 'no-such-program'\non_failed = ['sh', '-c', 'true']\n");
    let found = diagnosis(&house);
    assert_found(&found, "hooks", "warning", &["on_done", "no-such-program", "sh"]);
    assert_eq!(about(&found, "hooks").0, ["warning", "ok"]);
    assert!(about(&found, "jobs").0.is_empty(), "{found}");
    let mut house = House::started("");
    house.drop_job("bad.toml", "promt = 'a'\n");
    house.until_refused("bad.toml");
    for number in 1..=4 {
        house.drop_job(&format!("prompts{number}.txt"), "a fox\n");
    }
    house.stop("TERM");
    let words =
        ["bad.toml", "zimaged list --rejected", "prompts1.txt", "--prompts FILE", " and others"];
    assert_found(&diagnosis(&house), "jobs", "warning", &words);
}

#[test]
fn a_port_that_another_program_has_is_told_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket");
    let mut house = House::new(&format!("[http]\nlisten = '{address}'\n"));
    let words = format!("(process {})", std::process::id());
    let words = ["no HTTP", &address.to_string(), &words];
    assert_found(&diagnosis(&house), "port", "warning", &words);
    house.start();
    let told = || about(&diagnosis(&house), "port").1.contains(words[2]).then_some(());
    house.until("the daemon's trouble is told", told);
}

#[test]
fn a_model_that_is_missing_cut_short_or_not_as_fetched_is_told() {
    let house = House::with_config("[model]\npath = 'none'\n[models.mini]\npath = 'mini'\n");
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini");
    let copied = Command::new("cp").arg("-r").arg(mini).arg(house.path("mini")).status();
    assert!(copied.expect("cp is everywhere").success());
    let found = diagnosis(&house);
    assert_found(&found, "model", "wrong", &["[model]", "none", "mini: "]);
    assert_eq!(about(&found, "model").0, ["wrong", "ok"]);

    let weights = house.path("mini/transformer/diffusion_pytorch_model.safetensors");
    let bytes = fs::metadata(&weights).expect("the miniature's weights").len();
    let record = format!(
        r#"{{"hub": "hf", "repo": "a/b", "revision": "main", "files": [{{"path":
        "transformer/diffusion_pytorch_model.safetensors", "bytes": {}, "sha256": ""}}]}}"#,
        bytes + 1
    );
    fs::write(house.path("mini/zimaged-fetched.json"), record).expect("a writable folder");
    let words = ["not as fetched", "diffusion_pytorch_model.safetensors", "zimaged model verify"];
    assert_found(&diagnosis(&house), "model", "wrong", &words);

    let file = fs::File::options().write(true).open(&weights).expect("ours");
    file.set_len(bytes / 2).expect("ours");
    assert_found(&diagnosis(&house), "model", "wrong", &["diffusion_pytorch_model.safetensors"]);
}

#[test]
fn the_model_of_the_command_line_is_looked_at_in_place_of_the_configured_one() {
    let house = House::with_config("[model]\npath = 'none'\n");
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini");
    assert_eq!(about(&diagnosis(&house), "model").0, ["wrong"]);
    assert_eq!(about(&house.json(&["--model", mini, "doctor"]), "model").0, ["ok"]);
}

#[test]
fn a_card_that_this_build_cannot_use_and_a_zone_that_there_is_not_are_told() {
    let house = House::new("[device]\nkind = 'cuda'\n");
    if !cfg!(feature = "cuda") {
        assert_found(&diagnosis(&house), "device", "wrong", &["--features cuda"]);
    }
    let output = House::new("")
        .command(&["doctor", "--json"])
        .env("TZ", "Mars/Olympus")
        .output()
        .expect("the binary starts");
    let diagnosis: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_found(&diagnosis, "clock", "warning", &["Mars/Olympus", "UTC"]);
}

#[test]
fn a_queue_that_starts_nothing_because_that_is_wanted_is_well_and_says_so() {
    let house = House::started("");
    let told = |house: &House| {
        let diagnosis = diagnosis(house);
        assert_eq!(diagnosis["healthy"], true, "{diagnosis}");
        about(&diagnosis, "daemon")
    };
    house.json(&["submit", "--prompt", "a", "--not-before", "2099-01-01T10:00:00Z"]);
    let (verdicts, text) = told(&house);
    assert_eq!(verdicts, ["ok", "ok"]);
    assert!(text.contains("nothing is started before 2099-01-01"), "{text}");
    house.json(&["pause", "my game"]);
    let (verdicts, text) = told(&house);
    assert_eq!(verdicts, ["ok", "ok"]);
    assert!(text.contains("nothing is started: paused (my game); go on with: zimaged resume"));
}

/// Two small pictures, which are done.
fn with_pictures() -> House {
    let house = House::started("");
    house.drop_job("a.toml", "prompt = 'a'\nwidth = 64\nheight = 64\nnum_images = 2\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house
}

#[test]
fn pictures_of_the_history_that_are_gone_are_counted() {
    let mut house = with_pictures();
    let (verdicts, told) = about(&diagnosis(&house), "pictures");
    assert_eq!(
        (verdicts, told.contains("the newest 2 pictures are in")),
        (vec!["ok".into()], true)
    );
    house.json(&["backup", "kept.sqlite"]);
    house.json(&["history", "prune", "--older-than", "0h"]);
    assert_eq!(about(&diagnosis(&house), "pictures").0, Vec::<String>::new(), "none is known");
    house.stop("TERM");
    house.json(&["restore", "kept.sqlite"]);
    let lost = ["newest 2 pictures", "2 are gone", "zimaged verify", "retry --missing --all"];
    assert_found(&diagnosis(&house), "pictures", "warning", &lost);
    house.start();
    house.json(&["retry", "--missing", "--all"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "4");
    assert_eq!(about(&diagnosis(&house), "pictures").0, ["ok"], "they were made again");
}

#[test]
fn a_folder_of_pictures_that_is_not_there_is_told_and_no_picture_is_called_gone() {
    let mut house = with_pictures();
    house.stop("TERM");
    fs::rename(house.path("outputs"), house.path("elsewhere")).expect("a writable folder");
    let diagnosis = diagnosis(&house);
    assert_found(&diagnosis, "pictures", "warning", &["cannot be looked for", "outputs"]);
    assert!(!about(&diagnosis, "pictures").1.contains("gone"), "{diagnosis}");
}
