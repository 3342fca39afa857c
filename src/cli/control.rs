//! `zimaged cancel`, `retry`, `pause`, `resume`.

use serde_json::json;

use super::{Outcome, print};
use crate::config::Config;
use crate::queue::Queue;
use crate::store::Selection;

pub(super) async fn cancel(config: &Config, what: &[Selection], json: bool) -> Outcome {
    let queue = Queue::open(config).await?;
    for selection in what {
        let done = queue.cancel(*selection).await?;
        let text = format!(
            "{selection}: {} cancelled, {} stopping, {} had ended",
            done.cancelled, done.stopping, done.ended
        );
        print::answer(&done, &text, json)?;
    }
    Ok(0)
}

pub(super) async fn retry(config: &Config, what: Selection, json: bool) -> Outcome {
    let retried = Queue::open(config).await?.retry(what).await?;
    let text = format!("{what}: {} to be rendered again, as job {}", retried.renders, retried.job);
    print::answer(&retried, &text, json)?;
    Ok(0)
}

pub(super) async fn pause(config: &Config, reason: &str, json: bool) -> Outcome {
    Queue::open(config).await?.pause(reason).await?;
    let text = "paused: the running render ends, no other starts until `zimaged resume`";
    print::answer(&json!({ "paused": reason }), text, json)?;
    Ok(0)
}

pub(super) async fn resume(config: &Config, json: bool) -> Outcome {
    Queue::open(config).await?.resume().await?;
    print::answer(&json!({ "paused": null }), "resumed", json)?;
    Ok(0)
}
