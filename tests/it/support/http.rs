//! A client of the HTTP face that sends exactly what a test says, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::House;

/// Longer than every time-out of the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A part of a form: its name, what its file is called, where it has one, and its content.
pub type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The answer must be a success.
    pub fn ok(self) -> Reply {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self
    }

    /// What a server has sent until it closed the connection.
    pub fn parse(bytes: &[u8]) -> Reply {
        let mut end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        end = (end + 4).min(bytes.len());
        let mut body = bytes[end..].to_vec();
        if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
            body = unchunked(&body);
        }
        Reply { status, headers, body }
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).ok();
        let length = length.and_then(|length| usize::from_str_radix(length, 16).ok()).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + length).filter(|_| length > 0) else { break };
        whole.extend_from_slice(chunk);
        body = &body[end + 2 + length + 2..];
    }
    whole
}

impl House {
    /// Where the running daemon answers, as an address.
    pub fn http(&self) -> String {
        let url = self.until("the HTTP face listens", || {
            let status = std::fs::read(self.path("state/status.json")).ok()?;
            let status: Value = serde_json::from_slice(&status).ok()?;
            status["http"]["url"].as_str().map(str::to_owned)
        });
        url.strip_prefix("http://").expect("an address").to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Sends these bytes as they are; what comes back until the end.
    pub fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // It may have answered and closed before all was sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// A request with these headers beside those that every client sends.
    pub fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        Reply::parse(&self.exchange(&self.request(line, headers, body)))
    }

    /// Sends such a request, and leaves the answer to the test.
    pub fn send(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&self.request(line, headers, body)).expect("it listens");
        stream
    }

    fn request(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.http());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || line.starts_with("POST") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        self.ask(&format!("POST {path}"), &headers, body.as_bytes())
    }

    /// A form with files, as browsers and other clients send it.
    pub fn post_form(&self, path: &str, parts: &[Part]) -> Reply {
        self.ask(&format!("POST {path}"), &[FORM], &form(parts))
    }
}

/// What a body of [`form`] is.
pub const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=x");

/// The body of a form.
pub fn form(parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        let head = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--x--\r\n");
    body
}
