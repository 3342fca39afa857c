//! What users change: cancel, retry, pause, resume. Marks in the database that the dispatcher acts
//! on.

use serde::Serialize;

use super::Queue;
use crate::store::{Cancelled, RenderFilter, Result, Retried, Selection, StoreError};

/// So many names are told in one message.
pub(super) const NAMES_MAX: usize = 5;

/// What a change is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// What the user names.
    Named(Vec<Selection>),
    /// Whatever has something in common.
    Matching(RenderFilter),
}

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

/// Whether the queue is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PauseAnswer {
    /// Why; null where it is not paused.
    pub paused: Option<String>,
}

impl Queue<'_> {
    /// Cancels what has not ended of it; what runs stops at its next step. An error where all that
    /// was named has ended.
    pub async fn cancel(&self, which: &Which) -> Result<Cancelled> {
        let now_ms = self.clock.now_ms();
        match which {
            Which::Matching(filter) => {
                let done = self.store.cancel_matching(filter, now_ms).await?;
                match done.cancelled + done.stopping {
                    0 => Err(self.nothing_matches("cancelled", "waits or runs", filter).await),
                    _ => Ok(done),
                }
            }
            Which::Named(selections) => {
                let done = self.store.cancel(selections, now_ms).await?;
                match done.cancelled + done.stopping {
                    0 => Err(StoreError::NothingToDo(format!(
                        "nothing was cancelled: {} ended before",
                        names(selections)
                    ))),
                    _ => Ok(done),
                }
            }
        }
    }

    /// Cancels what of the job is not being made yet: whoever asked for it has gone.
    pub async fn cancel_queued(&self, job_id: i64) -> Result<Cancelled> {
        self.store.cancel_queued(job_id, self.clock.now_ms()).await
    }

    /// Makes new jobs of what of it failed or was cancelled and is not being rendered again
    /// already. An error where nothing of what was named is.
    pub async fn retry(&self, which: &Which) -> Result<Retries> {
        match which {
            Which::Named(selections) => self.retry_named(selections).await,
            Which::Matching(filter) => {
                let jobs = self.store.retryable(filter).await?;
                let mut made = Retries::default();
                for job_id in jobs {
                    let retried = self.retry_one(Selection::Job(job_id), Some(filter)).await;
                    made.add(retried)?;
                }
                if made.jobs.is_empty() {
                    let left = "is left that failed or was cancelled";
                    return Err(self.nothing_matches("repeated", left, filter).await);
                }
                // Nobody has named what was left out.
                made.refused.clear();
                Ok(made)
            }
        }
    }

    async fn retry_named(&self, selections: &[Selection]) -> Result<Retries> {
        for selection in selections {
            self.store.history(*selection).await?;
        }
        let mut made = Retries::default();
        for selection in selections {
            let retried = self.retry_one(*selection, None).await;
            made.add(retried)?;
        }
        match made.jobs.is_empty() {
            true => Err(StoreError::NothingToDo(made.refused.join("; "))),
            false => Ok(made),
        }
    }

    async fn retry_one(
        &self,
        selection: Selection,
        among: Option<&RenderFilter>,
    ) -> Result<Retried> {
        self.store.retry(selection, among, self.clock.now_ms()).await
    }

    /// Why nothing was `done` to what has something in common: of a tag, whether any job has it.
    pub(super) async fn nothing_matches(
        &self,
        done: &str,
        left: &str,
        filter: &RenderFilter,
    ) -> StoreError {
        let why = match (&filter.tag, filter.state) {
            (Some(tag), state) => match (self.store.has_tag(tag).await, state) {
                (Ok(false), _) => format!("no job has the tag {tag}"),
                (_, None) => format!("nothing with the tag {tag} {left}"),
                (_, Some(state)) => {
                    format!("nothing with the tag {tag} is left in the state {state}")
                }
            },
            (None, Some(state)) => format!("nothing is left in the state {state}"),
            (None, None) => format!("nothing {left}"),
        };
        StoreError::NothingToDo(format!("nothing was {done}: {why}"))
    }

    /// Starts no further render until [`Queue::resume`], also after a restart of the daemon.
    pub async fn pause(&self, reason: &str) -> Result<PauseAnswer> {
        self.store.pause(reason, self.clock.now_ms()).await?;
        Ok(PauseAnswer { paused: Some(reason.to_owned()) })
    }

    /// Ends a pause, if there is one.
    pub async fn resume(&self) -> Result<PauseAnswer> {
        self.store.resume(self.clock.now_ms()).await?;
        Ok(PauseAnswer { paused: None })
    }
}

impl Retries {
    fn add(&mut self, retried: Result<Retried>) -> Result<()> {
        match retried {
            Ok(retried) => {
                self.renders += retried.renders;
                self.jobs.push(retried);
            }
            Err(StoreError::NothingToDo(why)) => self.refused.push(why),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The first few names, and how many more there are.
fn names(selections: &[Selection]) -> String {
    let first: Vec<String> = selections.iter().take(NAMES_MAX).map(ToString::to_string).collect();
    match selections.len().saturating_sub(NAMES_MAX) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
