//! The Model Context Protocol, spoken by its own client in Python, and over HTTP by clients that
//! have no business there.

use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::Reply;
use crate::support::places::clients_python;
use crate::support::{House, said};

const CLIENT: &str = r#"
import asyncio, base64, io, json, sys
import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

def server():
    if sys.argv[1].startswith("http:"):
        headers = {"Authorization": f"Bearer {sys.argv[2]}"}
        return streamable_http_client(sys.argv[1], http_client=httpx2.AsyncClient(headers=headers))
    args = ["--config", sys.argv[2], "mcp"]
    return stdio_client(StdioServerParameters(command=sys.argv[1], args=args))

async def main():
    async with server() as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        print(sorted(tool.name for tool in tools))
        async def call(name, **arguments):
            answer = await session.call_tool(name, arguments)
            said = answer.model_dump()
            failed = said.get("is_error", said.get("isError"))
            text = answer.content[0].text
            return failed, text if failed else json.loads(text), answer.content
        failed, checked, _ = await call("check", prompt="a fox", num_images=2)
        print(failed, len(checked["renders"]))
        failed, told, _ = await call("check", prompt="a fox", width=17)
        print(failed, "width" in told)
        _, submitted, _ = await call("submit", prompt=["a fox", "an owl"], seed=5)
        job = submitted["jobs"][0]["job"]
        _, waited, _ = await call("wait", job=job, seconds=60)
        print([picture["state"] for picture in waited["pictures"]])
        _, shown, content = await call("show", id=f"{job}.2")
        picture = Image.open(io.BytesIO(base64.b64decode(content[1].data)))
        print(shown["pictures"][0]["prompt"], picture.format, picture.size)
        _, later, _ = await call("submit", prompt="later", not_before="2099-01-01 10:00")
        later = later["jobs"][0]["job"]
        _, waited, _ = await call("wait", job=later, seconds=0)
        print(waited["job"]["state"])
        _, cancelled, _ = await call("cancel", id=str(later))
        print(cancelled["cancelled"])
        failed, told, _ = await call("cancel", id=str(later))
        print(failed, told[:3] != "")
        _, status, _ = await call("status")
        print(status["running"])
        _, fit, _ = await call("fit", vram_bytes=8 << 30, turbo=True)
        print(fit["rung"]["width"])
        try:
            print((await call("explode"))[0])
        except Exception as error:
            print("no tool")

asyncio.run(main())
"#;

/// What the client prints that is told these two words of where the server is.
fn told(house: &House, place: &str, how: &str) -> String {
    let mut command = Command::new(clients_python());
    command.args(["-c", CLIENT, place, how]).current_dir(house.path("."));
    let output = command.output().expect("the client is installed");
    assert!(output.status.success(), "{}\n{}", said(&output), house.log());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const EXPECTED: [&str; 11] = [
    "['cancel', 'check', 'fit', 'show', 'status', 'submit', 'wait']",
    "False 2",
    "True True",
    "['done', 'done']",
    "an owl JPEG (64, 64)",
    "queued",
    "1",
    "True True",
    "True",
    "1024",
    "no tool",
];

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn a_language_model_checks_submits_waits_looks_and_cancels() {
    let house = House::started("");
    let config = house.path("daemon.toml");
    let told = told(&house, env!("CARGO_BIN_EXE_zimaged"), config.to_str().expect("a name"));
    assert_eq!(told.lines().collect::<Vec<_>>(), EXPECTED);
}

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn over_http_it_does_the_same_behind_the_token() {
    let house = House::started(BEHIND_TOKEN);
    let told = told(&house, &format!("http://{}/mcp", house.http()), &token(&house));
    assert_eq!(told.lines().collect::<Vec<_>>(), EXPECTED);
    assert!(!house.log().contains("serve_inner"), "{}", house.log());
}

const BEHIND_TOKEN: &str = "[http]\nlisten = '127.0.0.1:0'\ntoken = 'always'\n";

fn token(house: &House) -> String {
    std::fs::read_to_string(house.path("state/http-token")).expect("made").trim().to_owned()
}

/// What every client of the protocol says.
const HEADERS: [(&str, &str); 2] =
    [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];

fn call(tool: &str, arguments: Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

fn post(house: &House, more: &[(&str, &str)], body: &str) -> Reply {
    house.ask("POST /mcp", &[&HEADERS, more].concat(), body.as_bytes())
}

/// The answer of a tool.
fn answered(reply: Reply) -> Value {
    let told = reply.ok().json();
    let text = told["result"]["content"][0]["text"].as_str().map(str::to_owned);
    serde_json::from_str(&text.unwrap_or_else(|| panic!("{told}"))).expect("JSON")
}

#[test]
fn each_request_over_http_is_answered_by_itself() {
    let house = House::started("");
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "a test", "version": "1" } } });
    let begun = post(&house, &[], &initialize.to_string()).ok();
    assert_eq!(begun.header("content-type"), Some("application/json"));
    assert_eq!(begun.header("mcp-session-id"), None);
    assert_eq!(begun.json()["result"]["serverInfo"]["name"], "zimaged");
    let submitted = answered(post(&house, &[], &call("submit", json!({ "prompt": "a fox" }))));
    assert_eq!(submitted["jobs"][0]["job"], 1);
    let waited = answered(post(&house, &[], &call("wait", json!({ "job": 1 }))));
    assert_eq!(waited["pictures"][0]["state"], "done");
    assert_eq!(house.get("/mcp").status, 405, "no stream is held open");
    assert_eq!(house.ask("DELETE /mcp", &[], b"").status, 405);
    let metrics = house.get("/metrics").ok().text();
    assert!(metrics.contains(r#"route="/mcp",method="POST",status="200"} 3"#), "{metrics}");
}

#[test]
fn over_http_strangers_are_refused_as_everywhere() {
    let house = House::started(BEHIND_TOKEN);
    let bearer = format!("Bearer {}", token(&house));
    let submit = call("submit", json!({ "prompt": "a fox" }));
    let ask = |more: &[(&str, &str)]| post(&house, more, &submit).status;
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[("Authorization", "Bearer 0123456789abcdef")]), 401);
    let known = ("Authorization", bearer.as_str());
    for (foreign, status) in [
        (("Host", "evil.example"), 421),
        (("Origin", "http://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Sec-Fetch-Site", "cross-site"), 403),
    ] {
        assert_eq!(ask(&[known, foreign]), status, "{foreign:?}");
    }
    let plain = house.ask("POST /mcp", &[known, ("Content-Type", "text/plain")], b"{}");
    assert_eq!(plain.status, 415);
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
    assert_eq!(ask(&[known]), 200);
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "1");
}

#[test]
fn what_is_no_message_is_told_and_what_is_too_long_is_not_read() {
    let house = House::started("");
    for wrong in ["", "{", "[]", "{\"jsonrpc\": \"2.0\"}", "null"] {
        let status = post(&house, &[], wrong).status;
        assert!((400..500).contains(&status), "{wrong}: {status}");
    }
    let long = call("check", json!({ "prompt": "a".repeat(2 << 20) }));
    assert!([0, 413].contains(&post(&house, &[], &long).status));
    let told = answered(post(&house, &[], &call("check", json!({ "prompt": "a fox" }))));
    assert_eq!(told["renders"].as_array().map(Vec::len), Some(1));
}

#[test]
fn who_waits_takes_a_place_and_gives_it_back_by_going_away() {
    let house = House::started("");
    house.drop_job("later.toml", "prompt = 'a fox'\nnot_before = 2099-01-01T10:00:00\n");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    let body = call("wait", json!({ "job": 1, "seconds": 600 }));
    let [kind, accept] = HEADERS.map(|(name, value)| format!("{name}: {value}\r\n"));
    let host = house.http();
    let length = body.len();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{kind}{accept}Content-Length: {length}\r\n\r\n{body}"
    );
    let ask = |_| {
        let mut stream = house.connect();
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    };
    let waiting: Vec<_> = (0..17).map(ask).collect();
    let refused = r#"route="/mcp",method="POST",status="503"} 1"#;
    house.until("one is refused, and all others are in", || {
        house.get("/metrics").text().contains(refused).then_some(())
    });
    let status = || post(&house, &[], &call("status", json!({}))).status;
    assert_eq!(status(), 503);
    drop(waiting);
    house.until("there are places again", || (status() == 200).then_some(()));
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
}
