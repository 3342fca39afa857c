//! Calls that wait for their pictures: who asks twice, who hangs up, and who need not wait.

use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::rest::time_of_day;
use crate::support::House;
use crate::support::http::Reply;

const IMAGES: &str = "/v1/images/generations";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A house whose worker renders a picture for as long as the test wants.
fn busy() -> House {
    let house = House::started("");
    house.hold_renders();
    house.drop_job("first.toml", "prompt = 'first, hold'\npriority = 9\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    house
}

/// Asks for a picture and does not look at the answer yet.
fn ask(house: &House, header: (&str, &str)) -> TcpStream {
    let body = json!({ "prompt": "a fox" }).to_string();
    house.send(&format!("POST {IMAGES}"), &[JSON, header], body.as_bytes())
}

fn answer(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    Reply::parse(&bytes)
}

/// How many renders of the clients' jobs are in this state.
fn number(state: &str) -> String {
    format!(
        "SELECT count(*) FROM renders r JOIN jobs j ON j.id = r.job_id \
         WHERE j.origin = 'openai' AND r.state = '{state}'"
    )
}

#[test]
fn who_hung_up_and_asks_again_gets_a_picture_and_not_the_cancelled_job() {
    for (first, again) in [
        (("Idempotency-Key", "fox-1"), ("Idempotency-Key", "fox-1")),
        (("x-stainless-retry-count", "0"), ("x-stainless-retry-count", "1")),
    ] {
        let house = busy();
        let stream = ask(&house, first);
        house.until_sql(&number("queued"), "1");
        drop(stream);
        house.until_sql(&number("cancelled"), "1");
        let stream = ask(&house, again);
        house.until_sql(&number("queued"), "1");
        house.release_renders();
        let made = answer(stream).ok().json();
        assert_eq!(made["zimaged"]["job"], 3, "a job of its own: {made}");
        assert_eq!(answer(ask(&house, again)).ok().json()["zimaged"]["job"], 3, "{again:?}");
    }
}

#[test]
fn who_hangs_up_takes_the_job_from_nobody_else_who_waits_for_it() {
    let house = busy();
    let key = ("Idempotency-Key", "fox-1");
    let first = ask(&house, key);
    house.until_sql(&number("queued"), "1");
    let second = ask(&house, key);
    // What is asked for after it is taken in after it.
    for _ in 0..3 {
        house.post("/api/v1/jobs", &json!({ "prompt": "later", "priority": -9 })).ok();
    }
    drop(first);
    // One that is ended after the first one: so that was dealt with.
    let other = ask(&house, ("Idempotency-Key", "fox-2"));
    house.until_sql(&number("queued"), "2");
    drop(other);
    house.until_sql(&number("cancelled"), "1");
    house.release_renders();
    assert_eq!(answer(second).ok().json()["zimaged"]["job"], 2);
}

#[test]
fn a_job_that_was_promised_is_made_though_all_who_waited_hang_up() {
    let house = busy();
    let key = ("Idempotency-Key", "fox-1");
    let waiting = ask(&house, key);
    house.until_sql(&number("queued"), "1");
    let body = json!({ "prompt": "a fox" }).to_string();
    let headers = [JSON, key, ("Prefer", "respond-async; x=1, wait=9")];
    let promised = house.ask(&format!("POST {IMAGES}"), &headers, body.as_bytes());
    assert_eq!((promised.status, &promised.json()["jobs"][0]["job"]), (202, &json!(2)));
    assert_eq!(promised.header("preference-applied"), Some("respond-async"));
    drop(waiting);
    // One that is ended after it: so that was dealt with.
    let other = ask(&house, ("Idempotency-Key", "fox-2"));
    house.until_sql(&number("queued"), "2");
    drop(other);
    house.until_sql(&number("cancelled"), "1");
    house.release_renders();
    house.until_sql(&number("done"), "1");
}

#[test]
fn a_key_belongs_to_one_request() {
    let house = House::started("");
    let send = |path: &str, prompt: &str| {
        let headers = [JSON, ("Idempotency-Key", "fox-1")];
        let body = json!({ "prompt": prompt }).to_string();
        house.ask(&format!("POST {path}"), &headers, body.as_bytes())
    };
    let first = send(IMAGES, "a fox").ok().json();
    assert_eq!(send(IMAGES, "a fox").ok().json()["zimaged"]["job"], first["zimaged"]["job"]);
    assert_eq!(send(IMAGES, "an owl").status, 409);
    assert_eq!(send("/sdapi/v1/txt2img", "a fox").status, 409);
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "1");
}

/// Asks by each of the APIs that wait; both must be refused at once, for this reason.
fn is_refused(house: &House, reason: &str) -> Value {
    let began = Instant::now();
    let replies = [IMAGES, "/sdapi/v1/txt2img"]
        .map(|path| (0..9).map(|_| house.post(path, &json!({ "prompt": "a fox" }))).collect());
    for reply in replies.iter().flat_map(|replies: &Vec<Reply>| replies) {
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.header("retry-after").is_some() && reply.text().contains(reason));
    }
    assert!(began.elapsed().as_secs() < 60, "nobody waited");
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0", "nothing is left of it");
    replies[0][0].json()
}

#[test]
fn while_nothing_is_started_nobody_waits() {
    let house = House::started("");
    assert!(house.zimaged(&["pause", "games"]).status.success());
    is_refused(&house, "paused (games)");
    let headers = [JSON, ("Prefer", "respond-async")];
    let taken = house.ask(&format!("POST {IMAGES}"), &headers, b"{\"prompt\": \"a fox\"}");
    assert_eq!(taken.status, 202, "who does not wait is served");
}

#[test]
fn in_quiet_hours_nobody_waits_for_their_end() {
    let (begin, end) = (time_of_day(-3600), time_of_day(3600));
    let house = House::started(&format!("[power]\nquiet_hours = [\"{begin}-{end}\"]\n"));
    is_refused(&house, "it is not begun before");
}
