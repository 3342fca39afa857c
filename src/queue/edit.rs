//! What is queued gets another priority, other times, other tags.

use std::collections::BTreeSet;

use serde::Serialize;

use super::agreement::{daemon_zone, other_clock};
use super::control::NAMES_MAX;
use super::wish::told;
use super::{Given, Queue, QueueError, Which, has_daemon};
use crate::clock;
use crate::job::spec::edits::{Editable, edits};
use crate::job::spec::times_of_day;
use crate::job::warning::{Warning, of_times};
use crate::problem::Problem;
use crate::store::{EditFate, Selection, StoreError};

/// So many of the jobs are asked when they begin: more have it in common, or are looked at in a
/// list.
const BEGINS_MAX: usize = 100;

/// What an edit did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Edited {
    /// Jobs, or single renders of them, that were changed.
    pub changed: u64,
    /// Renders that wait, and for which the change holds; those that were running when the daemon
    /// died are among them.
    pub queued: u64,
    /// Renders that run already, and go on.
    pub running: u64,
    /// What was named, but is as it was, and why.
    pub refused: Vec<String>,
    /// Where times were changed: the first of what was named may start then, if that is still to
    /// come (UTC, milliseconds since the epoch).
    pub not_before_ms: Option<i64>,
    /// Where times were changed: renders that will be cancelled, because their job's time is over
    /// before their turn, or would be where no daemon runs and one were started now. Of the first
    /// 200 jobs that wait: of others nobody knows.
    pub too_late: u64,
    /// Where times were changed: what of them is hardly meant, and whether the daemon's clock, by
    /// which they are meant, is another one.
    #[cfg_attr(test, schemars(with = "Vec<crate::job::warning::WarningText>"))]
    pub warnings: Vec<Warning>,
}

impl Queue<'_> {
    /// Changes what has not ended of it, as `given` says; what runs goes on. An error where nothing
    /// of what was named could be changed.
    pub async fn edit(&self, which: &Which, given: &[Given]) -> Result<Edited, QueueError> {
        let now_ms = self.clock.now_ms();
        let zone = daemon_zone(self.config);
        let text: Vec<String> = given.iter().map(Given::line).collect();
        let text = text.join("\n");
        let sources: Vec<String> = given.iter().map(|given| given.source.clone()).collect();
        let change = |before: &Editable| {
            edits(&text, before, &zone, now_ms).map_err(|problems| blame(&problems, &sources))
        };
        // What is wrong for a job that says nothing itself is wrong for each.
        let asked = change(&Editable::default()).map_err(QueueError::WrongWish)?;
        let selections = match which {
            Which::Named(selections) => selections.clone(),
            Which::Matching(filter) => {
                let jobs = self.store.editable(filter).await?;
                jobs.into_iter().map(Selection::Job).collect()
            }
        };
        if asked.times.is_some() || asked.tags.is_some() {
            whole_jobs(&selections)?;
        }
        let what = text.replace('\n', ", ");
        let fates = self.store.edit(&selections, &change, &what, now_ms).await?;
        let mut edited = Edited::of(fates);
        if !has_daemon(self.config) {
            edited.queued += std::mem::take(&mut edited.running);
        }
        if let Some(times) = &asked.times {
            let now = clock::within(now_ms, zone.clone());
            edited.warnings.extend(of_times(times, &times_of_day(&text), &now));
            edited.not_before_ms = self.begin_of(&selections, now_ms).await?;
            edited.too_late = self.too_late_of(&selections).await?;
            edited.warnings.extend(other_clock(&zone, now_ms));
        }
        match (which, edited.changed) {
            (Which::Named(_), 0) => Err(nothing_done(&edited.refused).into()),
            (Which::Matching(filter), 0) if edited.refused.is_empty() => {
                Err(self.nothing_matches("changed", "waits or runs", filter).await.into())
            }
            (Which::Matching(_), 0) => Err(nothing_done(&edited.refused).into()),
            _ => Ok(edited),
        }
    }
}

impl Queue<'_> {
    /// When the first of these jobs may start, where that is still to come.
    async fn begin_of(
        &self,
        selections: &[Selection],
        now_ms: i64,
    ) -> Result<Option<i64>, QueueError> {
        let mut begin_ms = None;
        for selection in selections.iter().take(BEGINS_MAX) {
            let from_ms = self.store.job(selection.job_id()).await?.run_after_ms;
            begin_ms = [begin_ms, from_ms].into_iter().flatten().min();
        }
        Ok(begin_ms.filter(|begin_ms| *begin_ms > now_ms))
    }

    /// How many renders of these jobs come too late for their time.
    async fn too_late_of(&self, selections: &[Selection]) -> Result<u64, QueueError> {
        let edited: BTreeSet<i64> = selections.iter().map(|it| it.job_id()).collect();
        let turns = self.turns_if_started().await?;
        let of_edited = turns.iter().filter(|job| edited.contains(&job.job_id));
        Ok(of_edited.map(|job| job.turn.too_late).sum())
    }
}

/// The renders of a job have their times and tags in common.
fn whole_jobs(selections: &[Selection]) -> Result<(), QueueError> {
    let single = selections.iter().find(|selection| matches!(selection, Selection::Render { .. }));
    let Some(single) = single else { return Ok(()) };
    Err(QueueError::WrongWish(format!(
        "{single}: a single render has only a priority of its own, times and tags are its job's; \
         name the job: {}",
        single.job_id()
    )))
}

fn blame(problems: &[Problem], sources: &[String]) -> String {
    let told: Vec<String> = problems.iter().filter_map(|problem| told(problem, sources)).collect();
    told.join("\n")
}

fn nothing_done(refused: &[String]) -> StoreError {
    let told = refused.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join("; ");
    let more = match refused.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    StoreError::NothingToDo(format!("nothing was changed: {told}{more}"))
}

impl Edited {
    /// What both did.
    pub(super) fn add(&mut self, other: Edited) {
        self.changed += other.changed;
        self.queued += other.queued;
        self.running += other.running;
        self.refused.extend(other.refused);
    }

    fn of(fates: Vec<(Selection, EditFate)>) -> Edited {
        let mut edited = Edited::default();
        for (selection, fate) in fates {
            match fate {
                EditFate::Edited { queued, running } => {
                    edited.changed += 1;
                    edited.queued += queued;
                    edited.running += running;
                }
                EditFate::Ended => edited.refused.push(format!("{selection} ended before")),
                EditFate::Refused(why) => edited.refused.push(format!("{selection}: {why}")),
            }
        }
        edited
    }
}
