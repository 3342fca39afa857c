//! After a crash: renders found running under the instance lock are finished where their picture
//! stands, else queued again and counted. What was kept for renders that have ended is removed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::{info, warn};

use crate::attempt::{
    Failure, Finished, History, Made, Measured, Orphan, Peaks, RetryPolicy, decide,
};
use crate::engine::latents;
use crate::output;
use crate::store::{Guarded, Store, StoreError};

/// Brings every orphan to a state from which the dispatcher can go on. Repeating it is harmless.
pub async fn run(
    store: &Store,
    outputs: &Path,
    policy: &RetryPolicy,
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
    let picture = output::inspect(&outputs.join(&orphan.path));
    let picture = picture.filter(|picture| picture.owner == owner)?;
    Some(Finished {
        path: orphan.path.clone(),
        degraded: orphan.rung.degrades(&orphan.render),
        made: Made {
            bytes: picture.bytes,
            sha256: picture.sha256,
            prompt_cut: false,
            measured: Measured { timings: picture.timings, peaks: Peaks::default() },
        },
    })
}

/// Counts the daemon's death as one of the render's worker: it may have been the render that took
/// the daemon down.
async fn give_back(
    store: &Store,
    orphan: &Orphan,
    policy: &RetryPolicy,
    now_ms: i64,
) -> Result<Guarded, StoreError> {
    let death = Failure::death("the daemon died");
    let before = History { deaths: orphan.deaths, ..History::default() };
    let next = decide(&death, None, &before.with(orphan.rung, &death), None, policy);
    store.end_attempt(orphan.attempt_id, &death, &next, now_ms).await
}
