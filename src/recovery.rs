//! After a crash: renders found running under the instance lock are finished where their picture stands, else queued
//! again and counted.

use std::path::Path;

use tracing::info;

use crate::dispatcher::verdict::{Policy, fate_of_the_dead};
use crate::output;
use crate::store::{AttemptEnd, Finished, Orphan, Outcome, Store, StoreError};
use crate::worker::protocol::{Peaks, Timings};

/// Brings every orphan to a state from which the dispatcher can go on. Repeating it is harmless.
pub async fn run(store: &Store, outputs: &Path, policy: &Policy, now_ms: i64) -> Result<(), StoreError> {
    for orphan in store.orphans(now_ms).await? {
        let _ = match adopted(&orphan, outputs) {
            Some(finished) => {
                info!(attempt = orphan.attempt_id, path = %finished.path, "the picture had been made: adopted");
                store.finish(orphan.attempt_id, &finished, now_ms).await?
            }
            None => {
                info!(attempt = orphan.attempt_id, "found running: queued again");
                give_back(store, &orphan, policy, now_ms).await?
            }
        };
    }
    Ok(())
}

/// The picture, when it stands under the recorded name and carries this attempt's id.
fn adopted(orphan: &Orphan, outputs: &Path) -> Option<Finished> {
    let picture =
        output::inspect(&outputs.join(&orphan.path)).filter(|picture| picture.attempt_id == orphan.attempt_id)?;
    Some(Finished {
        path: orphan.path.clone(),
        bytes: picture.bytes,
        sha256: picture.sha256,
        prompt_cut: false,
        degraded: orphan.rung.degrades(&orphan.render),
        timings: picture.timings,
        peaks: Peaks::default(),
    })
}

async fn give_back(
    store: &Store,
    orphan: &Orphan,
    policy: &Policy,
    now_ms: i64,
) -> Result<crate::store::Guarded, StoreError> {
    let end = AttemptEnd {
        outcome: Outcome::Crashed,
        stage: None,
        message: "the daemon died".into(),
        requested_bytes: None,
        timings: Timings::default(),
        peaks: Peaks::default(),
    };
    let fate = fate_of_the_dead(&end.message, orphan.deaths + 1, policy);
    store.end_attempt(orphan.attempt_id, &end, &fate, now_ms).await
}
