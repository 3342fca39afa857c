//! `zimaged cancel`, `retry`, `pause`, `resume`: marks in the database that the dispatcher acts on.

use super::{Outcome, open_store, print};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::Selection;

pub(super) async fn cancel(config: &Config, what: &[Selection], json: bool) -> Outcome {
    let store = open_store(config).await?;
    for selection in what {
        let done = store.cancel(*selection, SystemClock.now_ms()).await?;
        let text = format!(
            "{selection}: {} cancelled, {} stopping, {} had ended",
            done.cancelled, done.stopping, done.ended
        );
        print::answer(&done, &text, json)?;
    }
    Ok(0)
}

pub(super) async fn retry(config: &Config, what: Selection, json: bool) -> Outcome {
    let retried = open_store(config).await?.retry(what, SystemClock.now_ms()).await?;
    let text = format!("{what}: {} to be rendered again, as job {}", retried.renders, retried.job);
    print::answer(&retried, &text, json)?;
    Ok(0)
}

pub(super) async fn pause(config: &Config, reason: &str, json: bool) -> Outcome {
    open_store(config).await?.pause(reason, SystemClock.now_ms()).await?;
    let text = "paused: the running render ends, no other starts until `zimaged resume`";
    print::answer(&serde_json::json!({ "paused": reason }), text, json)?;
    Ok(0)
}

pub(super) async fn resume(config: &Config, json: bool) -> Outcome {
    open_store(config).await?.resume(SystemClock.now_ms()).await?;
    print::answer(&serde_json::json!({ "paused": null }), "resumed", json)?;
    Ok(0)
}
