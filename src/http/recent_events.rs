//! The newest entries of the queue's log, read once for all who follow it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::preview;
use crate::status::{RenderStatus, WorkerStatus};
use crate::store::{EventRow, Result, Store};

/// So many are kept: more than happen between two looks of whoever keeps up.
const KEPT_MAX: usize = 2000;

/// Read at once.
const BATCH: u32 = 500;

/// How old the last look may be for those who ask now.
const FRESH: Duration = Duration::from_millis(50);

/// An entry as it is sent.
#[derive(Clone)]
pub struct SentEvent {
    pub id: i64,
    pub text: Arc<str>,
}

/// What is being made, as it is sent.
struct SentStep {
    render: Option<RenderStatus>,
    text: Arc<str>,
}

impl SentStep {
    fn of(render: Option<RenderStatus>) -> SentStep {
        let told = json!({ "render": render });
        SentStep { text: format!("event: step\ndata: {told}\n\n").into(), render }
    }
}

impl Default for SentStep {
    fn default() -> SentStep {
        SentStep::of(None)
    }
}

/// What the worker takes of its device, as it is sent.
struct SentMemory {
    worker: WorkerStatus,
    text: Arc<str>,
}

impl SentMemory {
    fn of(worker: WorkerStatus) -> SentMemory {
        let told = match &worker {
            WorkerStatus::Ready { device, used_bytes, .. } => {
                json!({ "device": device, "used_bytes": used_bytes })
            }
            _ => json!({ "device": null, "used_bytes": null }),
        };
        SentMemory { text: format!("event: memory\ndata: {told}\n\n").into(), worker }
    }
}

impl Default for SentMemory {
    fn default() -> SentMemory {
        SentMemory::of(WorkerStatus::Loading)
    }
}

/// That there is another preview, as it is sent; nothing where there is none.
#[derive(Default)]
struct SentPreview {
    looked_at: Option<Instant>,
    /// When its file was written.
    written_at: Option<SystemTime>,
    text: Arc<str>,
}

/// What was read last.
#[derive(Default)]
pub struct RecentEvents {
    /// Without a gap between them.
    kept: VecDeque<SentEvent>,
    read_at: Option<Instant>,
    step: SentStep,
    memory: SentMemory,
    preview: SentPreview,
}

impl RecentEvents {
    /// The first entries after the one with this id. Whoever has read on to what is kept here costs
    /// no question to the database beyond one for all.
    pub async fn after(&mut self, store: &Store, id: i64) -> Result<Vec<SentEvent>> {
        // After a while without anybody who followed, what is kept is of long ago.
        if self.kept.back().is_some_and(|last| last.id < id) {
            self.kept.clear();
        }
        let is_kept = self.kept.front().is_some_and(|first| first.id <= id + 1);
        if !is_kept && !self.kept.is_empty() {
            return Ok(store.events_after(id, BATCH).await?.iter().map(sent).collect());
        }
        let now = Instant::now();
        if self.read_at.is_none_or(|read_at| now - read_at >= FRESH) {
            let last = self.kept.back().map_or(id, |last| last.id);
            self.kept.extend(store.events_after(last, BATCH).await?.iter().map(sent));
            self.kept.drain(..self.kept.len().saturating_sub(KEPT_MAX));
            self.read_at = Some(now);
        }
        let begin = self.kept.partition_point(|event| event.id <= id);
        Ok(self.kept.range(begin..).cloned().collect())
    }

    /// What is being made, written once for all who are told.
    pub fn step(&mut self, render: &Option<RenderStatus>) -> Arc<str> {
        if self.step.render != *render {
            self.step = SentStep::of(render.clone());
        }
        self.step.text.clone()
    }

    /// What the worker takes of its device, written once for all who are told.
    pub fn memory(&mut self, worker: &WorkerStatus) -> Arc<str> {
        if self.memory.worker != *worker {
            self.memory = SentMemory::of(worker.clone());
        }
        self.memory.text.clone()
    }

    /// Which preview there is of what is being made, looked for once for all who are told. The files
    /// are in `folder`.
    pub async fn preview(&mut self, folder: &Path, render: &RenderStatus) -> Arc<str> {
        let now = Instant::now();
        if self.preview.looked_at.is_none_or(|looked_at| now - looked_at >= FRESH) {
            let file = preview::path(folder, render.job_id, render.index);
            let facts = tokio::fs::metadata(file).await;
            let written_at = facts.and_then(|facts| facts.modified()).ok();
            if written_at != self.preview.written_at {
                let text = written_at.map(|_| preview_of(render)).unwrap_or_default();
                self.preview.text = text.into();
            }
            (self.preview.written_at, self.preview.looked_at) = (written_at, Some(now));
        }
        self.preview.text.clone()
    }
}

/// With an address that is relative to that of the stream.
fn preview_of(render: &RenderStatus) -> String {
    let RenderStatus { job_id, index, step, .. } = render;
    let of = format!("{job_id}.{index}");
    let told = json!({ "url": format!("renders/{of}/preview"), "render": of, "step": step });
    format!("event: preview\ndata: {told}\n\n")
}

/// By the rules of server-sent events; JSON has no line ends.
fn sent(row: &EventRow) -> SentEvent {
    let data = serde_json::to_string(row).unwrap_or_default();
    let text = format!("id: {}\nevent: {}\ndata: {data}\n\n", row.id, row.kind);
    SentEvent { id: row.id, text: text.into() }
}
