//! The Model Context Protocol, spoken by its own client in Python.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{House, said};

/// What `.ci/run` puts the client into.
fn python() -> PathBuf {
    let named = std::env::var_os("ZIMAGED_HTTP_CLIENTS").map(PathBuf::from);
    let ours = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/http-clients");
    named.unwrap_or_else(ours).join("bin/python")
}

const CLIENT: &str = r#"
import asyncio, base64, io, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from PIL import Image

async def main():
    server = StdioServerParameters(command=sys.argv[1], args=["--config", sys.argv[2], "mcp"])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
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

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn a_language_model_checks_submits_waits_looks_and_cancels() {
    let house = House::started("");
    let mut command = Command::new(python());
    command.args(["-c", CLIENT, env!("CARGO_BIN_EXE_zimaged")]).arg(house.path("daemon.toml"));
    let output = command.current_dir(house.path(".")).output().expect("the client is installed");
    assert!(output.status.success(), "{}\n{}", said(&output), house.log());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = [
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
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}
