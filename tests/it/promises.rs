//! What is said of the queue is what its daemon does.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::support::{House, kill, said};

fn change_configuration(house: &House) {
    let path = house.path("daemon.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    fs::write(path, text + "\n[defaults]\nsteps = 5\n").expect("a writable folder");
}

/// Where the terminal's SIGHUP would end the daemon.
#[test]
fn a_configuration_that_the_daemon_has_not_read_is_told_with_what_has_it_read() {
    let mut house = House::new("");
    let _terminal = house.start_on_terminal();
    house.json(&["pause", "no picture is wanted"]);
    let tell = format!("the daemon has not read that: kill -USR1 {}", house.daemon_pid());
    let is_told = |command: &[&str]| said(&house.zimaged(command)).contains(&tell);
    let commands =
        [&["check", "--prompt", "a fox"][..], &["submit", "--prompt", "a fox"], &["status"]];
    assert!(!commands.into_iter().any(is_told));
    change_configuration(&house);
    for command in commands {
        assert!(is_told(command), "{command:?}");
    }
    kill("USR1", house.daemon_pid());
    house.until("it is read", || (!is_told(&["status"])).then_some(()));
    house.drop_job("owl.toml", "prompt = 'an owl'\n");
    house.until_sql("SELECT steps FROM renders WHERE prompt = 'an owl'", "5");
}

#[test]
fn under_nohup_a_signal_has_the_configuration_read_anew() {
    let mut house = House::new("");
    house.start_under_nohup();
    change_configuration(&house);
    kill("HUP", house.daemon_pid());
    house.until_logged("the configuration was read anew");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT steps FROM renders WHERE state = 'done'", "5");
    assert_eq!(house.stop("TERM"), Some(0));
}

/// It was killed by it: a start may last, and tools that write configurations ask at once.
#[test]
fn a_start_that_waits_is_not_ended_by_who_asks_for_a_reload() {
    for signal in ["HUP", "USR1"] {
        let mut house = House::new("");
        fs::create_dir_all(house.path("state")).expect("a writable folder");
        let lock = fs::File::create(house.path("state/.zimaged.lock")).expect("a writable folder");
        lock.lock().expect("nobody else has it");
        house.spawn_under_nohup();
        house.until_logged("waiting some seconds for its end");
        kill(signal, house.daemon_pid());
        lock.unlock().expect("our own");
        house.until_logged("the configuration was read anew");
        assert_eq!(house.stop("TERM"), Some(0), "{signal}: {}", house.log());
    }
}

/// Whoever reads a pipe waits for its writer, who may never come.
#[test]
fn a_pipe_in_the_place_of_the_configuration_is_told_and_not_waited_for() {
    let mut house = House::new("");
    house.start_under_nohup();
    let path = house.path("daemon.toml");
    let aside = house.path("aside.toml");
    fs::rename(&path, &aside).expect("the same folder");
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    kill("HUP", house.daemon_pid());
    house.until_logged("the configuration stays as it was");
    let why = format!("{}: it is a device or a pipe, not a file", path.display());
    assert!(house.log().contains(&why), "{}", house.log());
    fs::rename(&aside, &path).expect("the same folder");
    kill("HUP", house.daemon_pid());
    house.until_logged("the configuration was read anew");
    assert_eq!(house.stop("TERM"), Some(0), "{}", house.log());
}

/// A job with a picture behind it and others to come was called running, whatever kept these.
#[test]
fn a_job_is_called_running_only_while_a_picture_of_it_is_rendered() {
    let house = House::started("");
    house.hold_renders();
    house.json(&["submit", "--prompt", "hold", "-n", "3"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    let state = |command: &[&str], place: &str| {
        house.json(command).pointer(place).and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(state(&["list"], "/0/state").as_deref(), Some("running"));
    house.json(&["pause", "a game"]);
    house.release_renders();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    assert_eq!(state(&["list"], "/0/state").as_deref(), Some("queued"));
    assert_eq!(state(&["show", "1"], "/job/state").as_deref(), Some("queued"));
    let list = |word| house.json(&["list", "--state", word]).as_array().map(Vec::len);
    assert_eq!([list("queued"), list("running")], [Some(1), Some(0)]);
    let begun = house.json(&["status"])["begun"][0].clone();
    assert_eq!(begun["done"], 1, "its progress is told all the same: {begun}");
    let page = house.get("/queue").ok().text().to_owned();
    assert!(!page.contains(">running<"), "{page}");
}
