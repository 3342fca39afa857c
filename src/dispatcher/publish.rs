//! From the worker's temporary file to the picture under its final name, and its row.

use std::io;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::attempt::{latents_path, temp_path};
use super::{Dispatcher, Settings};
use crate::job::name::{self, NameFacts};
use crate::ladder::{Rung, Stage};
use crate::output;
use crate::store::{Candidate, Finished, Guarded, StoreError};
use crate::worker::protocol::{Done, Failed, Failure};

/// How many numbered names are tried when the user's own files stand in the way.
const NAMES_MAX: u32 = 1000;

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
        begun: local_time(now_ms),
    };
    format!("{}.{}", name::expand(&render.output, &facts), render.format.extension())
}

fn local_time(now_ms: i64) -> DateTime {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_zoned_datetime(TimeZone::system()).datetime()
}

/// `dir/fox.png` -> `dir/fox-2.png`.
fn numbered(path: &str, number: u32) -> String {
    match path.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}-{number}.{extension}"),
        None => format!("{path}-{number}"),
    }
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

/// A picture that was made but could not be brought under its final name, as a failure of its
/// attempt.
pub(super) fn unpublished(done: Done, error: &io::Error) -> Failed {
    Failed {
        attempt_id: done.attempt_id,
        failure: Failure::Output { os_error: error.raw_os_error() },
        stage: Stage::PictureEncode,
        message: format!("the picture could not be given its name: {error}"),
        timings: done.timings,
        peaks: done.peaks,
    }
}

impl Dispatcher {
    /// Names the picture and commits its row; a name that is taken gets a number, recorded before
    /// the rename so that a crash in between finds the picture. The inner error is the file
    /// system's.
    pub(super) async fn publish(
        &mut self,
        candidate: &Candidate,
        rung: &Rung,
        path: String,
        done: &Done,
        stop: &CancellationToken,
    ) -> Result<io::Result<()>, StoreError> {
        let attempt_id = done.attempt_id;
        let mut taken = path.clone();
        for number in 2..NAMES_MAX {
            match self.rename(done, &taken).await {
                Ok(()) => {
                    self.commit(candidate, rung, taken, done, stop).await?;
                    return Ok(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    taken = numbered(&path, number);
                    let store = self.store.clone();
                    let renamed =
                        self.hold.record(stop, || store.rename_attempt(attempt_id, &taken)).await?;
                    if renamed == Guarded::Stale {
                        break;
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{path} and its numbered names are taken"),
        )))
    }

    async fn rename(&self, done: &Done, path: &str) -> io::Result<()> {
        let temporary = temp_path(&self.settings, done.attempt_id);
        let final_path = self.settings.outputs.join(path);
        let (bytes, sha256) = (done.bytes, done.sha256.clone());
        let publish = move || output::publish(&temporary, bytes, &sha256, &final_path);
        tokio::task::spawn_blocking(publish)
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    async fn commit(
        &mut self,
        candidate: &Candidate,
        rung: &Rung,
        path: String,
        done: &Done,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let attempt_id = done.attempt_id;
        info!(job = candidate.job_id, index = candidate.index, attempt = attempt_id, %path, duration_ms = done.timings.total_ms, "done");
        let finished = Finished {
            path,
            bytes: done.bytes,
            sha256: done.sha256.clone(),
            prompt_cut: done.prompt_cut,
            degraded: rung.degrades(&candidate.render),
            timings: done.timings.clone(),
            peaks: done.peaks,
        };
        let (store, now_ms) = (self.store.clone(), self.clock.now_ms());
        if self.hold.record(stop, || store.finish(attempt_id, &finished, now_ms)).await?
            == Guarded::Stale
        {
            // The picture stays: nothing that was made is thrown away, and its metadata says what
            // it is.
            warn!(attempt = attempt_id, "the attempt had been ended by somebody else");
        }
        forget_latents(&self.settings, candidate.render_id);
        self.hold.over();
        self.slot.proved_itself();
        Ok(())
    }
}
