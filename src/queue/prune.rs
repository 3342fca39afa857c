//! The history is cleared of what is old. The daemon may run meanwhile.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use tracing::warn;

use super::{Queue, QueueError};
use crate::inputs;
use crate::output::{self, Owner};
use crate::store::{Forgettable, RecordedPicture, Store, StoreError};
use crate::thumbnails::Thumbnails;

/// So many jobs are asked for at once.
const JOBS_MAX: u32 = 500;

/// What is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneRequest {
    pub jobs: Forgettable,
    pub keep_pictures: bool,
    /// Only to be counted.
    pub dry_run: bool,
}

/// What was forgotten, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pruned {
    /// Jobs.
    pub jobs: u64,
    /// Their renders.
    pub renders: u64,
    /// Old jobs that stay as they are, because a picture of theirs has a star.
    pub starred: u64,
    /// Pictures that were removed, and their bytes.
    pub pictures: u64,
    /// The bytes of these pictures.
    pub bytes: u64,
    /// Files under a picture's name that are left, because they are not what was recorded.
    pub left: u64,
    /// Notes of job files that were set aside. The files stay.
    pub rejections: u64,
    /// Nothing was removed: this is what would be.
    pub dry_run: bool,
}

/// Removes the kept pictures as input that no render needs which can still run or be retried, and
/// that no job asked for lately; answers how many. What cannot be removed costs space only.
pub async fn sweep_inputs(store: &Store, folder: &Path) -> Result<u64, StoreError> {
    let old = inputs::old(folder).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), %error, "pictures as input are not swept");
        Vec::new()
    });
    let needed: HashSet<String> = store.needed_inputs(&old).await?.into_iter().collect();
    let mut removed = 0;
    for name in old.iter().filter(|name| !needed.contains(*name)) {
        match fs::remove_file(folder.join(name)) {
            Ok(()) => removed += 1,
            Err(error) => warn!(file = name, %error, "a picture as input is not removed"),
        }
    }
    Ok(removed)
}

impl Queue<'_> {
    /// Forgets the jobs that ended before a time, with their pictures unless those are kept. What
    /// is queued or runs is not touched, nor is a job of which a picture has a star, unless that is
    /// asked for: it stays whole, so that what it says of itself stays true. Pictures go first: a
    /// death in between leaves rows, of which the next call removes the rest.
    pub async fn prune(&self, request: PruneRequest) -> Result<Pruned, QueueError> {
        let mut pruned = Pruned { dry_run: request.dry_run, ..Pruned::default() };
        let mut last = 0;
        loop {
            let jobs = self.store.old_jobs(request.jobs, last, JOBS_MAX).await?;
            let Some(newest) = jobs.last() else { break };
            last = *newest;
            for job_id in jobs {
                self.prune_job(job_id, request, &mut pruned).await?;
            }
        }
        let Forgettable { before_ms, with_starred } = request.jobs;
        if !with_starred {
            pruned.starred = self.store.old_starred(before_ms).await?;
        }
        pruned.rejections = self.store.old_rejections(before_ms).await?;
        if !request.dry_run {
            self.store.forget_notes(before_ms).await?;
            sweep_inputs(&self.store, &self.config.inputs_path()).await?;
        }
        Ok(pruned)
    }

    async fn prune_job(
        &self,
        job_id: i64,
        request: PruneRequest,
        pruned: &mut Pruned,
    ) -> Result<(), QueueError> {
        pruned.jobs += 1;
        pruned.renders += self.store.renders_of(job_id).await?;
        if !request.keep_pictures {
            for picture in self.store.pictures_of(job_id).await? {
                self.remove(&picture, request.dry_run, pruned).await?;
                if !request.dry_run {
                    Thumbnails::new(&self.config.thumbnails_path()).remove(&picture.sha256);
                }
            }
        }
        match request.dry_run {
            true => Ok(()),
            false => Ok(self.store.forget_job(job_id, request.jobs).await?),
        }
    }

    /// Removes a picture where the file under its name is this one, byte for byte: somebody may have
    /// painted in it, and the name may have been used again, by a person, by another database, or for
    /// another picture of this one. Of a picture that is gone the sidecar may have stayed.
    async fn remove(
        &self,
        picture: &RecordedPicture,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<(), QueueError> {
        let path = self.config.outputs.join(&picture.path);
        let owner = self.owner(picture.attempt_id);
        let there = path.symlink_metadata().ok();
        let recorded = there.as_ref().filter(|_| self.is_as_recorded(picture));
        if let Some(facts) = recorded {
            pruned.pictures += 1;
            pruned.bytes += facts.len();
        } else if there.is_some() && !self.store.has_later(picture).await? {
            // What a later attempt has made under the name is that one's, and not left.
            pruned.left += 1;
            return Ok(());
        }
        if dry_run {
            return Ok(());
        }
        // Before the picture: after a death in between both are looked for again.
        let mut removed = output::sidecar::remove(&path, &owner);
        if recorded.is_some() {
            removed = removed.and_then(|()| fs::remove_file(&path));
        }
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(QueueError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether the file under the picture's name has the recorded content; not where it cannot be
    /// read.
    fn is_as_recorded(&self, picture: &RecordedPicture) -> bool {
        let file = output::open(&self.config.outputs, &picture.path);
        let measured = file.and_then(|mut file| output::measure(&mut file));
        measured.is_ok_and(|(_, sha256)| sha256 == picture.sha256)
    }

    fn owner(&self, attempt_id: i64) -> Owner {
        Owner { database: self.store.id().to_owned(), attempt_id }
    }
}
