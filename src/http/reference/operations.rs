//! The requests that are answered, each with its types.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::http::api::events::Since;
use crate::http::api::jobs::{JobPage, ListJobs, ShowJob, Submit};
use crate::http::api::queue::{Fit, KeptInput, Moving, Pausing, Statistics, ViewRows, WishAnswer};
use crate::http::api::renders::{ListRenders, RenderPage};
use crate::http::sdapi::progress::HowFar;
use crate::queue::control::PauseAnswer;
use crate::queue::{
    Edited, FitAnswer, QueueCapabilities, QueueStatus, Retries, Shown, StarAnswer, Submitted,
};
use crate::store::Cancelled;

/// Makes the schema of a type.
pub type Make = fn(&mut SchemaGenerator) -> Value;

pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub about: &'static str,
    /// The properties of this are what may stand in the query.
    pub query: Option<Make>,
    pub bodies: Vec<(&'static str, Make)>,
    /// Status, media type, and the schema of JSON.
    pub answers: Vec<(u16, &'static str, Option<Make>)>,
}

impl Operation {
    fn query(self, query: Make) -> Operation {
        Operation { query: Some(query), ..self }
    }

    fn body(mut self, kind: &'static str, body: Make) -> Operation {
        self.bodies.push((kind, body));
        self
    }

    fn answer(mut self, status: u16, kind: &'static str, answer: Option<Make>) -> Operation {
        self.answers.push((status, kind, answer));
        self
    }

    /// Success with JSON.
    fn json(self, status: u16, answer: Make) -> Operation {
        self.answer(status, JSON, Some(answer))
    }
}

const JSON: &str = "application/json";
const TOML: &str = "application/toml";
const EVENTS: &str = "text/event-stream";
const FORM: &str = "multipart/form-data";
const PICTURES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// Not behind a name, so that its properties can be seen.
fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

fn object(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "object" })
}

fn list(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "array" })
}

fn anything(_: &mut SchemaGenerator) -> Value {
    json!({})
}

fn text(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "string" })
}

fn file(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "string", "format": "binary" })
}

fn job(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "object", "description": "The keys of a job file.", "required": ["prompt"],
            "properties": { "prompt": { "anyOf": [{ "type": "string" },
                            { "type": "array", "items": { "type": "string" } }] } } })
}

/// What may be changed of what is queued.
fn changes(_: &mut SchemaGenerator) -> Value {
    let words = json!({ "type": "array", "items": { "type": "string" } });
    let time = json!({ "type": ["string", "null"] });
    json!({ "type": "object", "additionalProperties": false, "properties": {
        "priority": { "type": "integer" }, "not_before": time, "not_after": time, "window": time,
        "tags": words, "add_tags": words, "remove_tags": words,
    } })
}

fn ask(method: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation { method, path, about, query: None, bodies: Vec::new(), answers: Vec::new() }
}

fn get(path: &'static str, about: &'static str) -> Operation {
    ask("get", path, about)
}

fn post(path: &'static str, about: &'static str) -> Operation {
    ask("post", path, about)
}

/// All of them but the pages.
pub fn operations() -> Vec<Operation> {
    let ours = [jobs(), renders(), queue(), monitoring(), assistants()];
    let groups = [openai(), sdapi(), sdapi_facts()].into_iter().chain(ours);
    groups.flatten().collect()
}

fn jobs() -> Vec<Operation> {
    vec![
        get("/api/v1/jobs", "Jobs, newest first")
            .query(inline::<ListJobs>)
            .json(200, of::<JobPage>),
        post(
            "/api/v1/jobs",
            "Takes a job in; with dry_run it is only checked, and answered as by `zimaged check`",
        )
        .query(inline::<Submit>)
        .body(JSON, job)
        .body(TOML, text)
        .body(FORM, object)
        .json(201, of::<Submitted>)
        .json(200, object),
        get("/api/v1/jobs/{job}", "A job with its pictures and their attempts")
            .query(inline::<ShowJob>)
            .json(200, of::<Shown>),
        ask("patch", "/api/v1/jobs/{job}", "Changes priority, times and tags of what is queued")
            .body(JSON, changes)
            .json(200, of::<Edited>),
        get("/api/v1/jobs/{job}/text", "The text of a job, as it was sent").answer(200, TOML, None),
        post("/api/v1/jobs/{job}/cancel", "Cancels what has not ended").json(200, of::<Cancelled>),
        post("/api/v1/jobs/{job}/retry", "Renders again what has ended").json(200, of::<Retries>),
    ]
}

fn renders() -> Vec<Operation> {
    let mut picture = get("/api/v1/renders/{render}/picture", "The picture's file");
    for kind in PICTURES {
        picture = picture.answer(200, kind, None);
    }
    vec![
        get("/api/v1/renders", "Pictures, those of the newest jobs first")
            .query(inline::<ListRenders>)
            .json(200, of::<RenderPage>),
        get("/api/v1/renders/{render}", "One picture, with all attempts at it")
            .json(200, of::<Shown>),
        ask("patch", "/api/v1/renders/{render}", "Gives a queued picture another priority")
            .body(JSON, changes)
            .json(200, of::<Edited>),
        post("/api/v1/renders/{render}/cancel", "Cancels one picture").json(200, of::<Cancelled>),
        ask("put", "/api/v1/renders/{render}/star", "Gives a picture that is done a star")
            .json(200, of::<StarAnswer>),
        ask("delete", "/api/v1/renders/{render}/star", "Takes a picture's star")
            .json(200, of::<StarAnswer>),
        get("/api/v1/pictures.zip", "The files of pictures that are done, in one")
            .query(inline::<ListRenders>)
            .answer(200, "application/zip", None),
        get("/api/v1/renders/{render}/settings.toml", "A job that makes it again")
            .answer(200, TOML, None),
        picture,
        get("/api/v1/renders/{render}/thumbnail", "A small copy of the picture").answer(
            200,
            "image/jpeg",
            None,
        ),
        get(
            "/api/v1/renders/{render}/preview",
            "How it looks while it is made; 404 while nothing is known of that",
        )
        .answer(200, "image/jpeg", None),
    ]
}

fn queue() -> Vec<Operation> {
    vec![
        get("/api/v1/status", "How it stands: daemon, worker, queue, jobs folder")
            .json(200, of::<QueueStatus>),
        get("/api/v1/capabilities", "The model, its defaults and limits")
            .json(200, of::<QueueCapabilities>),
        post("/api/v1/queue/pause", "Starts nothing until it is resumed")
            .body(JSON, inline::<Pausing>)
            .json(200, of::<PauseAnswer>),
        post("/api/v1/queue/resume", "Ends the pause").json(200, of::<PauseAnswer>),
        post("/api/v1/queue/move", "Brings a job before another one that waits, or to the end")
            .body(JSON, inline::<Moving>)
            .json(200, of::<Edited>),
        post("/api/v1/worker/release", "Has the model leave the device until the next job")
            .json(202, of::<WishAnswer>),
        post("/api/v1/worker/load", "Has the model loaded before there is a job")
            .json(202, of::<WishAnswer>),
        post("/api/v1/inputs", "Keeps a picture for jobs that begin with it")
            .body("image/*", file)
            .json(201, of::<KeptInput>),
        post("/api/v1/fit", "How a picture would be rendered, and what that needs")
            .body(JSON, inline::<Fit>)
            .json(200, of::<FitAnswer>),
        get("/api/v1/fit/table", "The same for usual sizes on usual cards")
            .query(inline::<Fit>)
            .json(200, of::<Vec<FitAnswer>>),
        get(
            "/api/v1/stats/{view}",
            "Rows of a view: throughput, oom, memory, history, seconds; of NAME.csv as CSV",
        )
        .query(inline::<ViewRows>)
        .json(200, of::<Statistics>),
        get("/api/v1/events", "What happens, as it happens")
            .query(inline::<Since>)
            .answer(200, EVENTS, None),
        get("/api/v1/openapi.json", "This document").json(200, object),
    ]
}

fn openai() -> Vec<Operation> {
    vec![
        post("/v1/images/generations", "OpenAI's: makes pictures, and waits for them")
            .body(JSON, object)
            .json(200, object)
            .answer(200, EVENTS, None)
            .json(202, of::<Submitted>),
        post("/v1/images/edits", "OpenAI's: makes pictures that begin with one")
            .body(FORM, object)
            .json(200, object)
            .answer(200, EVENTS, None)
            .json(202, of::<Submitted>),
        get("/v1/models", "OpenAI's: the models").json(200, object),
        get("/v1/models/{model}", "OpenAI's: one model").json(200, object),
    ]
}

fn sdapi() -> Vec<Operation> {
    let done = |path| post(path, "The web UI's: there is nothing to do for it").json(200, object);
    let mut all = vec![
        post("/sdapi/v1/txt2img", "The web UI's: makes pictures, and waits for them")
            .body(JSON, object)
            .json(200, object)
            .json(202, of::<Submitted>),
        post("/sdapi/v1/img2img", "The web UI's: makes pictures that begin with one")
            .body(JSON, object)
            .json(200, object)
            .json(202, of::<Submitted>),
        post("/sdapi/v1/png-info", "The web UI's: what a picture says of how it was made")
            .body(JSON, object)
            .json(200, object),
        get("/sdapi/v1/progress", "The web UI's: how far its oldest job is")
            .query(inline::<HowFar>)
            .json(200, object),
        post("/sdapi/v1/interrupt", "The web UI's: cancels its oldest job").json(200, object),
        post("/sdapi/v1/skip", "The web UI's: cancels the picture of it that is made")
            .json(200, anything),
        post("/sdapi/v1/options", "The web UI's: takes all and changes nothing")
            .body(JSON, object)
            .json(200, anything),
    ];
    all.extend(
        ["/sdapi/v1/refresh-checkpoints", "/sdapi/v1/refresh-loras", "/sdapi/v1/refresh-vae"]
            .map(done),
    );
    all.push(
        post(
            "/sdapi/v1/unload-checkpoint",
            "The web UI's: the model leaves the device until a job",
        )
        .json(200, object),
    );
    all.push(
        post("/sdapi/v1/reload-checkpoint", "The web UI's: loads the model before there is a job")
            .json(200, object),
    );
    all
}

/// What the web UI's clients ask for before anything else.
fn sdapi_facts() -> Vec<Operation> {
    let objects = [
        "/sdapi/v1/options",
        "/sdapi/v1/cmd-flags",
        "/sdapi/v1/scripts",
        "/sdapi/v1/embeddings",
        "/sdapi/v1/memory",
    ];
    let lists = [
        "/sdapi/v1/sd-models",
        "/sdapi/v1/samplers",
        "/sdapi/v1/schedulers",
        "/sdapi/v1/upscalers",
        "/sdapi/v1/script-info",
        "/sdapi/v1/loras",
        "/sdapi/v1/latent-upscale-modes",
        "/sdapi/v1/sd-vae",
        "/sdapi/v1/hypernetworks",
        "/sdapi/v1/face-restorers",
        "/sdapi/v1/realesrgan-models",
        "/sdapi/v1/prompt-styles",
        "/sdapi/v1/extensions",
    ];
    let object_of = |path| get(path, "The web UI's: what its clients ask for").json(200, object);
    let list_of = |path| get(path, "The web UI's: a list").json(200, list);
    objects.map(object_of).into_iter().chain(lists.map(list_of)).collect()
}

fn monitoring() -> Vec<Operation> {
    vec![
        get("/health", "Whether daemon and database answer; without a token").answer(
            200,
            "text/plain",
            None,
        ),
        get("/ready", "Whether a job would be rendered at its turn").answer(
            200,
            "text/plain",
            None,
        ),
        get("/metrics", "For Prometheus").answer(200, "application/openmetrics-text", None),
    ]
}

fn assistants() -> Vec<Operation> {
    let about = "For language models: the Model Context Protocol, without sessions";
    vec![post("/mcp", about).body(JSON, object).json(200, object)]
}
