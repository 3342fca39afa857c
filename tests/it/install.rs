//! The program alone, as `cargo install` leaves it: no configuration, no model, an empty folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{House, fault, said};

const JOB: &str = "prompt = 'a red circle on a white background'\nsteps = 1\nwidth = 128\nheight = 128\nseed = 1\n";

/// The program in `folder`, with no configuration of the user's in sight.
fn zimaged(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_zimaged"))
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CONFIG_HOME", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A folder with nothing but a job file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("circle.toml"), JOB).unwrap();
    folder
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[track_caller]
fn ends_with(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = zimaged(folder, arguments).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    said(&output)
}

// newcomer 4
#[test]
fn the_program_alone_makes_a_folder_for_itself_and_a_picture_in_it() {
    let folder = folder();
    let told = ends_with(folder.path(), &["init", "house"], 0);
    // Also for a terminal that stands elsewhere.
    assert!(told.contains("cd /") && told.contains("/house && zimaged run"), "{told}");
    let house = folder.path().join("house");
    ends_with(&house, &["run", "--until-idle", "../circle.toml"], 0);
    let picture = entries(&house.join("outputs")).pop().expect("a picture");
    let picture = image::open(picture).unwrap();
    assert_eq!((picture.width(), picture.height()), (128, 128));
    let models = entries(&house.join("state/models"));
    assert!(models.len() == 1 && models[0].display().to_string().contains("/mini-"), "{models:?}");
}

// newcomer 4
#[test]
fn an_init_changes_no_configuration_that_is_there_and_makes_what_is_missing() {
    let folder = folder();
    let text = "[folders]\njobs = 'inbox'\n";
    fs::write(folder.path().join("daemon.toml"), text).unwrap();
    let told = ends_with(folder.path(), &["init"], 0);
    assert!(told.contains("stays as it is"), "{told}");
    assert_eq!(fs::read_to_string(folder.path().join("daemon.toml")).unwrap(), text);
    assert!(folder.path().join("inbox").is_dir() && folder.path().join("state").is_dir());
}

// newcomer 4
#[test]
fn a_command_where_there_is_no_queue_says_so_and_makes_nothing() {
    let folder = folder();
    for command in [
        &["run"][..],
        &["run", "--until-idle", "circle.toml"],
        &["submit", "circle.toml"],
        &["list"],
        &["show", "1"],
        &["status"],
        &["wait", "1"],
        &["cancel", "1"],
        &["retry", "1"],
        &["pause"],
        &["resume"],
        &["model", "quantize"],
    ] {
        let told = ends_with(folder.path(), command, 78);
        assert!(
            told.contains("there is no queue in ") && told.contains("`zimaged init`"),
            "{told}"
        );
    }
    assert_eq!(entries(folder.path()).len(), 1, "{:?}", entries(folder.path()));
}

// newcomer 4
#[test]
fn folders_of_a_queue_are_one_without_a_configuration() {
    let folder = folder();
    for name in ["jobs", "state"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    ends_with(folder.path(), &["run", "--until-idle"], 0);
}

// newcomer 4
#[test]
fn an_answer_says_which_queue_it_is_of() {
    let folder = folder();
    ends_with(folder.path(), &["init", "house"], 0);
    let config = folder.path().join("house/daemon.toml").display().to_string();
    ends_with(folder.path(), &["--config", &config, "run", "--until-idle"], 0);
    let state = folder.path().join("house/state").display().to_string();
    let status = ends_with(folder.path(), &["--config", &config, "status"], 75);
    assert_eq!(status.lines().next(), Some(format!("queue {state} ({config})").as_str()));
    let submitted = ends_with(folder.path(), &["--config", &config, "submit", "circle.toml"], 0);
    assert!(submitted.contains(&format!("queue {state}")), "{submitted}");
    let here = ends_with(&folder.path().join("house"), &["submit", "../circle.toml"], 0);
    assert!(!here.contains("queue /"), "{here}");
}

// newcomer 10
#[test]
fn a_check_and_a_table_of_what_fits_write_nothing() {
    let folder = folder();
    let long = format!("prompt = '{}'\n", "a red circle ".repeat(300));
    fs::write(folder.path().join("long.toml"), long).unwrap();
    let fit_and_check = || {
        let checked = ends_with(folder.path(), &["check", "circle.toml"], 0);
        assert!(checked.contains("good, 1 picture"), "{checked}");
        let long = ends_with(folder.path(), &["check", "long.toml"], 0);
        assert!(long.contains("longer than the 512 tokens"), "the tokenizer is there: {long}");
        let table = ends_with(folder.path(), &["fit", "--table"], 0);
        assert!(table.contains("1024x1024"), "{table}");
    };
    fit_and_check();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    fit_and_check();
    assert_eq!(entries(folder.path()).len(), 2, "{:?}", entries(folder.path()));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

// newcomer 10
#[test]
fn a_check_beside_a_queue_unpacks_nothing_either() {
    let folder = folder();
    ends_with(folder.path(), &["init"], 0);
    ends_with(folder.path(), &["check", "circle.toml"], 0);
    // How fast the processor is may be kept.
    assert!(!folder.path().join("state/models").exists());
}

#[test]
fn a_model_that_is_named_and_missing_is_not_replaced_by_the_miniature() {
    let folder = folder();
    fs::write(folder.path().join("daemon.toml"), "model.path = 'turbo'\n").unwrap();
    let output = zimaged(folder.path(), &["check", "circle.toml"]).wait_with_output().unwrap();
    assert!(said(&output).contains("turbo: there is no such file or folder"), "{}", said(&output));
    assert!(!folder.path().join("state").exists());
}

// newcomer 39
#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = folder();
    ends_with(folder.path(), &["man", "man1"], 0);
    for page in ["zimaged.1", "zimaged-run.1", "zimaged-submit.1", "zimaged-init.1"] {
        let text = fs::read_to_string(folder.path().join("man1").join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains("zimaged"), "{page}: {text}");
    }
    assert!(!folder.path().join("man1/zimaged-worker.1").exists(), "nobody calls it");
}

// newcomer 27
#[test]
fn bash_completes_commands_and_the_ids_of_jobs() {
    let folder = folder();
    ends_with(folder.path(), &["init"], 0);
    ends_with(folder.path(), &["run", "--until-idle", "circle.toml"], 0);
    let script = ends_with(folder.path(), &["completions", "bash"], 0);
    fs::write(folder.path().join("completions"), script).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_zimaged")).parent().unwrap();
    let complete = |words: &str, index: usize, word: &str| {
        let commands = format!(
            "PATH={}:$PATH; source completions; COMP_WORDS=({words}); COMP_CWORD={index}; \
             _clap_complete_zimaged zimaged '{word}'; echo \"${{COMPREPLY[*]}}\"",
            program.display()
        );
        let output = Command::new("bash")
            .args(["-c", &commands])
            .current_dir(folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .output()
            .unwrap();
        said(&output)
    };
    assert!(complete("zimaged sub", 1, "sub").contains("submit"));
    let jobs = complete("zimaged show ''", 2, "");
    assert_eq!(jobs.split_whitespace().next(), Some("1"), "{jobs}");
}

#[test]
fn each_of_five_shells_gets_a_script_and_what_the_script_asks_for() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ends_with(folder.path(), &["completions", shell], 0);
        let bare = script.replace([' ', '"'], "");
        assert!(bare.contains(&format!("ZIMAGED_COMPLETE={shell}")), "{shell}: {script}");
        let asked = Command::new(env!("CARGO_BIN_EXE_zimaged"))
            .args(["--", "zimaged", "sub"])
            .envs([("ZIMAGED_COMPLETE", shell), ("_CLAP_COMPLETE_INDEX", "1")])
            .output()
            .expect("the binary starts");
        assert!(said(&asked).starts_with("submit"), "{shell}: {}", said(&asked));
    }
}

#[test]
fn a_configuration_that_cannot_be_made_to_last_is_not_there() {
    let house = House::new("");
    let mut init = house.command(&["init", "new"]);
    fault::inject(&mut init, "fsync", "daemon.toml.part", libc::EIO, 0, 1);
    let failed = init.output().expect("the binary starts");
    assert_eq!(failed.status.code(), Some(75), "{}", said(&failed));
    assert_eq!(fs::read_dir(house.path("new")).expect("a folder").count(), 0);
    assert!(house.zimaged(&["init", "new"]).status.success());
    assert!(house.path("new/daemon.toml").exists() && !house.path("new/daemon.toml.part").exists());
}
