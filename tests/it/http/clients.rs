//! Other programs' own clients against the real daemon: that it speaks their protocols.

use std::process::Command;

use crate::support::places::clients_python;
use crate::support::{House, said};

/// Runs a script with the daemon's address; what it prints.
fn run(house: &House, script: &str) -> String {
    let mut command = Command::new(clients_python());
    command.args(["-c", script, &house.http()]).env_clear().env("HOME", house.path("."));
    let output = command.output().expect("the clients are installed");
    assert!(output.status.success(), "{}\n{}", said(&output), house.log());
    String::from_utf8(output.stdout).unwrap()
}

const OPENAI: &str = r#"
import base64, io, sys
import openai
from PIL import Image
client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none")
print([model.id for model in client.models.list()])
made = client.images.generate(prompt="a fox", n=2, size="128x64", model="gpt-image-2",
                              extra_body={"seed": 5, "steps": 3})
print([Image.open(io.BytesIO(base64.b64decode(one.b64_json))).size for one in made.data])
print(made.model_extra["zimaged"]["seeds"])
stream = client.images.generate(prompt="a fox", stream=True, partial_images=1)
print([event.type for event in stream])
png = io.BytesIO(); Image.new("RGB", (64, 64)).save(png, "PNG")
mask = io.BytesIO(); Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(mask, "PNG")
edit = client.images.edit(image=("a.png", png.getvalue()), mask=("m.png", mask.getvalue()),
                          prompt="a hat", size="64x64")
print(len(edit.data))
try:
    client.images.generate(prompt="a fox", n=11)
except openai.BadRequestError as error:
    print(error.param, error.status_code)
try:
    client.images.generate(prompt="a fox, invalid")
except openai.InternalServerError as error:
    print("failed", error.response.headers["x-should-retry"])
"#;

/// The model shows what it paints once it has made a picture; as many as it takes, because a fast
/// machine is done before anybody looks.
const OPENAI_STREAM: &str = r#"
import base64, io, sys
import openai
from PIL import Image
client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none")
asked = dict(prompt="a red circle", size="128x128", stream=True, partial_images=3)
opened = lambda event: Image.open(io.BytesIO(base64.b64decode(event.b64_json)))
print([event.type for event in client.images.generate(**asked, extra_body={"steps": 2})])
for attempt in range(20):
    *partials, last = client.images.generate(**asked, extra_body={"steps": 20})
    if partials:
        break
print(sorted({event.type for event in partials}), 1 <= len(partials) <= 3)
print([event.partial_image_index for event in partials] == list(range(len(partials))))
print({(event.size, event.output_format, opened(event).size) for event in partials})
print(last.type, opened(last).size, last.usage.total_tokens)
png = io.BytesIO(); Image.new("RGB", (64, 64)).save(png, "PNG")
edit = client.images.edit(image=("a.png", png.getvalue()), prompt="a hat", size="64x64",
                          stream=True, partial_images=1, extra_body={"steps": 2})
print([event.type for event in edit][-1])
"#;

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn openais_own_client_sees_a_picture_while_it_is_made() {
    let mut house = House::with_config("");
    house.start();
    let told = run(&house, OPENAI_STREAM);
    let lines: Vec<&str> = told.lines().collect();
    let expected = [
        "['image_generation.completed']",
        "['image_generation.partial_image'] True",
        "True",
        "{('8x8', 'jpeg', (8, 8))}",
        "image_generation.completed (128, 128) 0",
        "image_edit.completed",
    ];
    assert_eq!(lines, expected);
}

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn openais_own_client_generates_streams_and_edits() {
    let house = House::started("");
    let told = run(&house, OPENAI);
    let lines: Vec<&str> = told.lines().collect();
    let expected = [
        "['fake']",
        "[(128, 64), (128, 64)]",
        "[5, 6]",
        "['image_generation.completed']",
        "1",
        "n 400",
        "failed false",
    ];
    assert_eq!(lines, expected);
    let failed = "SELECT count(*) FROM renders WHERE state = 'failed'";
    assert_eq!(house.value(failed), "1", "asked for once, and not three times");
}

const WEBUI: &str = r#"
import sys
from PIL import Image
import webuiapi
host, port = sys.argv[1].rsplit(":", 1)
api = webuiapi.WebUIApi(host=host, port=int(port))
print(api.get_options()["sd_model_checkpoint"] == api.get_sd_models()[0]["title"])
print([one["name"] for one in api.get_samplers()])
made = api.txt2img(prompt="a fox", seed=5, batch_size=2, width=128, height=64)
print([image.size for image in made.images], made.info["all_seeds"])
again = api.img2img(images=[Image.new("RGB", (64, 64))], prompt="a hat", width=64, height=64)
print(again.image.size)
print(api.get_progress()["progress"])
api.interrupt()
"#;

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn the_web_uis_own_client_generates_and_asks_how_far_it_is() {
    let house = House::started("");
    let told = run(&house, WEBUI);
    let lines: Vec<&str> = told.lines().collect();
    let expected = ["True", "['Euler']", "[(128, 64), (128, 64)] [5, 6]", "(64, 64)", "0.0"];
    assert_eq!(lines, expected);
    assert_eq!(house.value("SELECT max(asked_steps) FROM history"), "2", "the model's own");
}

const PROMETHEUS: &str = r#"
import sys, urllib.request
from prometheus_client.openmetrics.parser import text_string_to_metric_families
text = urllib.request.urlopen(f"http://{sys.argv[1]}/metrics").read().decode()
print(sorted(family.name for family in text_string_to_metric_families(text)))
"#;

#[test]
#[ignore = "needs the image clients in Python (.ci/run installs them)"]
fn prometheus_own_parser_reads_the_metrics() {
    let house = House::started("");
    house.post("/api/v1/jobs", &serde_json::json!({ "prompt": "a fox" })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    let told = run(&house, PROMETHEUS);
    for name in ["zimaged_renders", "zimaged_stage_seconds", "zimaged_http_seconds"] {
        assert!(told.contains(&format!("'{name}'")), "{told}");
    }
}
