//! Programs and webhooks that are told of renders which have ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::{House, said};

const TOLD: &str = "SELECT count(*) FROM outbox WHERE state = 'told'";
const GIVEN_UP: &str = "SELECT count(*) FROM outbox WHERE state = 'given_up'";

/// A shell script that the daemon runs.
fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A house whose daemon runs `text` for what is done, in the house's folder, and is configured by
/// `more` under `[hooks]`.
fn with_program(text: &str, more: &str) -> House {
    let house = House::new(&format!("[hooks]\non_done = ['./hook', 'an argument']\n{more}\n"));
    script(&house.path("hook"), text);
    house
}

fn lines(house: &House, name: &str) -> Vec<String> {
    let text = fs::read_to_string(house.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_program_is_told_of_what_is_done_and_of_nothing_else() {
    let text = "cat >> told; echo >> told; echo \"$1|$ZIMAGED_EVENT|$ZIMAGED_JOB|$ZIMAGED_PICTURE|\
                $ZIMAGED_PROMPT|$ZIMAGED_SEED|$ZIMAGED_FILE|$ZIMAGED_TAGS\" >> variables";
    let mut house = with_program(text, "");
    house.start();
    house.drop_job("a.toml", "prompt = ['a \"fox\" $HOME', 'black']\nseed = 5\ntags = ['zoo']\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state IN ('done', 'failed')", "2");
    house.until_sql(TOLD, "1");
    let told = lines(&house, "told");
    assert_eq!(told.len(), 1, "{told:?}");
    let told: Value = serde_json::from_str(&told[0]).unwrap();
    let file = told["file"].as_str().unwrap();
    assert!(Path::new(file).is_absolute() && Path::new(file).exists(), "{file}");
    let sha256 = house.value("SELECT sha256 FROM history WHERE state = 'done'");
    assert_eq!((&told["event"], &told["picture"]["sha256"]), (&"done".into(), &sha256.into()));
    let id = house.value("SELECT (SELECT id FROM identity) || '-' || id FROM outbox");
    assert_eq!(told["event_id"], id);
    let variables = format!("an argument|done|1|1|a \"fox\" $HOME|5|{file}|zoo");
    assert_eq!(lines(&house, "variables"), [variables]);
    house.assert_invariants();
}

// faults 5
#[test]
fn what_a_death_interrupts_is_told_after_the_next_start_under_the_same_id() {
    let text = "echo \"$ZIMAGED_EVENT_ID\" >> begun; [ -e go ] && echo x >> ended && exit; \
                while [ -e hook ]; do sleep 0.1; done";
    let mut house = with_program(text, "timeout = '1h'");
    house.start();
    house.drop_job("a.toml", "prompt = 'a fox'\nnum_images = 2\n");
    house.until("the program runs", || (lines(&house, "begun").len() == 1).then_some(()));
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.stop("KILL");
    assert_eq!(house.value(TOLD), "0");
    fs::write(house.path("go"), "").unwrap();
    house.start();
    house.until_sql(TOLD, "2");
    let begun = lines(&house, "begun");
    assert_eq!((begun.len(), lines(&house, "ended").len()), (3, 2), "{begun:?}");
    assert!(begun[0] == begun[1] && begun[1] != begun[2], "{begun:?}");
}

#[test]
fn a_program_that_fails_is_run_again_and_given_up_with_what_it_said() {
    let mut house =
        with_program("echo x >> begun; echo 'no such place' >&2; exit 3", "backoff = '1ms'");
    house.start();
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    house.until_sql(GIVEN_UP, "1");
    assert_eq!(lines(&house, "begun").len(), 3);
    let row = house.rows("SELECT message, tries FROM outbox").concat();
    assert!(row[0].ends_with("has failed: no such place") && row[1] == "3", "{row:?}");
    house.until_logged("not tried again");
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started_and_no_render_waits_for_it() {
    let text = "sleep 600 & echo $! >> started; echo x >> begun; sleep 600";
    let mut house = with_program(text, "timeout = '4s'\nbackoff = '1h'");
    house.start();
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    house.until("the program runs", || (lines(&house, "begun").len() == 1).then_some(()));
    house.drop_job("b.toml", "prompt = 'an owl'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.until_sql("SELECT tries FROM outbox WHERE id = 1", "1");
    let message = house.value("SELECT message FROM outbox WHERE id = 1");
    assert!(message.ends_with("was ended after 4 s"), "{message}");
    let started = lines(&house, "started").remove(0);
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z")).then_some(())
    };
    house.until("what it started has ended", is_gone);
}

#[test]
fn a_run_until_idle_tells_before_it_ends_and_a_hook_that_is_gone_tells_nothing_more() {
    let house = with_program("echo x >> told", "");
    fs::write(house.path("a.toml"), "prompt = 'a fox'\nnum_images = 3\n").unwrap();
    let ended = house.zimaged(&["run", "--until-idle", "a.toml"]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    assert_eq!((lines(&house, "told").len(), house.value(TOLD)), (3, "3".to_owned()));
    house.falsify("UPDATE outbox SET state = 'waiting', ended_at_ms = NULL WHERE id = 2");
    let config = fs::read_to_string(house.path("daemon.toml")).unwrap();
    fs::write(house.path("daemon.toml"), config.replace("on_done", "on_failed")).unwrap();
    let ended = house.zimaged(&["run", "--until-idle"]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    let message = house.value("SELECT message FROM outbox WHERE id = 2");
    assert_eq!(message, "daemon.toml has no such hook any more");
    assert_eq!(lines(&house, "told").len(), 3);
}

/// Requests as they came: the head, and the body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A server that gives these answers in turn, the last one for ever.
fn server(answers: &'static [&'static str]) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let requests = Requests::default();
    let kept = requests.clone();
    thread::spawn(move || {
        for (place, stream) in listener.incoming().flatten().enumerate() {
            let answer = answers[place.min(answers.len() - 1)];
            if let Ok(request) = answered(stream, answer) {
                kept.lock().unwrap().push(request);
            }
        }
    });
    (url, requests)
}

fn answered(mut stream: TcpStream, answer: &str) -> std::io::Result<(String, String)> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let lower = head.to_lowercase();
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|text| text.trim().parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry")?;
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

#[test]
fn a_webhook_is_tried_until_it_takes_what_is_told_under_one_id() {
    const ANSWERS: &[&str] = &["500 Oh", "302 Found\r\nLocation: http://127.0.0.1:1/", "204 Good"];
    let (url, requests) = server(ANSWERS);
    let mut house = House::new(&format!(
        "[hooks]\nwebhook = '{url}'\nwebhook_private = true\nbackoff = '1ms'\n"
    ));
    house.start();
    house.drop_job("a.toml", "prompt = 'black'\nseed = 3\n");
    house.until_sql(TOLD, "1");
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 3, "{requests:?}");
    let told: Value = serde_json::from_str(&requests[0].1).unwrap();
    assert_eq!((&told["event"], &told["file"]), (&"failed".into(), &Value::Null));
    assert!(told["picture"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
    let id = format!("idempotency-key: {}", told["event_id"].as_str().unwrap());
    assert!(requests.iter().all(|(head, _)| head.to_lowercase().contains(&id)), "{requests:?}");
}

// faults 64
#[test]
fn a_webhook_of_this_machine_is_not_asked_unless_that_is_meant() {
    let (url, requests) = server(&["204 Good"]);
    let by_name = url.replace("127.0.0.1", "localhost");
    let mut house = House::new(&format!("[hooks]\nwebhook = '{by_name}'\nbackoff = '1h'\n"));
    house.start();
    house.drop_job("a.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT tries FROM outbox", "1");
    let message = house.value("SELECT message FROM outbox");
    assert!(message.contains("webhook_private = true"), "{message}");
    assert!(!message.starts_with("other"), "{message}");
    assert_eq!(requests.lock().unwrap().len(), 0);
}

#[test]
fn what_is_wrong_with_hooks_is_told_at_the_start() {
    let wrong =
        "[hooks]\non_done = []\non_failed = 3\nwebhook = 'file:///etc/passwd'\ntimeout = '2h'\n";
    let house = House::new(wrong);
    let told = said(&house.zimaged(&["run", "--until-idle"]));
    for key in ["hooks.on_done", "hooks.on_failed", "hooks.webhook", "hooks.timeout"] {
        assert!(told.contains(key), "{key}: {told}");
    }
}
