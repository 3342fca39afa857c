//! The program alone, as `cargo install` leaves it: no configuration, no model, an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

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

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
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

#[test]
fn the_program_alone_in_an_empty_folder_makes_a_picture() {
    let folder = folder();
    let output =
        zimaged(folder.path(), &["run", "--until-idle", "circle.toml"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let picture = entries(&folder.path().join("outputs")).pop().expect("a picture");
    let picture = image::open(picture).unwrap();
    assert_eq!((picture.width(), picture.height()), (128, 128));
    let models = entries(&folder.path().join("state/models"));
    assert!(models.len() == 1 && models[0].display().to_string().contains("/mini-"), "{models:?}");
}

#[test]
fn two_commands_at_once_unpack_the_model_together() {
    let folder = folder();
    let children = [(); 2].map(|()| zimaged(folder.path(), &["check", "circle.toml"]));
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && said(&output).contains("good, 1 picture"),
            "{}",
            said(&output)
        );
    }
    assert_eq!(entries(&folder.path().join("state/models")).len(), 1);
}

#[test]
fn a_model_that_is_named_and_missing_is_not_replaced_by_the_miniature() {
    let folder = folder();
    fs::write(folder.path().join("daemon.toml"), "model.path = 'turbo'\n").unwrap();
    let output = zimaged(folder.path(), &["check", "circle.toml"]).wait_with_output().unwrap();
    assert!(said(&output).contains("turbo: there is no such folder"), "{}", said(&output));
    assert!(!folder.path().join("state").exists());
}
