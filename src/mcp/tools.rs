//! What can be asked, and how it is answered.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model as mcp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::job::origin::Api;
use crate::output::KnownPictures;
use crate::queue::{ApiJob, FitQuestion, Queue, QueueError, Which, fit};
use crate::spelling::plain;
use crate::store::{PictureFilter, Selection};
use crate::thumbnails::Thumbnails;

/// What jobs are called.
const NAME: &str = "mcp.toml";

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(200);

/// So long is waited where nothing is said, and at the most: clients give up by themselves.
const WAIT_S: u64 = 60;
const WAIT_S_MAX: u64 = 600;

/// So many pictures of a job are told.
const PICTURES_MAX: u32 = 100;

/// One thing that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Submit,
    Check,
    Fit,
    Status,
    Wait,
    Cancel,
    Show,
}

/// An answer.
pub struct Answered {
    pub facts: Value,
    /// A picture, as JPEG in base64.
    pub picture: Option<String>,
}

impl Tool {
    pub const ALL: [Tool; 7] =
        [Tool::Submit, Tool::Check, Tool::Fit, Tool::Status, Tool::Wait, Tool::Cancel, Tool::Show];

    pub fn name(self) -> &'static str {
        match self {
            Tool::Submit => "submit",
            Tool::Check => "check",
            Tool::Fit => "fit",
            Tool::Status => "status",
            Tool::Wait => "wait",
            Tool::Cancel => "cancel",
            Tool::Show => "show",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Tool::Submit => "Put a job into the queue; answers at once with the job's id",
            Tool::Check => "What a job would be: its pictures, how long they take, what is wrong",
            Tool::Fit => "How a picture of a size would be rendered on this device, or on a card",
            Tool::Status => "What the daemon does, what waits, and how long that takes",
            Tool::Wait => "Wait until a job has ended, or some time has passed; tells its pictures",
            Tool::Cancel => "Cancel a job like 3, or one of its pictures like 3.1",
            Tool::Show => "One picture like 3.1: a small copy of it, and all that is known of it",
        }
    }

    /// As clients are told of it.
    pub fn described(self) -> mcp::Tool {
        let schema = match self.schema() {
            Value::Object(schema) => schema,
            _ => Map::new(),
        };
        mcp::Tool::new(self.name(), self.about(), schema)
    }

    /// What may be said with it.
    fn schema(self) -> Value {
        let number = json!({ "type": "integer" });
        let told = |kind: &str, about: &str| json!({ "type": kind, "description": about });
        let (properties, required): (Value, &[&str]) = match self {
            Tool::Submit | Tool::Check => (job_keys(), &["prompt"]),
            Tool::Fit => {
                let vram_bytes = told("integer", "Of a card, in place of this device");
                let turbo = told("boolean", "The full-size model");
                let keys = json!({
                    "width": number, "height": number, "vram_bytes": vram_bytes, "turbo": turbo,
                });
                (keys, &[])
            }
            Tool::Status => (json!({}), &[]),
            Tool::Wait => {
                let seconds = json!({ "type": "integer", "maximum": WAIT_S_MAX });
                (json!({ "job": number, "seconds": seconds }), &["job"])
            }
            Tool::Cancel | Tool::Show => {
                (json!({ "id": told("string", "A job like 3, or a picture like 3.1") }), &["id"])
            }
        };
        json!({ "type": "object", "properties": properties, "required": required })
    }
}

/// The usual keys of a job file; others may be said, too.
fn job_keys() -> Value {
    let number = json!({ "type": "integer" });
    let text = json!({ "type": "string" });
    let prompts = json!([text, { "type": "array", "items": text }]);
    json!({
        "prompt": { "anyOf": prompts, "description": "One, or several" },
        "negative_prompt": text,
        "width": number, "height": number, "steps": number,
        "guidance": { "type": "number" },
        "seed": number,
        "num_images": { "type": "integer", "description": "Of each prompt" },
        "priority": number,
        "not_before": { "type": "string", "description": "22:00, or a date and a time" },
        "tags": { "type": "array", "items": text },
        "on_oom": { "type": "string", "enum": ["downgrade", "offload", "fail"] },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfId {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfWait {
    job: i64,
    seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OfFit {
    width: Option<u32>,
    height: Option<u32>,
    vram_bytes: Option<u64>,
    turbo: bool,
}

/// Answers what is asked.
pub async fn call(
    queue: &Queue<'_>,
    config: &Config,
    tool: Tool,
    arguments: Value,
) -> Result<Answered, QueueError> {
    match tool {
        Tool::Submit => told(&queue.take_api_job(&job(arguments)?).await?.0),
        Tool::Check => told(&queue.check_api_job(&job(arguments)?).await?),
        Tool::Fit => {
            let OfFit { width, height, vram_bytes, turbo } = read(arguments)?;
            let size = width.zip(height);
            let asked =
                FitQuestion { size, device_bytes: vram_bytes, turbo, ..FitQuestion::default() };
            told(&fit(config, Some(queue.store()), &asked).await?)
        }
        Tool::Status => told(&queue.status().await?),
        Tool::Wait => {
            let OfWait { job, seconds } = read(arguments)?;
            wait(queue, job, Duration::from_secs(seconds.unwrap_or(WAIT_S).min(WAIT_S_MAX))).await
        }
        Tool::Cancel => {
            let which = Which::Named(vec![selection(arguments)?]);
            told(&queue.cancel(&which).await?)
        }
        Tool::Show => show(queue, config, selection(arguments)?).await,
    }
}

fn told(facts: &impl serde::Serialize) -> Result<Answered, QueueError> {
    let facts = serde_json::to_value(facts);
    let facts = facts.map_err(|error| QueueError::NoAnswer(error.to_string()))?;
    Ok(Answered { facts, picture: None })
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, QueueError> {
    serde_json::from_value(arguments).map_err(|error| QueueError::WrongWish(plain(&error)))
}

/// The keys of a job, as its text.
fn job(arguments: Value) -> Result<ApiJob, QueueError> {
    let table: toml::Table = read(arguments)?;
    let text = toml::to_string(&table).map_err(|error| QueueError::WrongWish(error.to_string()))?;
    Ok(ApiJob { api: Api::Own, name: NAME.to_owned(), text, key: None, is_again: false })
}

fn selection(arguments: Value) -> Result<Selection, QueueError> {
    let OfId { id } = read(arguments)?;
    id.parse().map_err(QueueError::WrongWish)
}

async fn wait(queue: &Queue<'_>, job: i64, time: Duration) -> Result<Answered, QueueError> {
    let deadline = Instant::now() + time;
    loop {
        let row = queue.store().job(job).await?;
        if row.has_ended() || Instant::now() >= deadline {
            let filter = PictureFilter { limit: Some(PICTURES_MAX), ..PictureFilter::default() };
            return told(&queue.show(Selection::Job(job), &filter).await?);
        }
        sleep(LOOK).await;
    }
}

async fn show(queue: &Queue<'_>, config: &Config, of: Selection) -> Result<Answered, QueueError> {
    let filter = PictureFilter { limit: Some(PICTURES_MAX), ..PictureFilter::default() };
    let shown = queue.show(of, &filter).await?;
    let answered = told(&shown)?;
    let [picture] = shown.pictures.as_slice() else { return Ok(answered) };
    let Some(file) = picture.file() else { return Ok(answered) };
    let (outputs, mut thumbnails) =
        (config.outputs.clone(), Thumbnails::new(&config.thumbnails_path()));
    let small = tokio::task::spawn_blocking(move || {
        thumbnails.get(&file.sha256, || KnownPictures::default().open(&outputs, &file))
    });
    let small = small.await.map_err(|error| QueueError::NoAnswer(error.to_string()))?;
    let small = small.map_err(|error| QueueError::NoAnswer(format!("the picture: {error}")))?;
    Ok(Answered { picture: Some(STANDARD.encode(small)), ..answered })
}
