//! From the worker's temporary file to the picture under its final name, and its row.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tracing::info;

use super::attempt::latents_path;
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
        seed: render.seed,
        width: rung.width,
        height: rung.height,
        steps: rung.steps,
        prompt: &render.prompt,
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

/// Removes what is left of a render that will not be tried again. Absent files are the usual case.
pub(super) fn forget(settings: &Settings, render_id: i64, attempt_id: i64) {
    let _ = std::fs::remove_file(output::temp_path(&settings.outputs, attempt_id));
    let _ = std::fs::remove_file(latents_path(settings, render_id));
}

/// A picture that was made but could not be brought under its final name, as a failure of its attempt.
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
    /// Names the picture and commits its row; a name that is taken gets a number, recorded before the rename so that a
    /// crash in between finds the picture. The inner error is the file system's.
    pub(super) async fn publish(
        &mut self,
        candidate: &Candidate,
        attempt_id: i64,
        rung: &Rung,
        path: String,
        done: &Done,
    ) -> Result<io::Result<()>, StoreError> {
        let mut taken = path.clone();
        for number in 2..NAMES_MAX {
            match self.rename(attempt_id, done, &taken).await {
                Ok(()) => {
                    self.commit(candidate, attempt_id, rung, taken, done).await?;
                    return Ok(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    taken = numbered(&path, number);
                    if self.store.rename_attempt(attempt_id, &taken).await? == Guarded::Stale {
                        break;
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path} and its numbered names are taken"))))
    }

    async fn rename(&self, attempt_id: i64, done: &Done, path: &str) -> io::Result<()> {
        let outputs = self.settings.outputs.clone();
        let (path, bytes, sha256) = (PathBuf::from(path), done.bytes, done.sha256.clone());
        let publish = move || {
            let temporary = output::temp_path(&outputs, attempt_id);
            output::publish(&temporary, bytes, &sha256, &outputs.join(path))
        };
        tokio::task::spawn_blocking(publish).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    async fn commit(
        &mut self,
        candidate: &Candidate,
        attempt_id: i64,
        rung: &Rung,
        path: String,
        done: &Done,
    ) -> Result<(), StoreError> {
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
        if self.store.finish(attempt_id, &finished, self.clock.now_ms()).await? == Guarded::Stale {
            // The picture stays: nothing that was made is thrown away, and its metadata says what it is.
            tracing::warn!(attempt = attempt_id, "the attempt had been ended by somebody else");
        }
        self.slot.proved_itself();
        Ok(())
    }
}
