//! What a new user met in an evening with the program: `evening F1` and so on are its points.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::places::miniature;
use crate::support::{House, said};

/// With the miniature on the processor, which a build without CUDA takes by itself.
fn house(more: &str) -> House {
    let model = miniature();
    let kind = if cfg!(feature = "cuda") { "cpu" } else { "auto" };
    House::with_config(&format!("[model]\npath = {model:?}\n[device]\nkind = '{kind}'\n{more}"))
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
    let before = house.json(&["check", "big.toml"]);
    let warning = before["warnings"][0]["message"].as_str().unwrap_or_else(|| panic!("{before}"));
    let (_, made) = warning.split_once("1 picture would be made as ").expect(warning);
    let made = made.split(';').next().expect(made).to_owned();
    let short = "1024x1024 does not fit into the 50 MiB that may be used and would need ";
    assert!(warning.starts_with(short), "{warning}");
    house.start();
    house.until_sql("SELECT count(*) FROM workers", "1");
    for command in ["check", "submit"] {
        let told = said(&house.zimaged(&[command, "big.toml"]));
        assert!(told.contains(&format!("1 picture would be made as {made}")), "{told}");
    }
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let size = house.value("SELECT width || 'x' || height FROM attempts WHERE outcome = 'done'");
    assert_eq!(size, made);
    house.until_logged(&format!(" s, {made} in place of 1024x1024"));
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
    let fit = house.json(&["fit", "256x256"]);
    assert!(fit["estimate"]["total_ms"].as_i64() > Some(0), "{fit}");
    let submit = said(&house.zimaged(&["submit", "one.toml"]));
    assert!(submit.contains("(estimated, before any was rendered)"), "{submit}");
    let scripted = House::started("");
    let check = said(&scripted.zimaged(&["submit", "--prompt", "a fox"]));
    assert!(
        check.contains("how long it takes is known once the daemon has loaded the model"),
        "{check}"
    );
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

// evening F9
#[test]
fn a_lost_database_is_told_by_every_command_and_no_job_is_taken_for_nobody() {
    let mut house = House::started("");
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.stop("TERM");
    fs::remove_file(house.path("state/zimaged.sqlite")).expect("there");
    write(&house, "b.toml", "prompt = 'an owl'\n");
    for command in [&["submit", "b.toml"][..], &["submit", "--prompt", "b"], &["list"]] {
        let output = house.zimaged(command);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {}", said(&output));
        assert!(said(&output).contains("is missing or empty, but there was one"), "{command:?}");
    }
    let status = said(&house.zimaged(&["status"]));
    assert!(status.contains("zimaged history begin"), "{status}");
    assert!(!status.contains("there is no database yet"), "{status}");
    assert!(!house.path("jobs/b.toml").exists(), "nothing was handed over");
}

// evening F10
#[test]
fn what_is_no_database_is_not_put_back_and_nobody_is_told_to_try_again() {
    let mut house = House::started("");
    house.stop("TERM");
    write(&house, "junk.db", &"junk".repeat(2000));
    let output = house.zimaged(&["restore", "junk.db"]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("it is no database, or a damaged one"), "{told}");
    assert!(!told.contains("try again"), "{told}");
}

// evening F15
#[test]
fn what_a_crash_left_is_told_by_job_and_picture() {
    let mut house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 1000 ms'\nsteps = 50\n");
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome = 'running'", "1");
    house.stop("KILL");
    house.start();
    house.until_logged("found running: queued again job=1 index=1");
}

// evening F14, newcomer 35's brother
#[test]
fn forms_of_other_programs_get_a_hint_of_the_right_one() {
    let house = House::new("");
    for (arguments, hint) in [
        (&["--not-before", "10pm"][..], "use 22:00 for 10pm"),
        (&["--not-before", "12:30 AM"], "use 00:30 for 12:30 AM"),
        (&["--not-before", "+2h"], "a time is said as such"),
        (&["--size", "1024X768"], "use 1024x768"),
        (&["--cfg", "3"], "--cfg: here it is called --guidance"),
        (&["--num-inference-steps", "8"], "here it is called --steps"),
    ] {
        let output = house.zimaged(&[&["submit", "--prompt", "a"], arguments].concat());
        assert!(said(&output).contains(hint), "{arguments:?}: {}", said(&output));
        assert!(matches!(output.status.code(), Some(2 | 3)), "{arguments:?}");
    }
}

// evening F4
#[test]
fn a_start_logs_lines_that_a_terminal_shows_whole() {
    let mut house = house("");
    house.start();
    house.until_logged("model loaded");
    // Without the time and the name of the place.
    let long = |line: &str| line.split_once(": ").is_some_and(|(_, said)| said.len() >= 100);
    let log = house.log();
    assert!(!log.lines().any(long), "{log}");
}

// newcomer 16's brothers: `oom` and `memory` had some three hundred columns of text.
#[test]
fn the_queries_of_the_documents_work_and_name_their_columns() {
    let mut house = House::started("");
    house.stop("TERM");
    let guides = [include_str!("../../README.md"), include_str!("../../docs/history.md")].concat();
    // In whichever quotes the shell is to take away.
    let quoted = |line: &str| -> Option<String> {
        let start = line.starts_with("sqlite3").then(|| line.find(['\'', '"']))??;
        line[start + 1..].split(line.chars().nth(start)?).next().map(str::to_owned)
    };
    let queries: Vec<String> = guides.lines().filter_map(quoted).collect();
    assert!(queries.len() >= 6, "{queries:?}");
    for query in queries {
        house.rows(&query);
        let is_wide = query.contains("* FROM oom") || query.contains("* FROM memory");
        assert!(!is_wide, "{query}");
        // Three rows for each picture that was ever made.
        assert!(!query.ends_with("FROM weights"), "{query}");
    }
}

// evening F6
#[test]
fn what_is_held_has_no_end_that_anybody_knows() {
    let house = House::started("");
    house.drop_job("first.toml", "prompt = 'steps of 20 ms'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    write(&house, "next.toml", "prompt = 'an owl'\n");
    let end = |house: &House| house.json(&["check", "next.toml"])["expected"]["done_at_ms"].clone();
    assert!(end(&house).is_number());
    house.make_unusable("outputs");
    house.drop_job("held.toml", "prompt = 'an owl'\n");
    let hold = |house: &House| house.json(&["status"])["daemon"]["hold"].as_str().map(drop);
    house.until("the hold is told", || hold(&house));
    let outlook = house.json(&["status"])["outlook"].clone();
    assert!(outlook["done_at_ms"].is_null() && outlook["work_ms"].is_number(), "{outlook}");
    assert!(!said(&house.zimaged(&["status"])).contains("done at"));
    assert!(end(&house).is_null());
    let check = said(&house.zimaged(&["check", "next.toml"]));
    assert!(
        check.contains("nothing is started for a while: no pictures can be written"),
        "{check}"
    );
}

// the rest of an evening
#[test]
fn what_a_user_cancels_says_so_in_its_row_whenever_that_was() {
    let house = House::started("");
    house.drop_job("a.toml", "prompt = 'steps of 300 ms'\nsteps = 100\nnum_images = 2\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    assert!(house.zimaged(&["cancel", "1"]).status.success());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'cancelled'", "2");
    let reasons = "SELECT group_concat(cancel_reason, '; ') FROM \
                   (SELECT cancel_reason FROM renders ORDER BY id)";
    let expected = "by the user, while it was rendered; by the user, before it was begun";
    assert_eq!(house.value(reasons), expected);
    let waited = said(&house.zimaged(&["wait", "1"]));
    assert!(waited.contains("cancelled: by the user, before it was begun"), "{waited}");
}

#[test]
fn without_a_daemon_nothing_is_called_running() {
    let mut house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 1000 ms'\nsteps = 50\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    let list = said(&house.zimaged(&["list"]));
    assert!(list.contains("running") && !list.contains("interrupted"), "{list}");
    assert_eq!(house.json(&["show", "1"])["has_daemon"], true);
    house.stop("KILL");
    for command in [&["list"][..], &["show", "1"], &["show", "1.1"]] {
        let told = said(&house.zimaged(command));
        assert!(told.contains("interrupted"), "{told}");
        assert!(!told.replace("no daemon is running", "").contains("running"), "{told}");
    }
    assert!(said(&house.zimaged(&["list"])).contains("goes on with: zimaged run"));
    assert_eq!(house.json(&["show", "1"])["has_daemon"], false);
}

#[test]
fn what_a_killed_daemon_left_can_be_changed_and_is_not_said_to_run() {
    let mut house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 1000 ms'\nsteps = 50\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    house.stop("KILL");
    let edited = said(&house.zimaged(&["edit", "1", "--priority", "5"]));
    assert_eq!(edited.trim(), "1 changed: 1 render queued");
    let edited = house.json(&["edit", "1", "--add-tag", "night"]);
    assert_eq!([&edited["queued"], &edited["running"]], [1, 0], "{edited}");
    let cancelled = said(&house.zimaged(&["cancel", "1"]));
    assert!(
        cancelled.contains("1 interrupted and cancelled when the daemon starts"),
        "{cancelled}"
    );
    house.start();
    let ended = "SELECT state || ' ' || j.priority || ' ' || tags FROM renders JOIN jobs j ON j.id = job_id";
    house.until_sql(ended, "cancelled 5 [\"night\"]");
}

#[test]
fn a_start_waits_for_the_lock_of_a_daemon_that_is_ending_and_then_says_who_has_it() {
    let house = House::new("");
    fs::create_dir(house.path("state")).expect("a writable folder");
    let lock = fs::File::create(house.path("state/.zimaged.lock")).expect("a writable folder");
    lock.lock().expect("nobody has it");
    let log = fs::File::create(house.path("log")).expect("a writable folder");
    let mut run = house.command(&["run", "--until-idle"]);
    let mut run = run.stderr(log).spawn().expect("the binary starts");
    house.until_logged("waiting some seconds for its end");
    drop(lock);
    assert_eq!(run.wait().expect("our own child").code(), Some(0), "{}", house.log());
    let lock = fs::File::open(house.path("state/.zimaged.lock")).expect("the lock's file");
    lock.lock().expect("nobody has it");
    let refused = house.zimaged(&["run", "--until-idle"]);
    assert_eq!(refused.status.code(), Some(75), "{}", said(&refused));
    assert!(said(&refused).contains("is in use by another zimaged (process "));
}

#[test]
fn before_the_first_start_a_queue_is_empty_and_nothing_is_made_of_it() {
    let house = House::new("");
    let answer = |arguments: &[&str]| {
        let output = house.zimaged(arguments);
        (output.status.code(), said(&output).trim().to_owned())
    };
    assert_eq!(answer(&["list"]), (Some(0), "nothing is in the queue yet".to_owned()));
    assert_eq!(answer(&["list", "--tag", "a"]), (Some(0), "no job is like that".to_owned()));
    assert_eq!(answer(&["list", "--rejected"]), (Some(0), "nothing was set aside".to_owned()));
    for list in [&["list"][..], &["list", "--rejected"]] {
        assert_eq!(house.json(list), Value::Array(Vec::new()));
    }
    for named in [&["show", "1"][..], &["wait", "1"], &["sheet", "1"], &["cancel", "1"]] {
        assert_eq!(answer(named), (Some(1), "zimaged: there is no job 1".to_owned()), "{named:?}");
    }
    for all in
        [&["cancel", "--all"][..], &["retry", "--all"], &["edit", "--all", "--priority", "1"]]
    {
        let (code, told) = answer(all);
        assert!(code == Some(3) && told.contains("nothing was "), "{all:?}: {told}");
    }
    assert_eq!(house.json(&["history", "prune", "--older-than", "1d"])["jobs"], 0);
    assert!(!house.path("state").exists(), "a question makes nothing");
    let elsewhere = house.command(&["list"]);
    let mut elsewhere = std::process::Command::new(elsewhere.get_program());
    let outside = house.path("outside");
    fs::create_dir(&outside).expect("a writable folder");
    let none = [("HOME", &outside), ("XDG_CONFIG_HOME", &outside)];
    let told = elsewhere.arg("list").current_dir(&outside).envs(none).output().expect("it starts");
    assert_eq!(told.status.code(), Some(78), "{}", said(&told));
}

#[test]
fn a_job_of_options_is_called_as_its_prompt_begins() {
    let house = House::started("");
    house.zimaged(&["pause"]);
    let named = |arguments: &[&str]| {
        house.zimaged(&[&["submit"], arguments].concat());
        house.value("SELECT file_name FROM jobs ORDER BY id DESC LIMIT 1")
    };
    assert_eq!(named(&["--prompt", "A red fox, in snow"]), "a-red-fox-in-snow.toml");
    assert_eq!(named(&["--prompt", "一只可爱的猫", "--prompt", "b"]), "一只可爱的猫.toml");
    assert_eq!(named(&["--prompt", "?!"]), "request.toml");
}

#[test]
fn a_job_says_what_varies_among_its_pictures() {
    let house = House::started("");
    let job = "prompt = 'a fox'\nseed = 7\nnum_images = 2\n[matrix]\nguidance = [0.0, 3.5]\n";
    house.drop_job("grid.toml", job);
    house.drop_job("one.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "5");
    let told = said(&house.zimaged(&["show", "1"]));
    for part in ["varies: guidance (0, 3.5), seed (7, 8)\n", "guidance 3.5, seed 8"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let shown = house.json(&["show", "1", "--limit", "3"]);
    assert_eq!(shown["varies"][1]["values"], serde_json::json!(["seed 7", "seed 8"]), "{shown}");
    assert_eq!(shown["apart"][2], "guidance 3.5, seed 7", "{shown}");
    let one = said(&house.zimaged(&["show", "2"]));
    assert!(!one.contains("varies"), "{one}");
}

#[test]
fn a_mistake_in_a_lora_names_the_lora_before_the_first_start_as_well() {
    let house = House::with_config("");
    fs::create_dir(house.path("loras")).expect("a writable folder");
    write(&house, "loras/torn.safetensors", "no weights");
    for (name, told) in [("none", "loras/none.safetensors"), ("torn", "loras/torn.safetensors")] {
        write(&house, "a.toml", &format!("prompt = 'a'\n[[lora]]\npath = '{name}'\n"));
        let output = said(&house.zimaged(&["check", "a.toml"]));
        assert!(output.contains(told) && !output.contains("zimaged-mini"), "{name}: {output}");
    }
}

#[test]
fn what_little_was_freed_is_not_called_nothing() {
    let house = House::started("");
    house.drop_job("a.toml", "prompt = 'a'\nwidth = 64\nheight = 64\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let pruned = said(&house.zimaged(&["history", "prune", "--older-than", "0h"]));
    let (_, room) = pruned.split_once("1 picture of ").expect(&pruned);
    assert!(room.contains(" KiB removed") && !room.starts_with('0'), "{pruned}");
    let nothing = said(&house.zimaged(&["history", "prune", "--older-than", "0h"]));
    assert_eq!(nothing.trim(), "0 jobs with 0 renders forgotten, 0 pictures removed");
}

#[test]
fn what_is_forgotten_of_files_that_were_set_aside_is_told() {
    let mut house = House::started("");
    for name in ["a.toml", "b.toml", "c.toml"] {
        house.drop_job(name, "promt = 'a'\n");
        house.until_refused(name);
    }
    house.stop("TERM");
    let prune = |more: &[&str]| {
        said(&house.zimaged(&[&["history", "prune", "--older-than", "0h"], more].concat()))
    };
    let told = "2 notes of files that were set aside";
    assert!(prune(&["--dry-run"]).contains(&format!("{told} would be forgotten")), "{told}");
    assert_eq!(house.value("SELECT count(*) FROM rejections"), "3");
    let pruned = prune(&[]);
    assert!(pruned.contains(&format!("{told} forgotten, the files stay")), "{pruned}");
    assert_eq!(house.value("SELECT count(*) FROM rejections"), "1");
    assert!(house.path("jobs/rejected/a.toml").exists());
}

#[test]
fn the_miniature_in_the_program_is_among_the_models() {
    let house = House::with_config("[models.other]\npath = \"nowhere\"\n");
    let list = house.zimaged(&["model", "list"]);
    assert!(said(&list).contains("in the program (the miniature)"), "{}", said(&list));
    let models = house.json(&["model", "list"]);
    assert_eq!((&models[0]["name"], &models[0]["built_in"]), (&"".into(), &true.into()));
    assert!(models[0]["bytes"].as_u64() > Some(1 << 20), "{models}");
    assert_eq!(models[1]["built_in"], false, "{models}");
    assert!(!house.path("state").exists(), "a question makes nothing");
}

#[test]
fn a_wrong_argument_is_told_in_words_that_say_what_would_be_right() {
    let house = House::started("");
    let both = ["submit", "--prompt", "a", "--size", "1000x1000"];
    assert_eq!(said(&house.zimaged(&both)).matches("not a multiple").count(), 1);
    for (arguments, told) in [
        (&["edit", "1", "--priority", "high"][..], "'high' is no whole number"),
        (&["wait", "x"], "'x' is no job's number, which stands in: zimaged list"),
        (&["list", "--limit", "x"], "use a number from 1 to 10000"),
        (&["cancel"], "name jobs (12) or renders (12.3), or say --tag, --state or --all"),
        (&["retry"], "--tag, --state or --all"),
        (&["show"], "zimaged list"),
        (&["submit", "--prompt", "a", "--mask", "m.png"], "--mask: counts only with --init-image"),
        (&["submit", "--prompt", "a", "--mask", "m.png"], "begin with: --init-image \"fox.png\""),
        // What the user has written is not said in other words.
        (&["submit", "--prompt", "a", "--init-image", "init_image.png"], "/init_image.png\""),
    ] {
        let output = house.zimaged(arguments);
        assert!(matches!(output.status.code(), Some(2 | 3)), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(told), "{told}: {}", said(&output));
    }
    let options =
        [&["--wildcards"][..], &["--wildcards", "true"], &["--wildcards", "--steps", "1"]];
    for wildcards in options {
        let submit = [&["submit", "--prompt", "a {red|red} fox"], wildcards].concat();
        assert!(house.zimaged(&submit).status.success(), "{wildcards:?}");
    }
    let chosen = "SELECT count(*) FROM renders WHERE prompt = 'a red fox'";
    assert_eq!(house.value(chosen), "3");
}

#[test]
fn the_log_says_why_the_next_picture_is_begun_before_the_one_before_it_is_done() {
    let mut house = House::new("");
    house.start_with(&[("ZIMAGED_LOG", "debug")]);
    house.drop_job("two.toml", "prompt = 'a fox'\nnum_images = 2\n");
    house.until_logged("rendering while 1.1 is written job=1 index=2");
}

#[test]
fn a_rung_is_explained_in_words() {
    let house = House::with_config("");
    let fit = said(&house.zimaged(&["fit", "1024x1024", "--vram", "6GiB", "--turbo"]));
    let told = "6 of the transformer's blocks stay on the device, the others come from the host in \
                each step; nothing is rounded; decoded in bands of 256 rows, to the same picture";
    assert!(fit.contains(told), "{fit}");
}

#[test]
fn what_depends_on_the_rest_of_a_job_has_no_default_of_its_own() {
    let house = House::started("");
    let defaults = house.get("/api/v1/capabilities").ok().json()["defaults"].clone();
    assert!(defaults["seed"].is_null() && defaults["strength"].is_null(), "{defaults}");
    assert_eq!(defaults["guidance"], 0.0, "{defaults}");
}

// Who puts a backup back is told to cancel all that was rendered since.
#[test]
fn who_cancels_everything_is_told_of_job_files_that_are_not_taken_in_yet() {
    let mut house = House::new("");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    let told = "1 job file in ";
    let nothing = house.zimaged(&["cancel", "--all"]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(said(&nothing).contains(told), "{}", said(&nothing));
    house.start();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.zimaged(&["pause"]);
    house.json(&["submit", "--prompt", "an ox"]);
    house.stop("TERM");
    house.drop_job("owl.toml", "prompt = 'an owl'\n");
    let cancelled = said(&house.zimaged(&["cancel", "--all"]));
    assert!(cancelled.contains("1 render cancelled\n") && cancelled.contains(told), "{cancelled}");
    // By a name nothing else is meant.
    house.zimaged(&["resume"]);
    let named = said(&house.zimaged(&["cancel", "1"]));
    assert!(!named.contains(told), "{named}");
}

#[test]
fn pictures_that_are_not_made_yet_are_not_called_missing() {
    let mut house = House::started("");
    house.zimaged(&["pause"]);
    house.json(&["submit", "--prompt", "a fox", "-n", "3"]);
    let sheet = house.zimaged(&["sheet", "1"]);
    assert_eq!(sheet.status.code(), Some(3), "{}", said(&sheet));
    assert!(said(&sheet).contains("no picture of job 1 is made, of 3"), "{}", said(&sheet));
    assert!(!house.path("job-1.png").exists());
    let failed = said(&house.zimaged(&["show", "1", "--state", "failed"]));
    assert!(failed.contains("no picture of it is failed"), "{failed}");
    house.stop("TERM");
}

#[test]
fn what_ended_keeps_its_priority_and_that_is_no_wish_of_its_own() {
    let house = House::started("");
    house.json(&["submit", "--prompt", "a fox", "--priority", "1"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    house.zimaged(&["pause"]);
    house.json(&["submit", "--prompt", "steps of 50 ms", "-n", "2", "--priority", "1"]);
    house.json(&["cancel", "2.1"]);
    house.json(&["edit", "2", "--priority", "4"]);
    let shown = |id: &str| said(&house.zimaged(&["show", id]));
    assert!(!shown("2.1").contains("of its own"), "{}", shown("2.1"));
    house.json(&["edit", "2.2", "--priority", "6"]);
    assert!(shown("2.2").contains("6, of its own"), "{}", shown("2.2"));
}

#[test]
fn a_folder_in_place_of_its_configuration_and_a_home_in_a_path_are_understood() {
    let house = House::started("");
    fs::create_dir(house.path("below")).expect("a writable folder");
    let status = Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .args(["--config", "..", "status"])
        .current_dir(house.path("below"))
        .output()
        .expect("the program runs");
    assert!(status.status.success(), "{}", said(&status));
    assert!(!said(&status).contains("below/.."), "{}", said(&status));
    let picture = image::RgbImage::new(64, 64);
    picture.save(house.path("begin.png")).expect("a writable folder");
    write(&house, "again.toml", "prompt = 'a fox'\ninit_image = '~/begin.png'\n");
    let check = |home: &Path| {
        let mut command = house.command(&["check", "again.toml"]);
        said(&command.env("HOME", home).output().expect("the program runs"))
    };
    assert!(!check(&house.path("")).contains("init_image"), "{}", check(&house.path("")));
    let elsewhere = check(&house.path("below"));
    assert!(elsewhere.contains("below/begin.png"), "{elsewhere}");
}
