//! The messages between supervisor and worker: one JSON object a line, requests on the worker's
//! standard input, events on a private copy of its standard output. The end of the input tells the
//! worker to exit.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::attempt::{Failure, Made};
use crate::card::CardReading;
use crate::engine::provenance::{PartLoad, PartOrigin};
use crate::engine::{Backend, DeviceChoice, EngineKind, MemoryReading, ModelPlace, Recipe, Stage};
use crate::job::{Format, Render};
use crate::ladder::{Capabilities, Prefer, Rung};
use crate::output::metadata::QueueFacts;
use crate::planner::Allowance;

/// Both sides must say the same number: a worker of another version is never used.
pub const PROTOCOL_VERSION: u32 = 7;

/// The longest line either side accepts; a prompt is at most 64 KiB.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The first request, once: load the model.
    Load(Box<Load>),
    Render(Box<RenderRequest>),
    /// Stop this attempt at the next step; ignored when it is not the running one.
    Cancel {
        attempt_id: i64,
    },
    /// Say what memory there is now, when no render is running.
    Memory,
    /// Say how warm the card is, and what else its driver tells, when no render is running.
    Card,
}

/// Which engine to load, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub engine: EngineKind,
    /// Where the model is; for the fake engine, the folder of its script and its counts.
    pub model: ModelPlace,
    pub device: DeviceChoice,
    pub allowance: Allowance,
    /// The render that the weights are made ready for.
    pub usual: Render,
    pub prefer: Prefer,
    /// Where embeddings of prompts are kept.
    pub embeddings_path: PathBuf,
    /// Where small copies of pictures are kept.
    pub thumbnails_path: PathBuf,
    /// Where it is shown how the running picture looks.
    pub previews_path: PathBuf,
    /// The file that the hashes of weight files are cached in.
    pub hashes_path: PathBuf,
    /// See [`super::last_word`].
    pub last_word_path: PathBuf,
    /// The file that the speeds of devices are kept in.
    pub speeds_path: PathBuf,
}

impl Load {
    /// What a render may use of a device in this state, its weights included; `None` where nobody
    /// knows.
    pub fn budget_bytes(&self, memory: &MemoryReading) -> Option<u64> {
        let available_bytes = memory.free_bytes.map(|free_bytes| memory.used_bytes + free_bytes);
        self.allowance.budget_bytes(available_bytes, memory.total_bytes)
    }
}

/// One attempt, ready to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenderRequest {
    pub attempt_id: i64,
    pub recipe: Recipe,
    pub rung: Rung,
    pub format: Format,
    /// Where the finished picture is written and fsynced; lies on the output folder's filesystem.
    pub picture_path: PathBuf,
    /// Where finished latents are kept, and taken from when they fit the recipe, the size and the
    /// steps.
    pub latents_path: PathBuf,
    /// Where pictures as input are kept, by the hashes that the recipe has.
    pub inputs_path: PathBuf,
    /// The folder of the LoRAs that the recipe names.
    pub loras_path: PathBuf,
    /// Prompts of renders that come after this one, where that could help.
    pub next_prompts: Vec<String>,
    /// For how long the first pictures after a load may wait for the model's hash, which each is to
    /// say: all of them together, counted from the first one.
    pub hash_wait_ms: u64,
    /// What the picture is to say of the queue, beside what the engine knows.
    pub queue: QueueFacts,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WorkerEvent {
    /// The first message, before the model is loaded.
    Hello {
        protocol: u32,
        version: String,
    },
    Loaded(Box<Loaded>),
    /// The model cannot be loaded, or its device not be trusted; the worker exits after saying so.
    LoadFailed {
        message: String,
        /// Its files are wrong: no other worker could load it before a user has mended them.
        is_wrong_model: bool,
    },
    /// The answer to [`Request::Memory`].
    Memory(MemoryReading),
    /// The answer to [`Request::Card`]: nothing of what no card or no library tells.
    Card(CardReading),
    Stage {
        attempt_id: i64,
        stage: Stage,
    },
    Step {
        attempt_id: i64,
        step: u32,
        steps: u32,
    },
    /// The picture is made, and the device free for the next request. Now it is written, of which
    /// [`WorkerEvent::Done`] or [`WorkerEvent::Failed`] tells, while the next one is rendered. The
    /// picture before it has been written by now: never more than one is.
    Rendered {
        attempt_id: i64,
    },
    Done(Done),
    Failed(Failed),
    /// The model's hash is known now. It comes at most once, and only where [`Loaded`] had none.
    ModelHashed(HashedModel),
}

/// What the content of a model's weights is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HashedModel {
    /// Of all of them together.
    pub model_hash: String,
    pub parts: Vec<PartOrigin>,
}

/// The model is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    pub device: String,
    pub model_name: String,
    /// The hash of the weights' content; `None` where [`WorkerEvent::ModelHashed`] will tell it.
    pub model_hash: Option<String>,
    /// What its parts are, as far as that is known.
    pub parts: Vec<PartOrigin>,
    /// Stands for the hash until it is known, on this machine.
    pub fingerprint: String,
    pub load_ms: u64,
    /// The same by part, as far as that is known.
    pub part_loads: Vec<PartLoad>,
    pub capabilities: Capabilities,
    pub backend: Backend,
    /// At idle, with the model loaded.
    pub memory: MemoryReading,
}

impl Loaded {
    /// What the database calls the model as long as its hash is not known.
    pub fn provisional_hash(&self) -> String {
        format!("unhashed:{}", self.fingerprint)
    }

    /// What the database calls the model now.
    pub fn known_hash(&self) -> String {
        self.model_hash.clone().unwrap_or_else(|| self.provisional_hash())
    }
}

/// A picture stands at `picture_path`, written and fsynced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub attempt_id: i64,
    pub made: Made,
}

/// An attempt that made no picture. The worker goes on unless it says that it has died.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    pub attempt_id: i64,
    pub failure: Failure,
}
