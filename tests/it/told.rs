//! What users are told where something is not as they thought: each answer says what would be
//! right.

use std::fs;

use crate::support::{House, said};

fn write(house: &House, name: &str, text: &str) {
    let path = house.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

/// The exit code and all that is said.
fn told(house: &House, arguments: &[&str]) -> (Option<i32>, String) {
    let output = house.zimaged(arguments);
    (output.status.code(), said(&output))
}

#[test]
fn all_bad_lines_of_a_list_are_told_at_once_and_what_leaves_them_out() {
    let house = House::started("");
    let lines = |wrong: &str| -> String {
        (1..=500)
            .map(|n| if n % 8 == 0 { format!("{wrong}\n") } else { format!("fox {n}\n") })
            .collect()
    };
    write(&house, "zoo.txt", &lines("an \u{7} owl"));
    let (code, refused) = told(&house, &["submit", "--prompts", "zoo.txt"]);
    assert_eq!(code, Some(3), "{refused}");
    for part in ["zoo.txt:8: ", "zoo.txt:400: ", "and 12 more mistakes", "or begin them with #"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    write(&house, "zoo.txt", &lines("an {owl"));
    let (_, refused) = told(&house, &["check", "--prompts", "zoo.txt", "--wildcards"]);
    for part in ["zoo.txt:320: ", "the prompts after this one are not looked at yet"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    write(&house, "zoo.txt", &lines("# an \u{7} owl"));
    assert_eq!(house.json(&["submit", "--prompts", "zoo.txt"])["pictures"], 438);
}

#[test]
fn a_list_with_its_template_and_options_can_be_checked_like_a_file() {
    let house = House::new("");
    write(&house, "zoo.txt", "a fox\nan owl\n");
    write(&house, "base.toml", "width = 64\nheight = 64\n");
    let options = ["--prompts", "zoo.txt", "--template", "base.toml", "--steps", "7", "-n", "2"];
    let checked = house.json(&[&["check"], &options[..]].concat());
    let renders = checked["renders"].as_array().unwrap_or_else(|| panic!("{checked}"));
    assert_eq!((renders.len(), &renders[3]["prompt"]), (4, &"an owl".into()));
    assert_eq!((&renders[3]["width"], &renders[3]["steps"]), (&64.into(), &7.into()));
    write(&house, "base.toml", "width = 'wide'\n");
    let (code, wrong) = told(&house, &[&["check"], &options[..]].concat());
    assert!(code == Some(3) && wrong.contains("base.toml:1:9: width: "), "{wrong}");
    let (code, alone) = told(&house, &["check", "--template", "base.toml"]);
    assert!(code == Some(3) && alone.contains("base.toml:1:9: width: "), "{alone}");
    assert_eq!(told(&house, &["check"]).0, Some(2));
    assert_eq!(told(&house, &["check", "base.toml", "--steps", "7"]).0, Some(2));
}

#[test]
fn a_picture_that_is_being_cancelled_is_not_called_running() {
    let mut house = House::with_config(
        "engine = 'fake'\n[model]\npath = 'model'\n[worker]\nstep_timeout = '1h'\n",
    );
    house.start();
    house.drop_job("fox.toml", "prompt = 'hang at step 1'\nnum_images = 2\n");
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome = 'running'", "1");
    let shown = told(&house, &["show", "1"]).1;
    assert!(shown.contains("1 running") && !shown.contains("stopping"), "{shown}");
    house.json(&["cancel", "1.1"]);
    assert!(told(&house, &["list"]).1.contains("running"), "the other picture waits");
    house.json(&["cancel", "1"]);
    for command in [&["list"][..], &["status"], &["show", "1"], &["show", "1.1"]] {
        let told = told(&house, command).1;
        assert!(told.contains("stopping"), "{command:?}: {told}");
    }
    let page = house.get("/picture?job=1&n=1").ok();
    assert!(page.text().contains("stopping"), "{}", page.text());
    assert_eq!(house.json(&["list"])[0]["stopping"], 1);
    assert_eq!(house.json(&["show", "1"])["pictures"][0]["stopping"], true);
    house.stop("KILL");
    for command in [&["list"][..], &["show", "1"], &["show", "1.1"]] {
        let told = told(&house, command).1;
        let is_true = told.contains("to be cancelled") && !told.contains("stopping");
        assert!(is_true && !told.contains("goes on"), "{command:?}: {told}");
    }
}

#[test]
fn a_mistake_in_the_configuration_says_what_becomes_of_a_daemon_that_runs() {
    let house = House::started("");
    let whole = fs::read_to_string(house.path("daemon.toml")).expect("its configuration");
    write(&house, "daemon.toml", &format!("engin = 'fake'\n{whole}"));
    for command in [&["status"][..], &["cancel", "1"], &["run"]] {
        let (code, told) = told(&house, command);
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("did you mean `engine`?"), "{told}");
        assert!(told.contains("a daemon that runs goes on with what it has read"), "{told}");
    }
}

#[test]
fn a_wait_has_its_time_in_words_and_a_picture_is_told_its_job() {
    let house = House::started("");
    house.zimaged(&["pause"]);
    house.json(&["submit", "--prompt", "a fox"]);
    for time in ["10ms", "0", "0s", "1ms 1us"] {
        let (code, told) = told(&house, &["wait", "1", "--timeout", time]);
        assert!(code == Some(75) && told.contains("job 1 has not ended"), "{time}: {told}");
    }
    house.json(&["submit", "--prompt", "an owl", "-n", "2"]);
    let (_, both) = told(&house, &["wait", "1", "2", "--timeout", "0"]);
    for job in ["job 1 has not ended: 0 of 1", "job 2 has not ended: 0 of 2"] {
        assert!(both.contains(job), "{both}");
    }
    house.json(&["cancel", "2"]);
    for time in ["soon", "1.5", "1 fortnight"] {
        let (code, told) = told(&house, &["wait", "1", "--timeout", time]);
        assert!(code == Some(2) && told.contains("is no time like 90s, 30m or 1h"), "{told}");
    }
    house.zimaged(&["resume"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    for time in ["1h 30m", "18446744073709551615"] {
        assert_eq!(told(&house, &["wait", "1", "--timeout", time]).0, Some(0), "{time}");
    }
    for command in ["wait", "sheet"] {
        let (code, told) = told(&house, &[command, "1.1"]);
        assert!(code == Some(2) && told.contains("name the whole job: 1"), "{told}");
    }
}

#[test]
fn a_model_or_a_lora_that_is_not_there_is_told_with_what_brings_it() {
    let house = House::with_config("[models.mini]\npath = 'nowhere'\n");
    write(&house, "loras/ink.safetensors", "ink");
    for (arguments, code, hint) in [
        (&["--model", "base", "submit", "--prompt", "a"][..], 78, "zimaged model fetch base"),
        (&["--model", "minni", "run"], 78, "did you mean `mini`?"),
        (&["model", "inspect", "turbo"], 78, "zimaged model fetch turbo"),
        (&["check", "--prompt", "a", "--lora", "inc:1"], 3, "did you mean `ink`?"),
        (&["check", "--prompt", "a <lora:oil>"], 3, "known LoRAs: ink"),
        (&["fit", "--turbo", "--vram", "8000"], 2, "use 8000MiB"),
    ] {
        let (found, told) = told(&house, arguments);
        assert!(found == Some(code) && told.contains(hint), "{arguments:?}: {found:?} {told}");
    }
    fs::remove_file(house.path("loras/ink.safetensors")).expect("ours");
    let absent = told(&house, &["check", "--prompt", "a <lora:oil>"]).1;
    let folder = house.path("loras");
    assert!(absent.contains(&format!("put the file into {}", folder.display())), "{absent}");
}

/// The newest pictures say how fast it goes; those of the same size, how long they take.
#[test]
fn a_size_that_was_made_takes_what_it_took_however_many_smaller_ones_came_since() {
    let house = House::started("");
    write(&house, "large.toml", "prompt = 'a'\nwidth = 768\nheight = 768\n");
    house.json(&["submit", "large.toml"]);
    house.json(&["submit", "--prompt", "a", "--size", "64x64", "-n", "30"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "31");
    house.falsify("UPDATE attempts SET denoise_ms = 900, total_ms = 1000 WHERE width = 64");
    house.falsify("UPDATE attempts SET denoise_ms = 8000, total_ms = 9000 WHERE width = 768");
    let work_ms = |file: &str| house.json(&["check", file])["expected"]["work_ms"].clone();
    assert_eq!(work_ms("large.toml"), 9000);
    write(&house, "small.toml", "prompt = 'a'\nwidth = 64\nheight = 64\n");
    assert_eq!(work_ms("small.toml"), 1000);
}
