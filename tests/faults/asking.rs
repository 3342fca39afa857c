//! Requests to a daemon that may die at any moment.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;

use crate::support::House;
use crate::support::http::Reply;

/// A request with the token; `None` where nobody answers, or not to the end.
pub fn ask(house: &House, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
    let status: Value =
        serde_json::from_slice(&fs::read(house.path("state/status.json")).ok()?).ok()?;
    let address = status["http"]["url"].as_str()?.strip_prefix("http://")?.to_owned();
    let token = fs::read_to_string(house.path("state/http-token")).ok()?;
    let mut head = format!(
        "{line} HTTP/1.1\r\nConnection: close\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n",
        token.trim(),
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let answer = exchange(&address, &[head.as_bytes(), b"\r\n", body].concat()).ok()?;
    Some(Reply::parse(&answer)).filter(|reply| reply.status != 0)
}

fn exchange(address: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
