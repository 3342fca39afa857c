//! What happens, as it happens: a stream of server-sent events.
//!
//! The table `events` is what is sent: whoever comes back after a while says which entry was the
//! last, and misses none. Steps of the running picture are not in the table and have no id. A
//! stream is read on only when its reader has taken what was sent: a slow one holds nothing but its
//! place, and is dropped by the connection's time-out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use crate::http::app::App;
use crate::http::problem::HttpProblem;
use crate::status::{RenderStatus, Status};

/// So many entries are sent again to whoever was away; more are a reason to ask anew.
const REPLAY_MAX: i64 = 1000;

/// Read at once.
const BATCH: u32 = 100;

/// Between two looks at the table.
const LOOK: Duration = Duration::from_millis(250);

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
    let asked = header.or(since.last_event_id);
    let mut waiting = VecDeque::new();
    let last_id = match asked {
        // What was asked for is another database's, or too long ago.
        Some(id) if !(newest - REPLAY_MAX..=newest).contains(&id) => {
            waiting.push_back(Event::default().event("resync").data("{}"));
            newest
        }
        Some(id) => id,
        None => newest,
    };
    let mut status = app.watch_status();
    status.mark_changed();
    let follower = Follower { app, status, render: None, last_id, waiting, _slot: slot };
    let stream = Sse::new(follower.stream());
    Ok(stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Somebody who follows the log.
struct Follower {
    app: App,
    status: watch::Receiver<Status>,
    /// What was told last of the running picture.
    render: Option<RenderStatus>,
    last_id: i64,
    /// To be sent.
    waiting: VecDeque<Event>,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// The next event; `None` when the daemon ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            self.look().await;
            if self.waiting.is_empty() {
                let stop = self.app.stop();
                tokio::select! {
                    () = sleep(LOOK) => (),
                    changed = self.status.changed() => changed.ok()?,
                    () = stop.cancelled() => return None,
                }
            }
        }
    }

    async fn look(&mut self) {
        // What cannot be read for a while is read later.
        let found = self.app.store().events_after(self.last_id, BATCH).await.unwrap_or_default();
        for row in found {
            self.last_id = row.id;
            let event = Event::default().id(row.id.to_string()).event(&row.kind);
            self.waiting.extend(event.json_data(&row).ok());
        }
        let render = self.status.borrow_and_update().render.clone();
        if render != self.render {
            let told = json!({ "render": render });
            self.waiting.extend(Event::default().event("step").json_data(told).ok());
            self.render = render;
        }
    }
}
