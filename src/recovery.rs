//! After a crash: renders found running under the instance lock are finished where their picture
//! stands, else queued again. What was kept for renders that have ended is removed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::{info, warn};

use crate::attempt::{
    Failure, FailureKind, Finished, Made, Measured, Orphan, Reached, RetryPolicy, StopCause, decide,
};
use crate::engine::latents;
use crate::store::{Guarded, Store, StoreError, Stray};
use crate::worker::last_word::{self, LastWord};
use crate::{output, queue};

/// Where a daemon that has died has left its traces.
pub struct Left<'a> {
    pub outputs: &'a Path,
    /// See [`last_word`].
    pub last_word: &'a Path,
}

/// Brings every orphan to a state from which the dispatcher can go on. Repeating it is harmless.
pub async fn run(
    store: &Store,
    left: &Left<'_>,
    policy: &RetryPolicy,
    now_ms: i64,
) -> Result<(), StoreError> {
    for orphan in store.orphans(now_ms).await? {
        let (job, index) = (orphan.job_id, orphan.index);
        let _ = match adopted(&orphan, left.outputs, store.id()) {
            Some(finished) => {
                info!(job, index, path = %finished.path, "the picture had been made: adopted");
                store.finish(orphan.attempt_id, &finished, now_ms).await?
            }
            None => {
                match orphan.cancel_wanted {
                    true => info!(job, index, "found running: cancelled, as it was told to be"),
                    false => info!(job, index, "found running: queued again"),
                }
                remove_sidecar(&orphan, left.outputs, store.id());
                give_back(store, &orphan, left, policy, now_ms).await?
            }
        };
    }
    Ok(())
}

/// Removes renders that wait without a job, because somebody has removed its row, and tells of
/// them.
pub async fn remove_strays(store: &Store, now_ms: i64) -> Result<(), StoreError> {
    for Stray { job_id, renders } in store.remove_strays(now_ms).await? {
        warn!(
            job = job_id,
            renders,
            "the job's row was removed from the database by hand: what waited of it is not rendered"
        );
    }
    Ok(())
}

/// Has no id given again that a file is known by, also where the database was made anew or is an
/// older one that was put back.
pub async fn guard_ids(store: &Store, jobs: &Path, latents: &Path) -> Result<(), StoreError> {
    let unseen = |folder: &Path, error: io::Error| {
        warn!(folder = %folder.display(), %error, "ids in names there may be given once more");
        Vec::new()
    };
    let accepted = queue::accepted_ids(jobs).unwrap_or_else(|error| unseen(jobs, error));
    let kept = kept_latents(latents).unwrap_or_default();
    let job_id = accepted.into_iter().max().unwrap_or(0);
    let render_id = kept.into_iter().map(|(render_id, _)| render_id).max().unwrap_or(0);
    store.raise_ids(job_id, render_id).await
}

/// Removes what is kept for renders that need it no more: latents, and pictures as input.
pub async fn sweep(store: &Store, latents: &Path, inputs: &Path) -> Result<(), StoreError> {
    sweep_latents(store, latents).await?;
    queue::sweep_inputs(store, inputs).await.map(drop)
}

/// Removes the kept latents of renders that have ended while nobody was there to do it: cancelled
/// while queued, or done right before a death. Other files are left alone, and what cannot be
/// removed costs space only.
async fn sweep_latents(store: &Store, folder: &Path) -> Result<(), StoreError> {
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

fn owner(orphan: &Orphan, database: &str) -> output::Owner {
    output::Owner { database: database.to_owned(), attempt_id: orphan.attempt_id }
}

/// Removes the sidecar that was to stand beside a picture, which has no name.
fn remove_sidecar(orphan: &Orphan, outputs: &Path, database: &str) {
    let picture = outputs.join(&orphan.path);
    if let Err(error) = output::sidecar::remove(&picture, &owner(orphan, database)) {
        warn!(path = %picture.display(), %error, "the sidecar of a picture that is not there stays");
    }
}

/// The picture, when it stands under the recorded name and says that it is this attempt's.
fn adopted(orphan: &Orphan, outputs: &Path, database: &str) -> Option<Finished> {
    let owner = owner(orphan, database);
    let picture = output::inspect(&outputs.join(&orphan.path));
    let picture = picture.filter(|picture| picture.owner == owner)?;
    Some(Finished {
        path: orphan.path.clone(),
        degraded: orphan.rung.degrades(&orphan.render),
        made: Made {
            bytes: picture.bytes,
            sha256: picture.sha256,
            prompt_cut: false,
            measured: Measured { timings: picture.timings, ..Measured::default() },
        },
    })
}

/// Nobody saw how the attempt ended. Only what the worker said last can tell a render that takes
/// the daemon down from one that was under way when somebody else did.
async fn give_back(
    store: &Store,
    orphan: &Orphan,
    left: &Left<'_>,
    policy: &RetryPolicy,
    now_ms: i64,
) -> Result<Guarded, StoreError> {
    let failure = match last_word::read(left.last_word, orphan.attempt_id) {
        LastWord::Well => Failure::unmeasured(FailureKind::Stopped, None, "the daemon died"),
        LastWord::At(place) => lost(place),
        LastWord::Unknown => lost(Reached::default()),
    };
    let history = orphan.history.with(orphan.rung, &failure);
    let cause = orphan.cancel_wanted.then_some(StopCause::Cancelled);
    let next = decide(&failure, cause, &history, orphan.render.on_oom, None, policy);
    store.end_attempt(orphan.attempt_id, &failure, &next, now_ms).await
}

fn lost(Reached { stage, step }: Reached) -> Failure {
    Failure::unmeasured(
        FailureKind::Lost { step },
        stage,
        "the daemon died, and its worker with it",
    )
}
