//! What is rendered, what waits, and what may be done about it.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::layout::{PageKind, page};
use super::visitor::{Visitor, back};
use super::words::Words;
use crate::job::state::State as JobState;
use crate::moment;
use crate::queue::{Given, QueueStatus, Which};
use crate::store::{JobFilter, JobRow, Selection};

/// More jobs than these are counted only.
const JOBS_MAX: u32 = 100;

/// So far one click moves a job before or behind others.
const PRIORITY_STEP: i64 = 1;

/// A button's fields.
#[derive(Deserialize)]
pub struct Pressed {
    /// A job, like `12`, or one of its pictures, like `12.3`.
    #[serde(default)]
    id: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    priority: i64,
}

pub async fn queue(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let content = html! {
        h1 { (words.queue) }
        div data-live="live/queue" { (work(&app, words).await?) }
    };
    page(&app, visitor, PageKind::Queue, content).await
}

/// The part of the page that changes, for pages that are open already.
pub async fn live_queue(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    work(&app, visitor.words).await
}

/// Does what a button says, and leads back to its page.
pub async fn press(
    State(app): State<App>,
    Path(action): Path<String>,
    headers: HeaderMap,
    axum::Form(pressed): axum::Form<Pressed>,
) -> Result<Response, HttpProblem> {
    let queue = app.queue();
    match action.as_str() {
        "pause" => drop(queue.pause(&pressed.reason).await?),
        "resume" => drop(queue.resume().await?),
        "cancel" => drop(queue.cancel(&named(&pressed.id)?).await?),
        "retry" => drop(queue.retry(&named(&pressed.id)?).await?),
        "priority" => {
            let priority = Given::number("priority", "priority", &pressed.priority.to_string());
            queue.edit(&named(&pressed.id)?, &[priority]).await?;
        }
        _ => return Err(HttpProblem::not_found("there is no such button")),
    }
    // The buttons' addresses lie one level below the pages.
    let back = [(header::LOCATION, back(&headers, "../"))];
    Ok((StatusCode::SEE_OTHER, back).into_response())
}

fn named(id: &str) -> Result<Which, HttpProblem> {
    let selection: Selection = id.parse().map_err(|why: String| HttpProblem::bad(why))?;
    Ok(Which::Named(vec![selection]))
}

async fn work(app: &App, words: &Words) -> Result<Markup, HttpProblem> {
    let status = app.queue().status().await?;
    let filter = JobFilter { state: Some(JobState::Queued), ..JobFilter::default() };
    let waiting = app.store().jobs(&filter, JOBS_MAX).await?;
    Ok(html! {
        section.card { h2 { (words.now) } (now(words, &status)) }
        section.card { h2 { (words.jobs_waiting) } (jobs(words, &status.begun, &waiting)) }
        @if !status.rejected.is_empty() {
            section.card {
                h2 { (words.set_aside) }
                ul { @for file in &status.rejected {
                    li { strong { (file.file_name) } ": " (file.reason) }
                } }
            }
        }
    })
}

fn now(words: &Words, status: &QueueStatus) -> Markup {
    let line = status.daemon.as_ref().map(|daemon| daemon.line());
    html! {
        p { (line.unwrap_or_default()) }
        @if let Some(done_at_ms) = status.outlook.done_at_ms.filter(|_| status.outlook.renders > 0) {
            p { (words.all_done_at) " " strong { (moment::soon(done_at_ms)) }
                " (" (status.outlook.renders) " " (words.pictures) ")" }
        }
        @match &status.paused {
            Some(pause) => {
                p.warn { (words.paused) ": " (pause.reason) }
                (button("resume", words.resume, &[]))
            }
            None => form.row method="post" action="queue/pause" {
                label { (words.pause_reason) " " input name="reason" autocomplete="off"; }
                button { (words.pause) }
            },
        }
    }
}

fn jobs(words: &Words, begun: &[JobRow], waiting: &[JobRow]) -> Markup {
    if begun.is_empty() && waiting.is_empty() {
        return html! { p.quiet { (words.nothing_waits) } };
    }
    // As they are rendered: higher priority first, then in the order of coming.
    let mut ordered: Vec<&JobRow> = begun.iter().chain(waiting).collect();
    ordered.sort_by_key(|job| (-job.priority, job.job));
    html! {
        div.scroll { table {
            thead { tr {
                th { (words.job) } th { (words.file) } th { (words.state) } th.number { (words.done) }
                th.number { (words.priority) } th { (words.starts) } th { (words.tags) } th {}
            } }
            tbody { @for job in ordered { (row(words, job)) } }
        } }
    }
}

fn row(words: &Words, job: &JobRow) -> Markup {
    let id = job.job.to_string();
    let at = |priority: i64| [("id", id.clone()), ("priority", priority.to_string())];
    html! {
        tr {
            td { a href={ "gallery?job=" (id) } { (id) } }
            td { (job.file_name) }
            td { (words.state(job.state)) }
            td.number { (job.done) "/" (job.renders) }
            td.number { (job.priority) }
            td { (job.run_after_ms.and_then(moment::from).unwrap_or_default()) }
            td { (job.tags.0.join(", ")) }
            td.row {
                (button("priority", words.sooner, &at(job.priority + PRIORITY_STEP)))
                (button("priority", words.later, &at(job.priority - PRIORITY_STEP)))
                (button("cancel", words.cancel, &[("id", id.clone())]))
            }
        }
    }
}

/// A form of one button, which works without JavaScript.
pub fn button(action: &str, label: &str, fields: &[(&str, String)]) -> Markup {
    html! {
        form method="post" action={ "queue/" (action) } {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button { (label) }
        }
    }
}
