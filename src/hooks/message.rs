//! What is told of a render: as JSON, and the most of it as variables of an environment.

use serde::Serialize;

use crate::config::Config;
use crate::job::hook::HookEvent;
use crate::store::{HistoryRow, OutboxRow, Result, Selection, Store, StoreError};

/// What a program reads from its standard input, and a webhook's request has for its body.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HookMessage {
    /// The same however often it is told, and never given again.
    pub event_id: String,
    /// How the render has ended.
    pub event: HookEvent,
    /// When it ended.
    pub at_ms: i64,
    /// The picture's file; null where there is none.
    pub file: Option<String>,
    /// The words to find its job by.
    pub tags: Vec<String>,
    /// How many renders are queued now.
    pub queued: u64,
    /// All that is known of it.
    pub picture: HistoryRow,
}

/// What is told of the row; `None` where its render is not known any more.
pub(super) async fn of(
    store: &Store,
    config: &Config,
    row: &OutboxRow,
) -> Result<Option<HookMessage>> {
    let render = Selection::Render { job_id: row.job_id, index: row.picture };
    let picture = match store.history(render).await {
        Ok(rows) => rows.into_iter().next(),
        Err(StoreError::NotFound(_)) => None,
        Err(error) => return Err(error),
    };
    let Some(picture) = picture else { return Ok(None) };
    let file = picture.path.as_ref().map(|path| config.outputs.join(path).display().to_string());
    Ok(Some(HookMessage {
        event_id: format!("{}-{}", store.id(), row.id),
        event: row.event,
        at_ms: row.at_ms,
        file,
        tags: store.job(row.job_id).await?.tags.0,
        queued: store.queued().await?,
        picture,
    }))
}

impl HookMessage {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Names without the prefix that all of them have, and values.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let HookMessage { event_id, event, file, tags, queued, picture, .. } = self;
        let mut variables = vec![
            ("EVENT", event.to_string()),
            ("EVENT_ID", event_id.clone()),
            ("JOB", picture.job.to_string()),
            ("PICTURE", picture.picture.to_string()),
            ("FILE", file.clone().unwrap_or_default()),
            ("PROMPT", picture.prompt.clone()),
            ("SEED", picture.seed.to_string()),
            ("TAGS", tags.join(" ")),
            ("DEGRADED", picture.degraded.to_string()),
            ("QUEUED", queued.to_string()),
            ("ERROR", picture.error.clone().unwrap_or_default()),
        ];
        let numbers = [("WIDTH", picture.width), ("HEIGHT", picture.height)];
        variables.extend(numbers.map(|(name, number)| {
            (name, number.map(|number| number.to_string()).unwrap_or_default())
        }));
        let seconds = picture.total_s.map(|seconds| seconds.to_string());
        variables.push(("SECONDS", seconds.unwrap_or_default()));
        variables
    }
}
