//! The machine, the model, the folders, and the settings in force.

use axum::extract::State;
use maud::{Markup, html};

use super::super::app::App;
use super::super::blocking::blocking;
use super::super::problem::HttpProblem;
use super::activity::{doing, obstacles};
use super::layout::{PageKind, button, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::config::Config;
use crate::job::Render;
use crate::queue::{FolderRoom, QueueError};
use crate::recent_log;
use crate::spelling;
use crate::status::{Status, WorkerStatus};
use crate::store::WorkerRow;

pub async fn system(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let worker = app.store().last_worker().await?;
    let asked = app.clone();
    let read = move || (asked.config().job_rules(), asked.queue().rooms());
    let (rules, rooms) = blocking(read).await?;
    let defaults = rules.map_err(QueueError::from)?.defaults;
    let content = html! {
        h1 { (words.system) }
        div data-live="live/worker" { (worker_now(words, &app.status())) }
        @if let Some(worker) = &worker {
            section.card { h2 { (words.model) } (model(words, worker)) }
        }
        section.card { h2 { (words.log) } div data-live="live/log" { (log()) } }
        section.card { h2 { (words.folders) } (folders(words, app.config(), &rooms)) }
        section.card { h2 { (words.settings) } (settings(words, app.config(), &defaults)) }
    };
    page(&app, visitor, PageKind::System, content).await
}

/// The newest lines of the log, for pages that are open already.
pub async fn live_log() -> Markup {
    log()
}

/// The newest line comes first: it is seen without scrolling.
fn log() -> Markup {
    html! {
        pre.log tabindex="0" { @for line in recent_log::lines().iter().rev() { (line) "\n" } }
    }
}

/// The worker, for pages that are open already.
pub async fn live_worker(State(app): State<App>, visitor: Visitor) -> Markup {
    worker_now(visitor.words, &app.status())
}

fn worker_now(words: &Words, status: &Status) -> Markup {
    html! {
        section.card {
            h2 { (words.worker) }
            p.live { (doing(words, status)) }
            (obstacles(words, status, None))
            @if let WorkerStatus::Ready { pid, device, used_bytes, .. } = &status.worker {
                dl {
                    dt { (words.device) } dd { (device) }
                    dt { (words.process) } dd { (pid) }
                    dt { (words.used) } dd { (spelling::memory(*used_bytes)) }
                }
            }
            @match status.worker {
                WorkerStatus::Ready { .. } | WorkerStatus::Down { .. } => {
                    (button("release", words.release, &[]))
                }
                WorkerStatus::Released => (button("load", words.load, &[])),
                WorkerStatus::Loading => {}
            }
        }
    }
}

fn model(words: &Words, worker: &WorkerRow) -> Markup {
    let total_bytes = worker.total_bytes.unsigned_abs();
    html! {
        dl {
            dt { (words.model) } dd { (worker.model_name) }
            dt { "SHA-256" } dd { (worker.model_hash) }
            dt { (words.device) } dd {
                (worker.device) @if total_bytes > 0 { ", " (spelling::memory(total_bytes)) }
            }
            dt { (words.load_time) } dd { (words.units.estimated(worker.load_ms.unsigned_abs())) }
        }
    }
}

fn folders(words: &Words, config: &Config, rooms: &[FolderRoom]) -> Markup {
    let file = config
        .file
        .as_ref()
        .map_or_else(|| words.default.to_owned(), |file| file.display().to_string());
    html! {
        dl {
            dt { "daemon.toml" } dd { (file) }
            @for FolderRoom { name, path, free_bytes } in rooms {
                dt { (name) }
                dd {
                    (path.display())
                    @if let Some(bytes) = free_bytes {
                        br; span.quiet { (words.free) ": " (spelling::memory(*bytes)) }
                    }
                }
            }
        }
    }
}

fn settings(words: &Words, config: &Config, defaults: &Render) -> Markup {
    let bytes =
        |bytes: Option<u64>| bytes.map_or_else(|| words.default.to_owned(), spelling::memory);
    html! {
        dl {
            dt { "device.memory_limit" } dd { (bytes(config.memory_limit_bytes)) }
            dt { "device.reserve" } dd { (bytes(config.reserve_bytes)) }
            dt { "defaults" } dd {
                (defaults.width) "×" (defaults.height) ", "
                (defaults.steps) " " (words.of_steps) ", "
                (words.guidance) " " (defaults.recipe.guidance)
            }
            dt { (words.version) } dd { "zimaged " (env!("CARGO_PKG_VERSION")) }
        }
    }
}
