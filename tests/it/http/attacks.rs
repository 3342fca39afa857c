//! What other sites, other users and broken clients send: none gets in, none stops the queue.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::http::Reply;
use crate::support::{House, allow_many_descriptors, said};

/// A request that would stop the queue, if it got in.
fn pause(house: &House, headers: &[(&str, &str)]) -> u16 {
    house.ask("POST /api/v1/queue/pause", headers, b"").status
}

fn is_paused(house: &House) -> bool {
    !house.json(&["status"])["paused"].is_null()
}

// faults 113
#[test]
fn a_name_that_was_made_to_lead_here_is_refused() {
    let house = House::started("");
    let address = house.http();
    let port = address.rsplit_once(':').expect("a port").1;
    for host in [
        format!("evil.example:{port}"),
        "localhost".to_owned(),
        format!("localhost.:{port}"),
        format!("127.1:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        String::new(),
    ] {
        let reply = house.ask("GET /api/v1/status", &[("Host", &host)], b"");
        assert!([400, 421].contains(&reply.status), "{host}: {}", reply.status);
        assert!(!reply.text().contains("state_folder"));
    }
    let none = house.exchange(b"GET /api/v1/status HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(none.starts_with(b"HTTP/1.1 421"), "{}", String::from_utf8_lossy(&none));
    let old = house.exchange(b"GET /api/v1/status HTTP/1.0\r\n\r\n");
    assert!(old.starts_with(b"HTTP/1.0 421"), "{}", String::from_utf8_lossy(&old));
    let two =
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nHost: evil\r\nConnection: close\r\n\r\n");
    assert!(house.exchange(two.as_bytes()).starts_with(b"HTTP/1.1 421"));
    let target = format!("GET http://evil:{port}/ HTTP/1.1\r\nHost: {address}\r\n");
    let target = house.exchange(format!("{target}Connection: close\r\n\r\n").as_bytes());
    assert!(target.starts_with(b"HTTP/1.1 421"));
    let local = house.ask("GET /health", &[("Host", &format!("localhost:{port}"))], b"");
    assert_eq!(local.status, 200);
}

// faults 114
#[test]
fn pages_of_other_sites_cannot_send_anything() {
    let house = House::started("");
    let address = house.http();
    for foreign in [
        &[("Origin", "null")][..],
        &[("Origin", "http://evil.example")],
        &[("Origin", "http://localhost:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate")],
    ] {
        assert_eq!(pause(&house, foreign), 403, "{foreign:?}");
        let read = house.ask("GET /api/v1/status", foreign, b"");
        assert_eq!(read.status, 403, "{foreign:?}");
        assert!(read.header("access-control-allow-origin").is_none());
    }
    let link = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    assert_eq!(house.ask("GET /health", &link, b"").status, 200, "a click on a link");
    assert_eq!(pause(&house, &link), 403);
    let own = format!("http://{address}");
    let own = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(house.ask("GET /health", &own, b"").status, 200);
    assert!(!is_paused(&house));
}

// faults 112
#[test]
fn bodies_that_a_form_can_send_are_no_requests() {
    let house = House::started("");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "text/html"] {
        let reply = house.ask("POST /api/v1/status", &[("Content-Type", kind)], b"a=b");
        assert_eq!(reply.status, 415, "{kind}");
    }
    assert_eq!(house.ask("POST /api/v1/status", &[], b"a=b").status, 415);
}

#[test]
fn every_answer_says_how_it_may_be_used() {
    let house = House::started("");
    for path in ["/health", "/api/v1/status", "/nothing", "/v1/nothing"] {
        let reply = house.get(path);
        let csp = reply.header("content-security-policy").expect("a policy");
        assert!(csp.starts_with("default-src 'none'; script-src 'self';"), "{csp}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
        // Without any referrer browsers hide the origin of our own forms as well.
        assert_eq!(reply.header("referrer-policy"), Some("same-origin"));
    }
    let nothing = house.get("/nothing");
    assert_eq!((nothing.status, &nothing.json()["code"]), (404, &"not_found".into()));
    assert_eq!(nothing.header("content-type"), Some("application/problem+json"));
    assert!(house.get("/v1/nothing").json()["error"]["message"].is_string());
    assert_eq!(house.post("/health", &serde_json::json!({})).status, 405);
}

#[test]
fn with_a_token_only_those_who_know_it_get_in() {
    let house = House::started("[http]\nlisten = '127.0.0.1:0'\ntoken = 'always'\n");
    let token = std::fs::read_to_string(house.path("state/http-token")).expect("made");
    let token = token.trim();
    let none = house.get("/api/v1/status");
    assert_eq!(none.status, 401);
    assert!(none.header("www-authenticate").is_some_and(|it| it.starts_with("Basic")));
    let wrong = format!("Bearer {}", token.replace(|c: char| c.is_ascii_digit(), "0"));
    let ask = |value: &str| house.ask("GET /api/v1/status", &[("Authorization", value)], b"");
    assert_eq!(ask(&wrong).status, 401);
    assert_eq!(ask("").status, 401);
    assert_eq!(ask(&format!("Bearer {token}")).status, 200);
    assert_eq!(house.get("/health").status, 200, "for whoever watches it");
}

/// Four hundred connections and some more that never send a whole request.
fn silent(house: &House, begin: &[u8]) -> Vec<TcpStream> {
    let mut silent: Vec<_> = (0..420).map(|_| house.connect()).collect();
    for stream in &mut silent {
        let _ = stream.write_all(begin);
    }
    silent
}

/// A browser on the same machine gets in.
fn gets_in(house: &House) {
    let began = Instant::now();
    assert_eq!(house.get("/health").status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "after {:?}", began.elapsed());
}

// faults 111
#[test]
fn slow_headers_end_and_hold_nobody_up() {
    allow_many_descriptors();
    let house = House::started("");
    for begin in ["", "GET /health HTTP/1.1\r\nHost: ", SLOW_BODY] {
        let begin = begin.replace("HOST", &house.http());
        let mut silent = silent(&house, begin.as_bytes());
        for _ in 0..5 {
            gets_in(&house);
        }
        let mut rest = Vec::new();
        let _ = silent[0].read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "the first one has made room");
    }
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
}

/// Of a request whose body never comes.
const SLOW_BODY: &str = "POST /api/v1/jobs HTTP/1.1\r\nHost: HOST\r\n\
                         Content-Type: application/toml\r\nContent-Length: 10\r\n\r\nx";

// faults 111
#[test]
fn who_waits_for_a_picture_or_follows_events_is_not_sent_away_for_who_is_silent() {
    allow_many_descriptors();
    let house = House::started("");
    house.hold_renders();
    let body = serde_json::json!({ "prompt": "a fox, hold" }).to_string();
    let json = [("Content-Type", "application/json")];
    let mut waiting = house.send("POST /v1/images/generations", &json, body.as_bytes());
    let mut events = house.connect();
    let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", house.http());
    events.write_all(head.as_bytes()).expect("it listens");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'running'", "1");
    let silent = silent(&house, b"");
    gets_in(&house);
    house.release_renders();
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).expect("an answer");
    assert_eq!(Reply::parse(&answer).status, 200);
    let mut lines = BufReader::new(events).lines().map(|line| line.expect("events go on"));
    assert!(lines.any(|line| line == "event: done"));
    drop(silent);
}

// faults 111
#[test]
fn with_few_descriptors_events_leave_enough_to_the_queue_and_it_is_told() {
    let mut house = House::new("");
    house.start_with_descriptors(200);
    let house = house;
    let told = "only 36 connections at once: 200 files may be open";
    for command in ["status", "doctor"] {
        let output = said(&house.zimaged(&[command]));
        assert!(output.contains(told), "{command}: {output}");
    }
    let mut streams = silent(&house, b"");
    for stream in &mut streams {
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", house.http());
        let _ = stream.write_all(request.as_bytes());
    }
    gets_in(&house);
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    assert!(!house.log().contains("Too many open files"), "{}", house.log());
}

#[test]
fn a_flood_of_headers_is_refused() {
    let house = House::started("");
    let many: String = (0..1000).map(|i| format!("X-{i}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", house.http());
        let answer = house.exchange(request.as_bytes());
        let is_refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 431");
        assert!(is_refused, "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(house.get("/health").status, 200);
    // With those that every client sends there are two more.
    for (lines, expected) in [(98, 200), (99, 431)] {
        let names: Vec<String> = (0..lines).map(|i| format!("X-{i}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
        assert_eq!(house.ask("GET /health", &headers, b"").status, expected, "{lines} lines");
    }
    // All of them together have 32 KiB.
    for kib in [31, 33, 40, 48] {
        let headers = ["A", "B"].map(|name| (name, "y".repeat(kib * 512)));
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let status = house.ask("GET /health", &headers, b"").status;
        // Who sends on may see the connection's end before the answer.
        let expected: &[u16] = if kib < 32 { &[200] } else { &[431, 0] };
        assert!(expected.contains(&status), "{kib} KiB: {status}");
    }
}

// faults 110
#[test]
fn bodies_that_are_too_long_or_never_come_are_not_waited_for() {
    let house = House::started("");
    let long = vec![b'#'; 2 << 20];
    let toml = [("Content-Type", "application/toml")];
    let refused = house.ask("POST /api/v1/jobs", &toml, &long).status;
    assert!([0, 413].contains(&refused), "{refused}");
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/toml\r\n",
        house.http()
    );
    let promised = format!("{head}Content-Length: 99999999999\r\nConnection: close\r\n\r\nx");
    // Who sends on may see the connection's end before the answer.
    let is_refused = |answer: &[u8]| answer.is_empty() || answer.starts_with(b"HTTP/1.1 413");
    assert!(is_refused(&house.exchange(promised.as_bytes())));
    let endless = [head.as_bytes(), b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"];
    let mut endless = endless.concat();
    for _ in 0..40 {
        endless.extend(b"10000\r\n");
        endless.extend(vec![b'#'; 0x10000]);
        endless.extend(b"\r\n");
    }
    assert!(is_refused(&house.exchange(&endless)));
    let slow = format!("{head}Content-Length: 10\r\nConnection: close\r\n\r\nx");
    assert!(house.exchange(slow.as_bytes()).starts_with(b"HTTP/1.1 408"));
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
}

#[test]
fn silent_senders_hold_up_no_small_body() {
    let house = House::started("");
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n",
        house.http()
    );
    // More than there are turns for large bodies.
    let mut silent: Vec<_> = (0..10).map(|_| house.connect()).collect();
    for stream in &mut silent {
        stream.write_all(format!("{head}Content-Length: 100\r\n\r\n").as_bytes()).unwrap();
    }
    gets_in(&house);
    let began = Instant::now();
    let job = serde_json::json!({ "prompt": "a fox" });
    assert_eq!(house.post("/api/v1/jobs", &job).status, 201);
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
}

#[test]
fn a_body_of_many_small_values_is_refused_before_they_take_memory() {
    let house = House::started("");
    let job = serde_json::json!({ "prompt": "a fox", "x": vec![1; 200_000] });
    for path in ["/api/v1/jobs", "/v1/images/generations", "/sdapi/v1/txt2img"] {
        let refused = house.post(path, &job);
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains("more than 100000 values"), "{path}: {}", refused.text());
    }
}

// faults 113, 114: what lets files out, or changes something, as everything else.
#[test]
fn stars_archives_and_places_in_the_queue_are_no_other_sites_business() {
    let house = House::started("");
    house.post("/api/v1/jobs", &serde_json::json!({ "prompt": "a fox" })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let lines = [
        "PUT /api/v1/renders/1.1/star",
        "DELETE /api/v1/renders/1.1/star",
        "GET /api/v1/pictures.zip",
        "GET /pictures.zip?choose=1.1",
        "POST /queue/star",
        "POST /queue/move",
        "POST /api/v1/queue/move",
        "POST /sdapi/v1/unload-checkpoint",
    ];
    for line in lines {
        for (foreign, status) in [
            (("Origin", "http://evil.example"), 403),
            (("Origin", "null"), 403),
            (("Sec-Fetch-Site", "cross-site"), 403),
            (("Host", "evil.example"), 421),
        ] {
            assert_eq!(house.ask(line, &[foreign], b"").status, status, "{line} {foreign:?}");
        }
    }
    assert_eq!(house.value("SELECT sum(starred) FROM renders"), "0");
}
