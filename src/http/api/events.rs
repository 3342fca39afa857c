//! What happens, as it happens: a stream of server-sent events.
//!
//! The table `events` is what is sent: whoever comes back after a while says which entry was the
//! last, and misses none. Steps and previews of the running picture, and what the worker takes of its
//! device, are not in the table and have no id. A stream is read on only when its reader has taken what was sent: a slow one holds nothing
//! but its place, and is dropped by the connection's time-out. All who follow share what is read of
//! the table and what is written of a step, and look for more four times a second at the most:
//! hundreds of them take no time of a render.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::app::App;
use crate::http::problem::HttpProblem;
use crate::status::Status;

/// So many entries are sent again to whoever was away; more are a reason to ask anew.
const REPLAY_MAX: i64 = 1000;

/// Between two looks at the table, unless it is told that something has changed.
const LOOK: Duration = Duration::from_millis(250);

/// After something was sent nothing is looked for so long.
const PACE: Duration = Duration::from_millis(250);

/// A stream without events shows that it is alive: proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// As the header of the same name, for those who cannot send that.
    last_event_id: Option<i64>,
}

pub async fn events(
    State(app): State<App>,
    Query(since): Query<Since>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let slot = app.stream_slot()?;
    let newest = app.store().last_event().await?;
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (last_id, waiting) = match header.or(since.last_event_id) {
        // What was asked for is another database's, or too long ago.
        Some(id) if !(newest - REPLAY_MAX..=newest).contains(&id) => {
            (newest, "event: resync\ndata: {}\n\n")
        }
        Some(id) => (id, ""),
        None => (newest, ""),
    };
    let (status, step, memory, paced) = (app.watch_status(), None, None, Instant::now());
    let preview = Arc::default();
    let waiting = waiting.to_owned();
    let follower =
        Follower { app, status, step, memory, preview, last_id, waiting, paced, _slot: slot };
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((headers, Body::from_stream(follower.stream())).into_response())
}

/// Somebody who follows the log.
struct Follower {
    app: App,
    status: watch::Receiver<Status>,
    /// What was told last of the running picture.
    step: Option<Arc<str>>,
    /// Of what the worker takes of its device.
    memory: Option<Arc<str>>,
    /// And of how the running picture looks.
    preview: Arc<str>,
    last_id: i64,
    /// To be sent.
    waiting: String,
    /// Nothing is looked for before.
    paced: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<String, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let sent = follower.next().await?;
            Some((Ok(sent), follower))
        })
    }

    /// What is sent next; `None` when the daemon ends.
    async fn next(&mut self) -> Option<String> {
        let stop = self.app.stop();
        let silent_at = Instant::now() + KEEP_ALIVE;
        stop.run_until_cancelled(sleep_until(self.paced)).await?;
        loop {
            self.look().await;
            if !self.waiting.is_empty() {
                self.paced = Instant::now() + PACE;
                return Some(std::mem::take(&mut self.waiting));
            }
            tokio::select! {
                () = sleep(LOOK) => (),
                changed = self.status.changed() => changed.ok()?,
                () = sleep_until(silent_at) => return Some(":\n\n".to_owned()),
                () = stop.cancelled() => return None,
            }
        }
    }

    async fn look(&mut self) {
        // What cannot be read for a while is read later.
        for event in self.app.events_after(self.last_id).await.unwrap_or_default() {
            self.last_id = event.id;
            self.waiting.push_str(&event.text);
        }
        let render = self.status.borrow_and_update().render.clone();
        let memory = self.app.memory().await;
        if self.memory.as_ref() != Some(&memory) {
            self.waiting.push_str(&memory);
            self.memory = Some(memory);
        }
        let step = self.app.step().await;
        // Whoever comes while nothing is rendered is told nothing of it.
        if self.step.as_ref() != Some(&step) && (render.is_some() || self.step.is_some()) {
            self.waiting.push_str(&step);
            self.step = Some(step);
        }
        let Some(render) = render else { return };
        let preview = self.app.preview(&render).await;
        if self.preview != preview {
            self.waiting.push_str(&preview);
            self.preview = preview;
        }
    }
}
