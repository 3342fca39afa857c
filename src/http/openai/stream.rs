//! Pictures as a stream of server-sent events: how each of them looks while it is made, and then
//! itself.
//!
//! What comes next is looked for once the client has taken what came before: a slow one holds up
//! nobody, and nothing is kept for it. What is shown of a picture is what its worker shows anyway;
//! where that is nothing, the picture alone is sent.

use std::collections::VecDeque;
use std::io::Cursor;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answer::{facts, now_s};
use super::previews::SentPreviews;
use crate::http::app::App;
use crate::http::encoded::Encoded;
use crate::http::picture;
use crate::http::problem::HttpProblem;
use crate::http::waiting::{Waiting, made, told_not_made};
use crate::job::state::State;
use crate::status::RenderStatus;
use crate::store::HistoryRow;

/// A stream without events shows that it is alive: proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The pictures of a job, each after at most `previews_max` previews of it.
pub fn streamed(waiting: Waiting, app: App, previews_max: u32, is_edit: bool) -> Response {
    let kind = if is_edit { "image_edit" } else { "image_generation" };
    let previews = SentPreviews::new(previews_max);
    let (waiting, told, ready) = (Some(waiting), Vec::new(), VecDeque::new());
    let follower = Follower { app, kind, waiting, previews, told, ready, missing: None };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    });
    let body = Body::from_stream(kept_alive(events, KEEP_ALIVE).flat_map(Encoded::into_stream));
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, body).into_response()
}

/// With a comment wherever there is no event for so long.
fn kept_alive(
    events: impl Stream<Item = Encoded>,
    silence: Duration,
) -> impl Stream<Item = Encoded> {
    stream::unfold(Box::pin(events), move |mut events| async move {
        let next = timeout(silence, events.next()).await;
        let sent = next.unwrap_or_else(|_| Some(Encoded::of_text(":\n\n")))?;
        Some((sent, events))
    })
}

/// Follows one job for one client.
struct Follower {
    app: App,
    /// Of its events.
    kind: &'static str,
    /// `None` once all pictures have ended: whoever still reads takes no place of those who wait.
    waiting: Option<Waiting>,
    previews: SentPreviews,
    /// The positions of the pictures that were made, as far as they are known.
    told: Vec<i64>,
    /// Those of them that are still to be sent.
    ready: VecDeque<HistoryRow>,
    /// What is told after them, where others were not made.
    missing: Option<HttpProblem>,
}

impl Follower {
    /// What is sent next; `None` at the end. A problem is the last event.
    async fn next(&mut self) -> Option<Encoded> {
        let event = self.event().await;
        event.unwrap_or_else(|problem| {
            (self.waiting, self.ready, self.missing) = (None, VecDeque::new(), None);
            Some(wrong(&problem))
        })
    }

    async fn event(&mut self) -> Result<Option<Encoded>, HttpProblem> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return self.completed(&row).await.map(Some);
            }
            if self.look().await? {
                continue;
            }
            if let Some(preview) = self.preview().await {
                return Ok(Some(preview));
            }
            let Some(waiting) = &self.waiting else {
                return self.missing.take().map_or(Ok(None), Err);
            };
            waiting.rest().await?;
        }
    }

    /// Takes note of pictures that were made since. Whether there is anything to say of the job.
    async fn look(&mut self) -> Result<bool, HttpProblem> {
        let Some(waiting) = &self.waiting else { return Ok(false) };
        let Some(job) = waiting.job().await? else { return Ok(false) };
        let is_over = job.has_ended();
        if !is_over && usize::try_from(job.done) == Ok(self.told.len()) {
            return Ok(false);
        }
        let rows = waiting.rows().await?;
        if is_over {
            self.waiting = None;
            made(&rows)?;
            self.missing = missing(&rows);
        }
        for row in rows.into_iter().filter(|row| row.state == State::Done) {
            if !self.told.contains(&row.picture) {
                self.told.push(row.picture);
                self.ready.push_back(row);
            }
        }
        Ok(is_over || !self.ready.is_empty())
    }

    /// How the running picture looks, where it is time for that and there is anything new.
    async fn preview(&mut self) -> Option<Encoded> {
        let job_id = self.waiting.as_ref()?.job_id;
        let render = self.app.status().render.filter(|render| render.job_id == job_id)?;
        if !self.previews.is_due(&render) {
            return None;
        }
        let jpeg = picture::preview_jpeg(&self.app, (job_id, render.index)).await.ok()?;
        let number = self.previews.take(&render, &jpeg)?;
        Some(self.partial(&render, number, &jpeg))
    }

    /// Says of the preview what it is, and not what was asked for: it is small, and a JPEG.
    fn partial(&self, render: &RenderStatus, number: u32, jpeg: &[u8]) -> Encoded {
        let RenderStatus { job_id, index, step, steps, .. } = render;
        let of = format!("{job_id}.{index}");
        let told = json!({
            "b64_json": STANDARD.encode(jpeg),
            "partial_image_index": number,
            "size": size(jpeg),
            "background": "opaque",
            "output_format": "jpeg",
            "zimaged": { "job": job_id, "renders": [of], "step": step, "steps": steps },
        });
        let mut event = Encoded::of_text(self.head("partial_image"));
        event.text(self.rest("partial_image", told));
        event
    }

    async fn completed(&self, row: &HistoryRow) -> Result<Encoded, HttpProblem> {
        let (file, length) = picture::opened(&self.app, row).await?;
        let mut told = facts(&[row]);
        let path = row.path.as_deref().unwrap_or_default();
        told["output_format"] = json!(path.rsplit('.').next());
        told["usage"] = usage();
        let mut event = Encoded::of_text(self.head("completed"));
        event.text("\"b64_json\":\"");
        event.file(file, length);
        event.text("\",");
        event.text(self.rest("completed", told));
        Ok(event)
    }

    fn head(&self, what: &str) -> String {
        format!("event: {}.{what}\ndata: {{", self.kind)
    }

    /// What follows the head, with what all events say.
    fn rest(&self, what: &str, mut told: Value) -> String {
        told["type"] = json!(format!("{}.{what}", self.kind));
        told["created_at"] = json!(now_s());
        told["quality"] = json!("high");
        format!("{}\n\n", told.to_string().trim_start_matches('{'))
    }
}

/// `128x96`; their clients know no picture without one.
fn size(jpeg: &[u8]) -> Option<String> {
    let reader = image::ImageReader::new(Cursor::new(jpeg)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some(format!("{width}x{height}"))
}

/// Nothing is paid by the token here.
fn usage() -> Value {
    let nothing = json!({ "image_tokens": 0, "text_tokens": 0 });
    json!({
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": nothing,
    })
}

/// That some of a job's renders were not made, and why.
fn missing(rows: &[HistoryRow]) -> Option<HttpProblem> {
    let told = told_not_made(rows)?;
    Some(HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", told))
}

fn wrong(problem: &HttpProblem) -> Encoded {
    let HttpProblem { detail: message, code, .. } = problem;
    let error = json!({ "error": { "message": message, "type": "server_error", "code": code } });
    Encoded::of_text(format!("event: error\ndata: {error}\n\n"))
}

#[cfg(test)]
mod tests {
    use futures_util::future;

    use super::*;

    #[tokio::test]
    async fn a_stream_without_events_shows_that_it_is_alive() {
        let never = stream::once(future::pending::<Encoded>());
        let events = stream::iter([Encoded::of_text("a\n\n")]).chain(never);
        let sent = kept_alive(events, Duration::from_millis(1)).flat_map(Encoded::into_stream);
        let sent: Vec<_> = sent.take(3).map(|part| part.expect("no file")).collect().await;
        assert_eq!(sent, ["a\n\n", ":\n\n", ":\n\n"]);
    }
}
