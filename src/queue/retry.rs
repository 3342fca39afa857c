//! What has no picture is rendered again, as a new job: what failed or was cancelled, and what was
//! made and is gone.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::{Queue, QueueError, Which};
use crate::spelling::count;
use crate::store::{DonePicture, Repeat, Retried, Selection, StoreError};
use crate::{files, output};

/// What a retry made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Retries {
    /// The new jobs.
    pub jobs: Vec<Retried>,
    /// How many renders they have together.
    pub renders: usize,
    /// What was named, but has nothing to be rendered again, and why.
    pub refused: Vec<String>,
}

impl Queue<'_> {
    /// Makes new jobs of what of it failed or was cancelled and is not being rendered again
    /// already; of a render that is named by itself also where it is done and its file is gone. An
    /// error where nothing of what was named is.
    pub async fn retry(&self, which: &Which) -> Result<Retries, QueueError> {
        match which {
            Which::Named(selections) => self.retry_named(selections).await,
            Which::Matching(filter) => {
                let jobs = self.store.retryable(filter).await?;
                let mut made = Retries::default();
                for job_id in jobs {
                    made.add(self.repeat(Selection::Job(job_id), Repeat::Among(filter)).await)?;
                }
                if made.jobs.is_empty() {
                    let left = "is left that failed or was cancelled";
                    return Err(self.nothing_matches("repeated", left, filter).await.into());
                }
                Ok(made.without_refusals())
            }
        }
    }

    /// Makes new jobs of the pictures of it that were made and whose files are gone. An error where
    /// none is.
    pub async fn retry_missing(&self, which: &Which) -> Result<Retries, QueueError> {
        let selections = match which {
            Which::Named(selections) => selections.clone(),
            Which::Matching(filter) => {
                let jobs = self.store.jobs_with_pictures(filter).await?;
                jobs.into_iter().map(Selection::Job).collect()
            }
        };
        let mut made = Retries::default();
        let are_named = matches!(which, Which::Named(_));
        for selection in selections {
            if are_named {
                self.store.check_there(selection).await?;
            }
            let lost = self.lost(selection).await?;
            // Most jobs have lost nothing: of those that nobody has named none begins a write.
            if are_named || lost.is_some() {
                made.add(self.repeat_lost(selection, &lost).await)?;
            }
        }
        match which {
            Which::Named(_) => made.or_refusals(),
            Which::Matching(filter) if made.jobs.is_empty() => {
                Err(self.nothing_matches("repeated", "is missing", filter).await.into())
            }
            Which::Matching(_) => Ok(made.without_refusals()),
        }
    }

    async fn retry_named(&self, selections: &[Selection]) -> Result<Retries, QueueError> {
        for selection in selections {
            self.store.check_there(*selection).await?;
        }
        let mut made = Retries::default();
        for selection in selections {
            made.add(self.retry_one(*selection).await)?;
        }
        made.or_refusals()
    }

    /// A job's pictures may be gone because they were sorted into other folders: they are made
    /// again only where somebody asks for that.
    async fn retry_one(&self, selection: Selection) -> Result<Retried, QueueError> {
        if let Selection::Render { .. } = selection {
            let lost = self.lost(selection).await?;
            return match lost.is_some() {
                true => self.repeat_lost(selection, &lost).await,
                false => self.repeat(selection, Repeat::NotMade).await,
            };
        }
        let retried = self.repeat(selection, Repeat::NotMade).await;
        let Err(QueueError::Store(StoreError::NothingToDo(why))) = retried else { return retried };
        // Where nobody can say what is gone, nothing is said of it.
        let lost = self.lost(selection).await.unwrap_or_default().positions.len();
        let hint = match lost {
            0 => String::new(),
            _ => format!(
                "; {} missing: zimaged retry --missing {}",
                count(lost as u64, "picture"),
                selection.job_id()
            ),
        };
        Err(StoreError::NothingToDo(why + &hint).into())
    }

    async fn repeat(
        &self,
        selection: Selection,
        repeat: Repeat<'_>,
    ) -> Result<Retried, QueueError> {
        Ok(self.store.retry(selection, repeat, self.clock.now_ms()).await?)
    }

    async fn repeat_lost(
        &self,
        selection: Selection,
        lost: &LostPictures,
    ) -> Result<Retried, QueueError> {
        match lost.why_none() {
            Some(why) => Err(StoreError::NothingToDo(why).into()),
            None => self.repeat(selection, Repeat::Lost(&lost.positions)).await,
        }
    }

    /// The selection's pictures whose files are gone.
    async fn lost(&self, selection: Selection) -> Result<LostPictures, QueueError> {
        let done = self.store.done_of(selection).await?;
        let path = self.config.outputs.clone();
        let look = {
            let (path, inputs) = (path.clone(), self.config.inputs_path());
            tokio::task::spawn_blocking(move || missing(&path, &inputs, done))
        };
        let lost = look.await.map_err(|error| QueueError::NoAnswer(error.to_string()))?;
        lost.map_err(|source| QueueError::File { path, source })
    }
}

/// Pictures that were made and whose files are gone.
#[derive(Default)]
struct LostPictures {
    /// The positions of those that can be made again.
    positions: Vec<u32>,
    /// The first of those that cannot, because what it began with is kept no more.
    without_input: Option<String>,
}

impl LostPictures {
    fn is_some(&self) -> bool {
        !self.positions.is_empty() || self.without_input.is_some()
    }

    /// Why none of them can be made again.
    fn why_none(&self) -> Option<String> {
        let id = self.without_input.as_ref().filter(|_| self.positions.is_empty())?;
        Some(format!(
            "{id} is missing, and so is the picture that it began with: hand its job over anew"
        ))
    }
}

/// An error where the folder itself is not there: no picture is missing for that.
fn missing(outputs: &Path, inputs: &Path, done: Vec<DonePicture>) -> io::Result<LostPictures> {
    let mut lost = LostPictures::default();
    if done.is_empty() {
        return Ok(lost);
    }
    files::open_folder(outputs)?;
    let is_kept = |hash: &String| hash.is_empty() || inputs.join(hash).exists();
    for DonePicture { job, picture, path, init_image, mask, .. } in done {
        let opened = output::open(outputs, &path);
        if !opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        match [init_image, mask].iter().all(is_kept) {
            true => lost.positions.push(picture),
            false => _ = lost.without_input.get_or_insert(format!("{job}.{picture}")),
        }
    }
    Ok(lost)
}

impl Retries {
    fn add(&mut self, retried: Result<Retried, QueueError>) -> Result<(), QueueError> {
        match retried {
            Ok(retried) => {
                self.renders += retried.renders;
                self.jobs.push(retried);
            }
            Err(QueueError::Store(StoreError::NothingToDo(why))) => self.refused.push(why),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// An error where there is nothing but refusals.
    fn or_refusals(self) -> Result<Retries, QueueError> {
        match self.jobs.is_empty() {
            true => Err(StoreError::NothingToDo(self.refused.join("; ")).into()),
            false => Ok(self),
        }
    }

    /// Nobody has named what was left out.
    fn without_refusals(self) -> Retries {
        Retries { refused: Vec::new(), ..self }
    }
}
