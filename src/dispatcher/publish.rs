//! From the worker's temporary file to the picture under its final name, and its row.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::io::Errno;
use tracing::{debug, info, warn};

use super::attempt::{latents_path, owner, temp_path};
use super::rendered::Rendered;
use super::{Dispatcher, Settings};
use crate::attempt::{Candidate, Failure, FailureKind, Finished, Made};
use crate::clock;
use crate::job::Render;
use crate::job::name::{self, NameFacts};
use crate::ladder::{Rung, Stage};
use crate::output::{self, Owner, sidecar};
use crate::store::{Guarded, StoreError};

/// The picture's name relative to the output folder, as the job's template says.
pub(super) fn file_name(candidate: &Candidate, rung: &Rung, now_ms: i64) -> String {
    let render = &candidate.render;
    let facts = NameFacts {
        job: candidate.job_id,
        index: candidate.index,
        seed: render.recipe.seed,
        width: rung.width,
        height: rung.height,
        steps: rung.steps,
        prompt: &render.recipe.prompt,
        name: &candidate.job_name,
        begun: clock::local(now_ms).datetime(),
    };
    format!("{}.{}", name::expand(&render.output, &facts), render.format.extension())
}

/// `, 576x576 in place of 1024x1024`: what is less than asked.
fn in_place_of(rung: &Rung, asked: &Render) -> String {
    let mut text = String::new();
    if (rung.width, rung.height) != (asked.width, asked.height) {
        let Render { width, height, .. } = asked;
        text += &format!(", {}x{} in place of {width}x{height}", rung.width, rung.height);
    }
    if rung.steps != asked.steps {
        text += &format!(", {} steps in place of {}", rung.steps, asked.steps);
    }
    text
}

/// Removes what an attempt without a picture may have left in the output folder. What stays goes at
/// the next start.
pub(super) fn remove_temporary(settings: &Settings, attempt_id: i64) {
    let _ = std::fs::remove_file(temp_path(settings, attempt_id));
}

/// Removes the latents of a render that has ended. What stays goes at the next start.
pub(super) fn forget_latents(settings: &Settings, render_id: i64) {
    let _ = std::fs::remove_file(latents_path(settings, render_id));
}

/// How often a name that was free a moment ago may be taken by somebody else.
const NAMES_TRIED_MAX: u32 = 100;

/// What became of a picture that was made.
pub(super) enum Published {
    /// It has its final name and its row.
    Done,
    /// The file system refused, so the attempt has failed.
    Refused(Failure),
}

/// A picture that was made but could not be given its final name, as a failure of its attempt.
fn refused(made: Made, error: &io::Error) -> Published {
    Published::Refused(Failure {
        kind: FailureKind::Output { os_error: error.raw_os_error() },
        stage: Some(Stage::PictureEncode),
        message: format!("the picture could not be given its name: {error}"),
        measured: made.measured,
    })
}

/// Runs `work`, which waits for the disk, on another thread: meanwhile the dispatcher must go on
/// with its heartbeat.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    // The runtime panics at once where the system gives it no thread.
    let begun = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)));
    let Ok(begun) = begun else { return Err(Errno::AGAIN.into()) };
    begun.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Publishes the sidecar of the picture, where its attempt is told, and then the picture.
fn with_sidecar(
    owner: Option<&Owner>,
    temporary: &Path,
    final_path: &Path,
    publish: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let Some(owner) = owner else { return publish() };
    let is_there = sidecar::publish(temporary, owner, final_path)?;
    publish().inspect_err(|_| {
        // What stays is told by `zimaged verify`; the error to tell is the picture's.
        let _ = sidecar::remove(final_path, owner);
    })?;
    if !is_there {
        let [taken, _] = sidecar::places(final_path);
        warn!(taken = %taken.display(), "a picture has no sidecar: its name is somebody else's");
    }
    Ok(())
}

impl Dispatcher {
    /// Names the picture and commits its row. A name that is taken gets a number, which is recorded
    /// before the rename, so that a start after a crash in between finds the picture.
    pub(super) async fn publish(
        &mut self,
        writing: &Rendered,
        made: Made,
    ) -> Result<Published, StoreError> {
        let Rendered { candidate, planned, attempt_id, path, .. } = writing;
        let (rung, attempt_id, path) = (&planned.rung, *attempt_id, path.as_str());
        let mut name = path.to_owned();
        for _ in 0..NAMES_TRIED_MAX {
            if name != path && self.journal.rename(attempt_id, &name).await? == Guarded::Stale {
                break;
            }
            match self.rename(attempt_id, &made, &name).await {
                Ok(()) => {
                    let degraded = rung.degrades(&candidate.render);
                    let finished = Finished { path: name, degraded, made };
                    self.commit(candidate, rung, attempt_id, &finished).await?;
                    return Ok(Published::Done);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                Err(error) => return Ok(refused(made, &error)),
            }
            name = match self.free_name(path).await {
                Ok(free) => free,
                Err(error) => return Ok(refused(made, &error)),
            };
        }
        let taken = format!("{path} and its numbered names are taken, again and again");
        Ok(refused(made, &io::Error::new(io::ErrorKind::AlreadyExists, taken)))
    }

    async fn rename(&self, attempt_id: i64, made: &Made, name: &str) -> io::Result<()> {
        let temporary = temp_path(&self.settings, attempt_id);
        let final_path = self.settings.outputs.join(name);
        let Made { bytes, sha256, .. } = made.clone();
        let owner = self.settings.config.now().sidecar.then(|| owner(&self.settings, attempt_id));
        let publish = move || {
            with_sidecar(owner.as_ref(), &temporary, &final_path, || {
                output::publish(&temporary, bytes, &sha256, &final_path)
            })
        };
        aside(publish).await
    }

    async fn free_name(&self, path: &str) -> io::Result<String> {
        let outputs = self.settings.outputs.clone();
        let path = path.to_owned();
        aside(move || output::free_name(&outputs, &path)).await
    }

    async fn commit(
        &mut self,
        candidate: &Candidate,
        rung: &Rung,
        attempt_id: i64,
        finished: &Finished,
    ) -> Result<(), StoreError> {
        let (path, ms) = (&finished.path, finished.made.measured.timings.total_ms);
        let instead = in_place_of(rung, &candidate.render);
        info!(rung = %rung.way(), "done {path} in {:.1} s{instead}", ms as f64 / 1000.0);
        debug!(job = candidate.job_id, index = candidate.index, attempt = attempt_id, ms, "done");
        if self.journal.finish(attempt_id, finished).await? == Guarded::Stale {
            // The picture stays: nothing that was made is thrown away, and its metadata says what
            // it is.
            warn!(attempt = attempt_id, "the attempt had been ended by somebody else");
        }
        forget_latents(&self.settings, candidate.render_id);
        self.journal.hold.end();
        self.suspicion.made(candidate.render_id);
        self.slot.proved_itself();
        Ok(())
    }
}
