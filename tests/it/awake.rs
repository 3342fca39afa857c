//! newcomer 39: the machine is kept from sleep while work is due, and never longer. The tool that
//! logind offers for it is a script here, which does what the real one does: it runs a command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::{House, kill, said};

/// A house in whose PATH `systemd-inhibit` is a script, before everything else.
fn house(script: &str) -> (House, String) {
    let house = House::new("");
    let tools = house.path("tools");
    fs::create_dir(&tools).expect("a writable folder");
    let tool = tools.join("systemd-inhibit");
    fs::write(&tool, format!("#!/bin/sh\n{script}\n")).expect("a writable folder");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("our own file");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", tools.display());
    (house, path)
}

/// Notes its arguments and its process, and becomes the command at their end.
const OBEDIENT: &str = "echo \"$@\" >> asked; echo $$ >> asked.pid
    for last; do :; done
    exec \"$last\"";

/// A job of so many seconds, each a step.
fn slow(seconds: u32) -> String {
    format!("prompt = 'steps of 1000 ms'\nsteps = {seconds}\n")
}

fn asked(house: &House) -> Vec<String> {
    let text = fs::read_to_string(house.path("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether the process that asked last is alive.
fn is_held(house: &House) -> bool {
    let pids = fs::read_to_string(house.path("asked.pid")).unwrap_or_default();
    let Some(pid) = pids.lines().last() else { return false };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie holds nothing.
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn until_held(house: &House, held: bool) {
    house.until(if held { "a lock" } else { "no lock" }, || (is_held(house) == held).then_some(()));
}

// newcomer 39
#[test]
fn sleep_is_inhibited_while_work_is_due_and_no_longer() {
    let (mut house, path) = house(OBEDIENT);
    house.start_with(&[("PATH", &path)]);
    house.drop_job("later.toml", "prompt = 'a'\nnot_before = 2099-01-01T00:00:00Z\n");
    house.until_sql("SELECT count(*) FROM renders", "1");
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(asked(&house), [""; 0], "nothing is due before its time");
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\n");
    until_held(&house, true);
    assert_eq!(
        asked(&house),
        ["--what=sleep --who=zimaged --why=pictures are being rendered --mode=block cat"]
    );
    house.release_renders();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    until_held(&house, false);
    // What waits behind a pause does not wait for the machine.
    house.zimaged(&["pause"]);
    house.drop_job("paused.toml", "prompt = 'a'\n");
    house.until_sql("SELECT count(*) FROM renders", "3");
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(asked(&house).len(), 1);
    // Killed, it takes the lock with it.
    house.zimaged(&["resume"]);
    house.drop_job("endless.toml", &slow(60));
    until_held(&house, true);
    kill("KILL", house.daemon_pid());
    until_held(&house, false);
}

#[test]
fn what_runs_when_quiet_hours_begin_keeps_the_machine_awake_and_what_waits_does_not() {
    let (mut house, path) = house(OBEDIENT);
    house.start_as_service(&[("PATH", &path)]);
    house.hold_renders();
    house.drop_job("slow.toml", "prompt = 'hold'\nnum_images = 2\n");
    until_held(&house, true);
    let config = fs::read_to_string(house.path("daemon.toml")).expect("ours");
    let quiet = "\n[power]\nquiet_hours = ['00:00-12:00', '12:00-23:59:59']\n";
    fs::write(house.path("daemon.toml"), config + quiet).expect("a writable folder");
    kill("HUP", house.daemon_pid());
    house.until("it was read", || house.log().contains("daemon.toml").then_some(()));
    let states = "SELECT group_concat(state, ' ') FROM (SELECT state FROM renders ORDER BY id)";
    // Longer than from one look to the next.
    for _ in 0..25 {
        assert!(is_held(&house), "{}", house.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    house.release_renders();
    until_held(&house, false);
    assert_eq!(house.value(states), "done queued");
}

// newcomer 39
#[test]
fn without_the_tool_or_against_its_will_the_work_goes_on_and_that_is_told_once() {
    let (mut house, path) = house("echo 'Failed to inhibit: Access denied' >&2; exit 1");
    house.start_with(&[("PATH", &path)]);
    // Two looks, two seconds apart.
    house.drop_job("slow.toml", &slow(5));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    for told in ["may go to sleep while work is due", "systemd-inhibit: Failed to inhibit: Access"]
    {
        house.until_logged(told);
        assert_eq!(house.log().matches(told).count(), 1, "{}", house.log());
    }
    for command in [&["submit", "--prompt", "a fox"][..], &["check", "--prompt", "a fox"]] {
        let told = said(&house.zimaged(command));
        assert!(told.contains("the machine may go to sleep before it is done"), "{told}");
    }
    assert!(house.log().contains(" WARN "), "{}", house.log());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'queued'", "0");
    house.stop("TERM");
    house.start_with(&[("PATH", "/nowhere")]);
    house.drop_job("again.toml", &slow(2));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "2");
    assert!(!house.log().contains("not installed"), "{}", house.log());
}

// newcomer 39
#[test]
fn who_wants_the_machine_to_sleep_says_so() {
    let (mut house, path) = house(OBEDIENT);
    let config = fs::read_to_string(house.path("daemon.toml")).expect("its configuration");
    fs::write(house.path("daemon.toml"), format!("{config}[power]\ninhibit_sleep = false\n"))
        .expect("a writable folder");
    house.start_with(&[("PATH", &path)]);
    house.drop_job("slow.toml", &slow(3));
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    assert_eq!(asked(&house), [""; 0]);
    fs::write(house.path("daemon.toml"), "[power]\ninhibit_sleep = 'no'\n").expect("writable");
    let wrong = said(&house.zimaged(&["status"]));
    assert!(wrong.contains("true or false"), "{wrong}");
}
