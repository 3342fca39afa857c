//! What is rendered, what waits, and what may be done about it.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::app::App;
use super::super::body;
use super::super::problem::HttpProblem;
use super::super::upcoming::JOBS_MAX;
use super::activity::{doing, memory_now, obstacles, stages};
use super::layout::{PageKind, button, page};
use super::table::{cell, number};
use super::visitor::{Visitor, back};
use super::words::Words;
use super::{assets, failures};
use crate::moment;
use crate::queue::{Given, Outlook, QueueStatus, Upcoming, Which};
use crate::status::{RenderStatus, Status, WorkerWish};
use crate::store::{JobBeginning, JobRow, RenderFilter, Selection};

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
    /// The job that it is to come before; empty for the last place.
    #[serde(default)]
    before: String,
}

pub async fn queue(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let content = html! {
        h1 { (words.queue) }
        div data-live="live/queue" { (work(&app, words).await?) }
        script type="module" src=(assets::QUEUE.address()) {}
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
    request: Request,
) -> Result<Response, HttpProblem> {
    let headers = request.headers().clone();
    let pressed: Pressed = body::fields(request).await?;
    let queue = app.queue();
    match action.as_str() {
        "pause" => drop(queue.pause(&pressed.reason).await?),
        "resume" => drop(queue.resume().await?),
        "release" => app.wish(WorkerWish::Release),
        "load" => app.wish(WorkerWish::Load),
        "cancel" => drop(queue.cancel(&named(&pressed.id)?).await?),
        "cancel-all" => drop(queue.cancel(&everything()).await?),
        "retry" => drop(queue.retry(&named(&pressed.id)?).await?),
        "move" => {
            let before = Some(pressed.before.as_str()).filter(|before| !before.is_empty());
            let before = before.map(job_id).transpose()?;
            queue.move_job(job_id(&pressed.id)?, before).await?;
        }
        "star" | "unstar" => {
            let Selection::Render { job_id, index } = selection(&pressed.id)? else {
                return Err(HttpProblem::bad("name a picture, like 12.3"));
            };
            queue.star(job_id, index, action == "star").await?;
        }
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

fn selection(id: &str) -> Result<Selection, HttpProblem> {
    id.parse().map_err(|why: String| HttpProblem::bad(why))
}

fn job_id(id: &str) -> Result<i64, HttpProblem> {
    match selection(id)? {
        Selection::Job(job_id) => Ok(job_id),
        Selection::Render { .. } => Err(HttpProblem::bad("name a job, like 12")),
    }
}

fn named(id: &str) -> Result<Which, HttpProblem> {
    Ok(Which::Named(vec![selection(id)?]))
}

fn everything() -> Which {
    Which::Matching(RenderFilter::default())
}

async fn work(app: &App, words: &Words) -> Result<Markup, HttpProblem> {
    let (now, status) = (app.status(), app.queue().status_without_outlook().await?);
    let upcoming = app.upcoming().await?;
    let jobs = waiting(app, &upcoming).await?;
    let preview = match &now.render {
        Some(render) => preview(app, words, render).await,
        None => html! {},
    };
    Ok(html! {
        section.card {
            h2 { (words.now) }
            (preview)
            (activity(words, &now, &status, &upcoming.outlook))
        }
        section.card {
            h2 { (words.jobs_waiting) }
            (table(words, &jobs))
            @if !jobs.jobs.is_empty() { (cancel_all(words)) }
        }
        (failures::lately(app, words).await?)
        @if !status.rejected.is_empty() {
            section.card {
                h2 { (words.set_aside) }
                @if let Some(sentences) = words.sentences { p { (sentences.set_aside) } }
                ul { @for file in &status.rejected {
                    li { strong { (file.file_name) } ": " (words.in_english(&file.reason)) }
                } }
            }
        }
    })
}

/// The first jobs that wait, in the order in which they are rendered.
struct WaitingJobs {
    jobs: Vec<WaitingJob>,
    /// Whether no more wait: where the last of them would be moved behind is known only then.
    is_all: bool,
}

/// A job of the table.
struct WaitingJob {
    job: JobRow,
    /// `None` where its row was removed by hand.
    beginning: Option<JobBeginning>,
    done_at_ms: Option<i64>,
}

async fn waiting(app: &App, upcoming: &Upcoming) -> Result<WaitingJobs, HttpProblem> {
    let ids: Vec<i64> = upcoming.jobs.iter().map(|job| job.job_id).collect();
    let mut rows = app.store().jobs_named(&ids).await?;
    // What has ended since then waits no more.
    rows.retain(|row| !row.has_ended());
    let place = |job: i64| ids.iter().position(|id| *id == job);
    rows.sort_by_key(|row| place(row.job));
    let done_at_ms = |job: i64| upcoming.jobs.iter().find(|it| it.job_id == job)?.turn.ends_ms;
    let beginnings = app.store().beginnings(&ids).await?;
    let beginning = |job: i64| beginnings.iter().find(|it| it.job_id == job).cloned();
    let waiting = |job: JobRow| {
        let (beginning, done_at_ms) = (beginning(job.job), done_at_ms(job.job));
        WaitingJob { job, beginning, done_at_ms }
    };
    let jobs = rows.into_iter().map(waiting).collect();
    Ok(WaitingJobs { jobs, is_all: ids.len() < JOBS_MAX as usize })
}

/// How the running picture looks so far, in a place that is there from its beginning.
async fn preview(app: &App, words: &Words, render: &RenderStatus) -> Markup {
    let RenderStatus { job_id, index, step, .. } = render;
    let path = crate::preview::path(&app.config().previews_path(), *job_id, *index);
    let is_there = tokio::fs::try_exists(path).await.unwrap_or(false);
    html! {
        div.preview {
            @if is_there {
                img src={ "preview?job=" (job_id) "&n=" (index) "&step=" (step) }
                    alt=(words.preview) width="192" height="192";
            } @else {
                span { (words.preview_later) }
            }
        }
    }
}

fn activity(words: &Words, now: &Status, status: &QueueStatus, outlook: &Outlook) -> Markup {
    html! {
        p.live { (doing(words, now)) }
        @if let Some(render) = &now.render {
            (stages(words, render))
            p.quiet { (words.rung) ": " (render.rung) }
            (memory_now(words, now, render))
        }
        (obstacles(words, now, status.paused.as_ref()))
        @if let Some(done_at_ms) = outlook.done_at_ms.filter(|_| outlook.renders > 0) {
            p { (words.all_done_at) " " strong { (moment::soon(done_at_ms)) }
                " (" (words.count_of_pictures(outlook.renders)) ")"
                @if let Some(job) = outlook.last_job {
                    ", " (words.with_the_last) " "
                    a href={ "gallery?job=" (job) } { (words.job_named) " " (job) }
                }
                @if let Some(sooner_ms) = outlook.sooner_done_at_ms {
                    "; " (words.sooner_done_at) " " strong { (moment::soon(sooner_ms)) }
                } }
        }
        @match &status.paused {
            Some(_) => (button("resume", words.resume, &[])),
            None => form.row method="post" action="queue/pause" {
                label { (words.pause_reason) " " input name="reason" autocomplete="off"; }
                button { (words.pause) }
            },
        }
    }
}

fn table(words: &Words, waiting: &WaitingJobs) -> Markup {
    if waiting.jobs.is_empty() {
        return html! { p.quiet { (words.nothing_waits) } };
    }
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.job) } th { (words.prompt) } th { (words.state) }
                th.number { (words.done_count) } th { (words.ends) }
                th.number { (words.priority) } th { (words.starts) } th { (words.tags) } th {}
            } }
            tbody data-whole[waiting.is_all] {
                @for place in 0..waiting.jobs.len() { (row(words, waiting, place)) }
            }
        } }
        @if !waiting.is_all { p.quiet { (words.first_jobs) " " (JOBS_MAX) } }
    }
}

/// Another one is sent by the return key.
fn priority(words: &Words, job: &JobRow) -> Markup {
    html! {
        form method="post" action="queue/priority" {
            input type="hidden" name="id" value=(job.job);
            input.priority name="priority" value=(job.priority) size="3" autocomplete="off"
                aria-label={ (words.priority) " " (job.job) };
        }
    }
}

/// In two steps, so that no slip of the hand does it.
fn cancel_all(words: &Words) -> Markup {
    html! {
        details {
            summary { (words.cancel_all) }
            (button("cancel-all", words.cancel_all_surely, &[]))
        }
    }
}

fn row(words: &Words, waiting: &WaitingJobs, place: usize) -> Markup {
    let WaitingJobs { jobs, is_all } = waiting;
    let WaitingJob { job, beginning, done_at_ms } = &jobs[place];
    let id = [("id", job.job.to_string())];
    let to = |before: Option<&WaitingJob>| {
        let before = before.map(|before| before.job.job.to_string());
        [("id", job.job.to_string()), ("before", before.unwrap_or_default())]
    };
    let above = place.checked_sub(1).map(|above| &jobs[above]);
    // What is begun sooner for its time alone is overtaken by no priority.
    let before = above.filter(|above| above.job.priority >= job.priority);
    let after = jobs.get(place + 2);
    // Behind the last of them all there is a place as well.
    let starts_at_ms = job.run_after_ms.filter(|at_ms| moment::is_later(*at_ms));
    let has_later = after.is_some() || (*is_all && place + 1 < jobs.len());
    html! {
        tr data-key=(job.job) {
            td data-column=(words.job) {
                span.grip.by-script draggable="true" aria-hidden="true" {}
                a href={ "gallery?job=" (job.job) } { (job.job) }
            }
            td.begins data-column=(words.prompt) { div {
                @if let Some(JobBeginning { prompt, width, height, .. }) = beginning {
                    span.clamped { (prompt) }
                    small.quiet { (width) "×" (height) " · " (job.file_name) }
                } @else {
                    small.quiet { (job.file_name) }
                }
            } }
            (cell(words.state, words.state(job.state, job.is_stopping())))
            (number(words.done_count, format_args!("{}/{}", job.done, job.renders)))
            (cell(words.ends, done_at_ms.map(moment::soon).unwrap_or_default()))
            td.number data-column=(words.priority) { (priority(words, job)) }
            (cell(words.starts, starts_at_ms.map(moment::soon).unwrap_or_default()))
            (cell(words.tags, job.tags.0.join(", ")))
            td { div.row {
                @if place > 1 { (button("move", words.first, &to(jobs.first()))) }
                @if before.is_some() { (button("move", words.sooner, &to(before))) }
                @if has_later { (button("move", words.later, &to(after))) }
                (button("cancel", words.cancel, &id))
            } }
        }
    }
}
