//! Pipes and folders in the place of the daemon's own files: nobody waits for them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{House, said};

/// Only what hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// What a command says that may hang.
fn ended(house: &House, arguments: &[&str]) -> Output {
    let mut command = house.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("our own child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("our own child");
            panic!("{arguments:?} hangs");
        }
        sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("our own child")
}

#[test]
fn what_lies_in_the_place_of_the_databases_files_is_named_and_never_waited_for() {
    let house = House::new("");
    fs::create_dir(house.path("state")).unwrap();
    fs::write(house.path("copy.sqlite"), "").unwrap();
    for suffix in ["", "-wal", "-shm", "-starts"] {
        for what in ["a pipe", "a folder"] {
            let path = house.path(&format!("state/zimaged.sqlite{suffix}"));
            match what {
                "a pipe" => make_pipe(&path),
                _ => fs::create_dir(&path).unwrap(),
            }
            let words = format!("{} is {what}", path.display());
            let copy = house.path("copy.sqlite").display().to_string();
            for arguments in [&["run", "--until-idle"][..], &["restore", &copy]] {
                let output = ended(&house, arguments);
                assert_eq!(output.status.code(), Some(78), "{arguments:?} {words}");
                assert!(said(&output).contains(&words), "{arguments:?} {words}: {}", said(&output));
            }
            let told = said(&ended(&house, &["status"]));
            assert!(told.contains(&words) || !suffix.is_empty(), "{words}: {told}");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_of_the_state_folder_keeps_no_daemon_from_its_work() {
    let house = House::new("");
    fs::create_dir(house.path("state")).unwrap();
    for name in ["status.json", "status.json.part", "last-word", "reading"] {
        make_pipe(&house.path("state").join(name));
    }
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    let output = ended(&house, &["run", "--until-idle"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(house.value("SELECT group_concat(state) FROM renders"), "done");
    assert!(ended(&house, &["status"]).status.code() == Some(75), "no daemon runs");
}

#[test]
fn a_pipe_in_the_place_of_a_lock_or_of_the_token_is_named() {
    for name in ["state/.zimaged.lock", "jobs/.zimaged.lock", "state/http-token"] {
        let house = House::new("\n[http]\nlisten = '127.0.0.1:0'\ntoken = 'always'\n");
        fs::create_dir(house.path("state")).unwrap();
        make_pipe(&house.path(name));
        let output = ended(&house, &["run", "--until-idle"]);
        let path = house.path(name).display().to_string();
        assert!(said(&output).contains(&path), "{name}: {}", said(&output));
        ended(&house, &["status"]);
    }
}
