//! Requests byte by byte, at the real server.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::Target;
use crate::support::House;

/// Longer than every time-out of the server.
const PATIENCE: Duration = Duration::from_secs(50);

/// What the daemon may grow by while it answers: its caches, and what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "PATCH ",
    "DELETE ",
    " HTTP/1.1\r\n",
    " HTTP/2.0\r\n",
    "/api/v1/jobs",
    "/api/v1/renders?after=",
    "/v1/images/generations",
    "/sdapi/v1/txt2img",
    "/api/v1/jobs/9223372036854775808",
    "/pictures/%2e%2e%2f%00",
    "/../../etc/passwd",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\nffffffffffffffff\r\n",
    "Range: bytes=0-,-1\r\n",
    "Content-Type: application/json\r\n",
    "Content-Type: application/toml\r\n",
    "Content-Type: multipart/form-data; boundary=x\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Idempotency-Key: a\r\n",
    "{\"prompt\": \"a\", \"n\": 1000000000}",
    "\r\n",
    "\0",
    "%",
    "\u{202e}",
];

fn request(line: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn corpus() -> Vec<Vec<u8>> {
    let json = "application/json";
    let text = "--x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--x--\r\n";
    vec![
        request("GET /api/v1/status", json, ""),
        request("GET /api/v1/jobs?limit=5&state=done", json, ""),
        request("GET /", "text/html", ""),
        request("POST /api/v1/jobs", "application/toml", "prompt = 'a'\nnot_before = '2999-01-01'"),
        request("POST /api/v1/jobs", json, "{\"prompt\": \"a\", \"not_before\": \"2999-01-01\"}"),
        request("POST /create", "multipart/form-data; boundary=x", text),
        request("POST /v1/images/generations", json, "{\"prompt\": \"a\", \"size\": \"64x64\"}"),
        request("POST /sdapi/v1/txt2img", json, "{\"prompt\": \"a\", \"steps\": 1}"),
    ]
}

#[test]
fn a_request_may_be_anything() {
    // No call waits for its picture for long.
    let house = House::started("[http]\nlisten = '127.0.0.1:0'\nwait_max = '1s'\n");
    let (address, pid) = (house.http(), house.daemon_pid());
    let before = resident_bytes(pid);
    let host = address.clone();
    let target = Target { name: "http", corpus: corpus(), words: WORDS, heap_bytes_max: 16 << 20 };
    target.run(move |bytes| {
        let text = bytes.windows(4).position(|window| window == b"HOST");
        let mut bytes = bytes.to_vec();
        if let Some(at) = text {
            bytes.splice(at..at + 4, host.bytes());
        }
        exchange(&host, &bytes)
    });
    let grown = resident_bytes(pid).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
    assert!(!house.log().contains("panicked"), "{}", house.log());
    assert!(house.zimaged(&["cancel", "--all"]).status.code().is_some());
    // A change may have made a pause of it; without one this says so.
    assert!(house.zimaged(&["resume"]).status.code().is_some());
    house.drop_job("after.toml", "prompt = 'after'\n");
    let sql = "SELECT count(*) FROM history WHERE prompt = 'after' AND state = 'done'";
    house.until_sql(sql, "1");
}

/// The server ends the connection, whatever it was sent, and breaks none of its own answers off.
fn exchange(address: &str, bytes: &[u8]) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let kind = error.kind();
        assert!(kind == std::io::ErrorKind::ConnectionReset, "no end: {error}");
    }
    let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.");
    assert!(is_http, "{}", String::from_utf8_lossy(&answer));
    let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned();
    assert!(!status.starts_with('5') || status == "503", "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
