//! What systemd hears of the daemon, and what the daemon does on a reload.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fault::Gate;
use crate::support::notify::Systemd;
use crate::support::{House, kill, said};

/// The watchdog's time is 3 s: it is fed every second while a heartbeat is younger than 1.5 s.
const WATCHDOG_US: &str = "3000000";

/// A whole time of the watchdog, after the last sign of life.
const WATCHDOG: Duration = Duration::from_secs(3);

fn service(house: &mut House) -> Systemd {
    let systemd = Systemd::of(house);
    house.start_as_service(&systemd.environment(WATCHDOG_US));
    systemd
}

#[test]
fn systemd_hears_ready_status_and_a_watchdog_fed_by_progress() {
    let mut house = House::new("[device]\nidle_release = '2s'\n");
    let systemd = service(&mut house);
    let (_, before) = systemd.until("READY=1");
    assert!(before.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{before:?}");
    systemd.until("STATUS=");
    systemd.until("WATCHDOG=1");
    systemd.until("WATCHDOG=1");
    systemd.until("STATUS=released: loads on the next job");
    kill("TERM", house.daemon_pid());
    systemd.until("STOPPING=1");
}

#[test]
fn who_is_started_after_ready_can_ask_over_http() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    drop(taken);
    let house = House::new(&format!("[http]\nlisten = '{address}'\n"));
    let systemd = Systemd::of(&house);
    // Nothing else is waited for.
    let mut daemon = house.command(&["run"]);
    let daemon = daemon.envs(systemd.environment(WATCHDOG_US)).stderr(Stdio::null()).spawn();
    let mut daemon = daemon.expect("the binary starts");
    systemd.until("READY=1");
    let connected = TcpStream::connect(address);
    daemon.kill().expect("our own child");
    daemon.wait().expect("our own child");
    connected.expect("it listens");
}

#[test]
fn systemd_hears_the_step_and_the_time_left() {
    let mut house = House::new("");
    let systemd = service(&mut house);
    // By the first of them the time of the others is known.
    house.drop_job("slow.toml", "prompt = 'steps of 100 ms'\nsteps = 60\nnum_images = 3\n");
    let (line, _) = systemd.until("STATUS=job 1, picture 2 of 3, step ");
    assert!(line.contains("/60, ") && line.contains(" left"), "{line}");
}

/// The worker is asked at once whether it hangs, and systemd is told nothing: there is something
/// that can be done about it.
#[test]
fn a_worker_that_hangs_is_replaced_and_starves_no_watchdog() {
    let mut house = House::impatient("");
    let systemd = service(&mut house);
    house.drop_job("fox.toml", "prompt = 'hang once'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    // Longer than the step may take: the worker is ended in this time.
    let lines = systemd.within(WATCHDOG + Duration::from_secs(1));
    assert!(lines.iter().filter(|line| *line == "WATCHDOG=1").count() >= 2, "{lines:?}");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let outcomes = "SELECT group_concat(outcome, ' ') FROM attempts";
    assert_eq!(house.value(outcomes), "crashed done");
}

/// As on a disk that answers no more: nothing but a restart helps.
#[test]
fn a_dispatcher_that_hangs_starves_the_watchdog() {
    let mut house = House::new("");
    let systemd = Systemd::of(&house);
    let gate = Gate::new(house.path("gate"), "-wal");
    gate.open();
    house.start_as_service(&[systemd.environment(WATCHDOG_US), gate.environment()].concat());
    house.hold_renders();
    house.drop_job("fox.toml", "prompt = 'hold'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    gate.close();
    house.release_renders();
    house.until("a picture with its name", || (house.pictures().len() == 1).then_some(()));
    systemd.within(WATCHDOG);
    let lines = systemd.within(WATCHDOG);
    assert!(lines.iter().all(|line| line != "WATCHDOG=1"), "{lines:?}");
    gate.open();
    systemd.until("WATCHDOG=1");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
}

fn configure(house: &House, from: &str, to: &str) {
    let path = house.path("daemon.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).expect("a writable folder");
}

/// What `status` says of the last reload.
fn reload(house: &House) -> Value {
    house.json(&["status"])["daemon"]["reload"].clone()
}

#[test]
fn a_reload_is_told_to_systemd_and_counts_for_the_next_job() {
    let mut house = House::new("[defaults]\nsteps = 7\n");
    let systemd = service(&mut house);
    systemd.until("READY=1");
    configure(&house, "steps = 7", "steps = 5\nformat = 'webp'\n[device]\nreserve = '1GiB'");
    kill("HUP", house.daemon_pid());
    let (reloading, _) = systemd.until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    systemd.until("READY=1");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    let made = "SELECT group_concat(steps || ' ' || format) FROM renders WHERE state = 'done'";
    house.until_sql(made, "5 webp");
    let needs = || (reload(&house)["needs_restart"] == json!(["device.reserve"])).then_some(());
    house.until("what needs a restart is told", needs);
    let told = said(&house.zimaged(&["status"]));
    assert!(told.contains("but needs a restart: device.reserve"), "{told}");
    // The same over HTTP.
    let answer = house.post("/api/v1/jobs", &json!({"prompt": "an owl"}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    house.until_sql(made, "5 webp,5 webp");
}

#[test]
fn a_bad_configuration_is_told_with_its_place_and_the_old_one_goes_on() {
    let mut house = House::new("[defaults]\nsteps = 7\n");
    let systemd = service(&mut house);
    systemd.until("READY=1");
    configure(&house, "steps = 7", "stepz = 5");
    kill("HUP", house.daemon_pid());
    systemd.until("RELOADING=1");
    systemd.until("READY=1");
    // Over HTTP: commands read the same bad file, and end by it.
    let trouble = || {
        let status = house.get("/api/v1/status").json();
        status["daemon"]["reload"]["trouble"].as_str().map(str::to_owned)
    };
    let trouble = house.until("the reason", trouble);
    house.until_logged("stepz");
    for (who, said) in [("the status", &trouble), ("the log", &house.log())] {
        let place = format!("{}:", house.path("daemon.toml").display());
        assert!(said.contains(&place) && said.contains("stepz"), "{who}: {said}");
    }
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT steps FROM renders WHERE state = 'done'", "7");
    configure(&house, "stepz = 5", "steps = 5");
    kill("HUP", house.daemon_pid());
    house.until("it is mended", || reload(&house)["trouble"].is_null().then_some(()));
}

#[test]
fn hooks_count_from_the_reload_on() {
    let mut house = House::new("");
    let systemd = service(&mut house);
    systemd.until("READY=1");
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let hook =
        format!("[hooks]\non_done = ['touch', '{}']\n[worker]", house.path("told").display());
    configure(&house, "[worker]", &hook);
    kill("HUP", house.daemon_pid());
    systemd.until("RELOADING=1");
    systemd.until("READY=1");
    house.drop_job("owl.toml", "prompt = 'an owl'\n");
    house.until("the program has run", || house.path("told").exists().then_some(()));
    assert_eq!(house.value("SELECT count(*) FROM outbox"), "1");
}
