//! What the daemon is doing now, in a small file beside the database: for `zimaged status`, `wait`
//! and systemd.
//!
//! The truth about jobs is in the database. So the file need not outlast a power cut, and is not
//! written through to the disk five times a second, as `files::write_atomic` would do.

mod kinds;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::kinds::{HoldKind, ModelTrouble, WorkerEnd};
use crate::clock;
use crate::engine::Stage;
use crate::files;
use crate::intake::IntakeStatus;
use crate::job::lora::Loras;
use crate::problem::printable;

/// Between two writes of the file: steps can follow each other faster than anybody reads.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// The daemon at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The process id of the daemon.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// When it was started (UTC, since the epoch).
    pub started_at_ms: i64,
    /// The time zone of its clock, by which times of day and windows are meant; null where that has
    /// no name.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// How its worker is.
    pub worker: WorkerStatus,
    /// What it renders, if anything.
    pub render: Option<RenderStatus>,
    /// Why nothing is started although jobs wait: a full disk, quiet hours, a hot card.
    pub hold: Option<String>,
    /// daemon.toml wants that hold; else something is wrong.
    #[serde(default)]
    pub hold_is_wanted: bool,
    /// Of what kind that hold is; null where there is none.
    #[serde(default)]
    pub hold_kind: Option<HoldKind>,
    /// Models that renders wait for and that cannot be used now. Other renders go on.
    #[serde(default)]
    pub held_models: Vec<HeldModel>,
    /// Why the machine may go to sleep by itself while work is due; null where it is kept from
    /// that, or that was not tried.
    #[serde(default)]
    pub not_kept_awake: Option<String>,
    /// What waits in the jobs folder, and why.
    #[serde(default)]
    pub intake: IntakeStatus,
    /// Where it answers over HTTP.
    #[serde(default)]
    pub http: HttpStatus,
    /// The SHA-256 of its configuration's file as it was when it was last read and found good; null
    /// where all is default.
    #[serde(default)]
    pub config_sha256: Option<String>,
    /// What became of its configuration when that was last read anew; null where it never was.
    #[serde(default)]
    pub reload: Option<ReloadStatus>,
    /// It ends: nothing more is started, and the picture that is being made stops at its next step.
    #[serde(default)]
    pub stopping: bool,
    /// What a client wants of the idle worker, until the dispatcher takes it.
    #[serde(skip)]
    pub wish: Option<WorkerWish>,
}

/// What can be wanted of a worker that renders nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerWish {
    /// That it leaves the device's memory to other programs until there is work.
    Release,
    /// That it is loaded, although there is no work.
    Load,
}

/// The HTTP face at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HttpStatus {
    /// Where it listens; null where it is off, or cannot.
    pub url: Option<String>,
    /// Why it does not listen although it should; the queue goes on without it.
    pub trouble: Option<String>,
    /// Why fewer are answered at once than usual: this process may have few files open.
    #[serde(default)]
    pub scarcity: Option<String>,
}

/// What became of a configuration that was read while the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReloadStatus {
    /// When it was read (UTC, since the epoch).
    pub at_ms: i64,
    /// Why it is not used, with file, line and key; the one before still counts.
    pub trouble: Option<String>,
    /// Keys that have changed and count after a restart only.
    pub needs_restart: Vec<String>,
}

/// A model that cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeldModel {
    /// As jobs call it.
    pub model: String,
    /// Why, and what mends it.
    pub reason: String,
    /// Of what kind that is.
    #[serde(default)]
    pub trouble: ModelTrouble,
}

impl HeldModel {
    /// For people, in one line.
    pub fn told(&self) -> String {
        let model = if self.model.is_empty() { "of [model]" } else { &self.model };
        printable(&format!("renders wait for the model {model}: {}", self.reason))
    }
}

/// The worker at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WorkerStatus {
    Loading,
    Ready {
        pid: u32,
        device: String,
        used_bytes: u64,
        /// The model's name in daemon.toml; empty for the one of `[model]`.
        #[serde(default)]
        model: String,
    },
    /// Ended in good order, because nothing was rendered for long or a client wanted it; the next
    /// job starts it.
    Released,
    /// Not running; started again after a pause.
    Down {
        reason: String,
        /// Of what kind that is.
        #[serde(default)]
        end: WorkerEnd,
    },
}

/// The running render.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RenderStatus {
    /// The job's id.
    pub job_id: i64,
    /// The position in the job, from 1.
    pub index: u32,
    /// How it is rendered.
    pub rung: String,
    /// What is being done, once something is.
    pub stage: Option<Stage>,
    /// The steps that are done.
    pub step: u32,
    /// All steps.
    pub steps: u32,
    /// What the rung is expected to need of the device's memory.
    #[serde(default)]
    pub predicted_bytes: u64,
    /// How much of that is more than what may be used: no rung is predicted to fit.
    #[serde(default)]
    pub missing_bytes: u64,
    /// The LoRAs that it is made with, with the SHA-256 of their files.
    #[serde(default)]
    pub lora: Loras,
}

impl RenderStatus {
    /// The part of its steps that is done, 0 to 1.
    pub fn begun(&self) -> f64 {
        f64::from(self.step) / f64::from(self.steps.max(1))
    }

    fn line(&self) -> String {
        let RenderStatus { job_id, index, step, steps, rung, lora, .. } = self;
        let with = if lora.0.is_empty() { String::new() } else { format!(" with {lora}") };
        format!("rendering {job_id}.{index}, step {step}/{steps} ({rung}){with}")
    }
}

impl Status {
    /// Why nothing is started although jobs wait and daemon.toml wants no rest.
    pub fn unwanted_hold(&self) -> Option<&str> {
        self.hold.as_deref().filter(|_| !self.hold_is_wanted)
    }

    /// A daemon that has just started.
    pub fn starting(started_at_ms: i64) -> Status {
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at_ms,
            time_zone: clock::zone_name(),
            worker: WorkerStatus::Loading,
            render: None,
            hold: None,
            hold_is_wanted: false,
            hold_kind: None,
            held_models: Vec::new(),
            not_kept_awake: None,
            intake: IntakeStatus::default(),
            http: HttpStatus::default(),
            config_sha256: None,
            reload: None,
            stopping: false,
            wish: None,
        }
    }

    /// One line for people and for systemd.
    pub fn line(&self) -> String {
        let worker = match &self.worker {
            WorkerStatus::Loading => "loading the model".to_owned(),
            WorkerStatus::Ready { device, model, .. } if model.is_empty() => {
                format!("ready on {device}")
            }
            WorkerStatus::Ready { device, model, .. } => format!("ready on {device} with {model}"),
            WorkerStatus::Released => "released: loads on the next job".to_owned(),
            WorkerStatus::Down { reason, .. } => format!("no worker: {reason}"),
        };
        match (&self.hold, &self.render) {
            (_, Some(_)) if self.stopping => "stopping at the picture's next step".to_owned(),
            _ if self.stopping => "stopping".to_owned(),
            (Some(hold), _) => format!("held: {hold}"),
            (None, Some(render)) => render.line(),
            (None, None) => worker,
        }
    }
}

/// Makes what the intake says a part of the daemon's status, until the intake ends.
pub async fn tell_intake(mut intake: watch::Receiver<IntakeStatus>, status: watch::Sender<Status>) {
    loop {
        let told = intake.borrow_and_update().clone();
        status.send_modify(|status| status.intake = told);
        if intake.changed().await.is_err() {
            return;
        }
    }
}

/// The status file of a state folder.
pub fn path(state: &Path) -> PathBuf {
    state.join("status.json")
}

/// More than any daemon writes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the daemon wrote last; `None` when there is no readable file.
pub fn read(state: &Path) -> Option<Status> {
    serde_json::from_slice(&files::read_whole(&path(state), FILE_BYTES_MAX).ok()?).ok()
}

/// Writes every change to the file until `stop`, and then that the daemon ends.
pub async fn publish(state: PathBuf, mut status: watch::Receiver<Status>, stop: CancellationToken) {
    let mut was_written = true;
    loop {
        let now = status.borrow_and_update().clone();
        let written = write(&state, &now);
        if let (Err(error), true) = (&written, was_written) {
            tracing::warn!(%error, "cannot write the status file");
        }
        was_written = written.is_ok();
        tokio::select! {
            changed = status.changed() => if changed.is_err() { break },
            () = stop.cancelled() => break,
        }
        tokio::time::sleep(WRITE_INTERVAL).await;
    }
    let last = Status { stopping: true, ..status.borrow().clone() };
    // Where that cannot be written it says what was; a reader checks the instance lock as well.
    let _ = write(&state, &last);
}

/// Takes the file away, once there is nothing to be said any more.
pub fn remove(state: &Path) {
    // A file that is left behind is read by nobody: see `publish`.
    let _ = std::fs::remove_file(path(state));
}

fn write(state: &Path, status: &Status) -> io::Result<()> {
    let (path, text) = (path(state), serde_json::to_vec_pretty(status)?);
    files::put(&path, &text).map(drop).or_else(|_| overwrite(&path, &text))
}

/// For a full disk, which may be just what is to be told: takes no more room than the file has
/// already.
fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = files::open_plain_to_write(path, OFlags::empty())?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_where_no_new_file_can_be_made() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let held = Status { hold: Some("the disk is full".to_owned()), ..Status::starting(1) };
        write(state.path(), &held).expect("a writable folder");
        // As good as a full disk, and works everywhere.
        std::fs::create_dir(state.path().join("status.json.part")).expect("a writable folder");
        let shorter = Status::starting(2);
        write(state.path(), &shorter).expect("written in place");
        assert_eq!(read(state.path()), Some(shorter));
    }
}
