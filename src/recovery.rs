//! After a crash: renders found running under the instance lock are finished where their picture
//! stands, else queued again and counted. What was kept for renders that have ended is removed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::{info, warn};

use crate::dispatcher::verdict::{Policy, fate_of_the_dead};
use crate::engine::latents;
use crate::output;
use crate::store::{AttemptEnd, Finished, Orphan, Outcome, Store, StoreError};
use crate::worker::protocol::{Peaks, Timings};

/// Brings every orphan to a state from which the dispatcher can go on. Repeating it is harmless.
pub async fn run(
    store: &Store,
    outputs: &Path,
    policy: &Policy,
    now_ms: i64,
) -> Result<(), StoreError> {
    for orphan in store.orphans(now_ms).await? {
        let _ = match adopted(&orphan, outputs, store.id()) {
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

/// Removes the kept latents of renders that have ended while nobody was there to do it: cancelled
/// while queued, or done right before a death. Other files are left alone, and what cannot be
/// removed costs space only.
pub async fn sweep_latents(store: &Store, folder: &Path) -> Result<(), StoreError> {
    let kept = kept_latents(folder).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), %error, "kept latents are not swept");
        Vec::new()
    });
    let renders: Vec<i64> = kept.iter().map(|(render_id, _)| *render_id).collect();
    let ended: HashSet<i64> = store.ended_among(&renders).await?.into_iter().collect();
    for (_, path) in kept.iter().filter(|(render_id, _)| ended.contains(render_id)) {
        match fs::remove_file(path) {
            Ok(()) => info!(path = %path.display(), "latents of an ended render removed"),
            Err(error) => {
                warn!(path = %path.display(), %error, "latents of an ended render not removed")
            }
        }
    }
    Ok(())
}

/// The files that keep latents, finished or not, with their renders.
fn kept_latents(folder: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        kept.extend(
            latents::render_id(&entry.file_name()).map(|render_id| (render_id, entry.path())),
        );
    }
    Ok(kept)
}

/// The picture, when it stands under the recorded name and says that it is this attempt's.
fn adopted(orphan: &Orphan, outputs: &Path, database: &str) -> Option<Finished> {
    let owner = output::Owner { database: database.to_owned(), attempt_id: orphan.attempt_id };
    let picture =
        output::inspect(&outputs.join(&orphan.path)).filter(|picture| picture.owner == owner)?;
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
