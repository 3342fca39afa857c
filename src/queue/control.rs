//! What users change: cancel, pause, resume. Marks in the database that the dispatcher acts
//! on.

use serde::Serialize;

use super::Queue;
use crate::intake;
use crate::spelling;
use crate::store::{Cancelled, RenderFilter, Result, Selection, StoreError};

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
                if done.cancelled + done.stopping > 0 {
                    return Ok(done);
                }
                Err(match self.untaken(which) {
                    Some(told) => StoreError::NothingToDo(format!(
                        "nothing was cancelled: nothing is in the queue, but {told}"
                    )),
                    None => self.nothing_matches("cancelled", "waits or runs", filter).await,
                })
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

    /// What is said of job files that wait in the folder where all is meant, because they are no
    /// part of the queue yet and will be rendered.
    pub fn untaken(&self, which: &Which) -> Option<String> {
        if *which != Which::Matching(RenderFilter::default()) {
            return None;
        }
        let number = self.files_left();
        (number > 0).then(|| {
            let files = spelling::count(number, "job file");
            let folder = self.config.jobs.display();
            format!("{files} in {folder} will be taken in and rendered unless removed there")
        })
    }

    /// How many job files wait in the folder that are not taken in yet.
    pub fn files_left(&self) -> u64 {
        intake::contents(&self.config.jobs).map_or(0, |contents| contents.jobs.len() as u64)
    }

    /// How many renders would be cancelled by whoever says so of everything; `None` where less is
    /// meant, which needs no second thought.
    pub async fn all_to_cancel(&self, which: &Which) -> Result<Option<u64>> {
        match *which == Which::Matching(RenderFilter::default()) {
            true => Ok(Some(self.store.to_do().await?)),
            false => Ok(None),
        }
    }

    /// Cancels what of the job is not being made yet: whoever asked for it has gone.
    pub async fn cancel_queued(&self, job_id: i64) -> Result<Cancelled> {
        self.store.cancel_queued(job_id, self.clock.now_ms()).await
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
        let reason = if reason.trim().is_empty() { "by the user" } else { reason };
        self.store.pause(reason, self.clock.now_ms()).await?;
        Ok(PauseAnswer { paused: Some(reason.to_owned()) })
    }

    /// Ends a pause, if there is one.
    pub async fn resume(&self) -> Result<PauseAnswer> {
        self.store.resume(self.clock.now_ms()).await?;
        Ok(PauseAnswer { paused: None })
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
