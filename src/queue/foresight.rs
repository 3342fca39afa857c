//! What is said of jobs before they are handed over: how long their pictures take, when they would
//! be done, and what would be made of those that do not fit the memory.

use std::collections::BTreeSet;

use super::agreement::{daemon_zone, not_kept_awake, unread_configuration};
use super::outlook::{entries, last_end_ms, work_ms};
use super::timing::{ModelTimings, OfModels};
use super::{CheckedJob, ExpectedWork, Queue, has_daemon};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::intake;
use crate::job::warning::{Lack, Warning};
use crate::job::{Job, Render};
use crate::planner::{AgendaEntry, Turn, turns};
use crate::store::Effort;

/// What is foreseen of jobs that are not in the queue yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// How long their pictures take; `None` where nobody can know.
    pub expected: Option<ExpectedWork>,
    /// Why nothing at all is started now, although a daemon runs.
    pub stopped: Option<String>,
}

/// Looks ahead for all `jobs` together, and adds to the warnings of each. Before the first start
/// of a daemon there is no `queue`.
pub async fn foresee<'j>(
    config: &Config,
    queue: Option<&Queue<'_>>,
    jobs: impl IntoIterator<Item = &'j mut CheckedJob>,
) -> Foreseen {
    let stopped = match queue {
        Some(queue) => queue.stopped().await,
        None => None,
    };
    let mut jobs: Vec<&mut CheckedJob> = jobs.into_iter().collect();
    let of_all = unread_configuration(config).into_iter().chain(not_kept_awake(config));
    // Told once, however many jobs there are.
    if let Some(first) = jobs.first_mut() {
        first.warnings.extend(of_all);
    }
    let is_running = has_daemon(config);
    let uncounted_files = if is_running { 0 } else { files_beside(config, &jobs) };
    let models = OfModels::new(config);
    let Ok(timings) = ModelTimings::measured(&models, queue.map(Queue::store)).await else {
        return Foreseen { expected: None, stopped };
    };
    let (mut new, mut is_estimate) = (Some(Vec::new()), false);
    for job in jobs {
        let kinds = kinds(&job.resolved.job);
        is_estimate |= timings.is_estimate(kinds.iter().map(|(kind, _)| kind.model.as_str()));
        job.warnings.extend(lacks(&timings, &kinds));
        let entries = job_entries(&timings, &job.resolved.job, &kinds);
        new = new.zip(entries).map(|(new, more)| [new, more].concat());
    }
    let Some(new) = new else { return Foreseen { expected: None, stopped } };
    let work_ms = work_ms(&new);
    let turn = match queue {
        _ if stopped.is_some() => None,
        Some(queue) => queue.turn(&timings, new).await,
        // Before its first start there is nothing else.
        None if !is_running => together(config, SystemClock.now_ms(), &new, 0),
        None => None,
    };
    let Turn { begins_ms, ends_ms, too_late } = turn.unwrap_or_default();
    let expected = ExpectedWork {
        work_ms,
        is_estimate,
        starts_at_ms: begins_ms.filter(|_| is_running),
        done_at_ms: ends_ms.filter(|_| is_running),
        done_if_started_ms: ends_ms.filter(|_| !is_running),
        uncounted_files,
        too_late,
    };
    Foreseen { expected: Some(expected), stopped }
}

/// How many files wait in the jobs folder that are none of these jobs.
fn files_beside(config: &Config, jobs: &[&mut CheckedJob]) -> u64 {
    let waiting = intake::contents(&config.jobs).map(|contents| contents.jobs).unwrap_or_default();
    let own: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    waiting.iter().filter(|file| !own.contains(file.as_str())).count() as u64
}

impl CheckedJob {
    /// The job with what is foreseen of it, alone.
    pub async fn foreseen(mut self, config: &Config, queue: Option<&Queue<'_>>) -> CheckedJob {
        let Foreseen { expected, stopped } = foresee(config, queue, [&mut self]).await;
        CheckedJob { expected, stopped, ..self }
    }
}

impl Queue<'_> {
    /// The turn of all `new` entries together, after what is queued, as of a daemon that runs.
    async fn turn(&self, timings: &ModelTimings<'_>, new: Vec<AgendaEntry>) -> Option<Turn> {
        let now_ms = self.clock.now_ms();
        let mut all = entries(timings, &self.store.waiting(now_ms).await.ok()?.kinds)?;
        let earlier = all.len();
        all.extend(new);
        together(self.config, now_ms, &all, earlier)
    }
}

/// The turn of all entries but the `earlier` ones together.
fn together(config: &Config, now_ms: i64, all: &[AgendaEntry], earlier: usize) -> Option<Turn> {
    let turns = turns(all, now_ms, &config.power.quiet, &daemon_zone(config))?;
    let of_new = &turns[earlier..];
    Some(Turn {
        begins_ms: of_new.iter().filter_map(|turn| turn.begins_ms).min(),
        ends_ms: last_end_ms(of_new),
        too_late: of_new.iter().map(|turn| turn.too_late).sum(),
    })
}

/// The renders of a job with how many are alike. Jobs of thousands of pictures have few kinds.
fn kinds(job: &Job) -> Vec<(&Render, u64)> {
    let mut kinds: Vec<(&Render, u64)> = Vec::new();
    for render in &job.renders {
        match kinds.iter_mut().find(|(kind, _)| is_alike(kind, render)) {
            Some((_, renders)) => *renders += 1,
            None => kinds.push((render, 1)),
        }
    }
    kinds
}

/// Whether two renders take the same time, and the same memory.
fn is_alike(a: &Render, b: &Render) -> bool {
    let asked = |render: &Render| {
        let Render { min_side, min_steps, on_oom, ref recipe, .. } = *render;
        let begins = (recipe.begins_with_picture(), recipe.strength);
        (Effort::from(render), min_side, min_steps, on_oom, recipe.prompt.len(), begins)
    };
    a.model == b.model && asked(a) == asked(b)
}

fn job_entries(
    timings: &ModelTimings,
    job: &Job,
    kinds: &[(&Render, u64)],
) -> Option<Vec<AgendaEntry>> {
    let entry = |&(render, renders): &(&Render, u64)| {
        let each_ms = timings.of(&render.model)?.of_render(render)?;
        let (priority, times) = (job.priority, job.times());
        Some(AgendaEntry { priority, times, is_running: false, renders, each_ms })
    };
    kinds.iter().map(entry).collect()
}

/// What does not fit as it was asked for, each lack once.
fn lacks(timings: &ModelTimings, kinds: &[(&Render, u64)]) -> Vec<Warning> {
    let mut found: Vec<(Lack, u64, &Render)> = Vec::new();
    for &(render, renders) in kinds {
        let timing = timings.of(&render.model);
        let Some(lack) = timing.and_then(|timing| timing.lack(render)) else { continue };
        match found.iter_mut().find(|(known, ..)| *known == lack) {
            Some((_, pictures, longest)) => {
                *pictures += renders;
                *longest = longer(longest, render);
            }
            None => found.push((lack, renders, render)),
        }
    }
    let told = found.into_iter().map(|(lack, pictures, longest)| {
        let timing = timings.of(&longest.model);
        let needed_bytes = timing.and_then(|timing| timing.needed_bytes(longest));
        Warning::Memory { lack: Lack { needed_bytes, ..lack }, pictures }
    });
    told.collect()
}

/// The one with the longer prompt, which needs more memory.
fn longer<'r>(a: &'r Render, b: &'r Render) -> &'r Render {
    if b.recipe.prompt.len() > a.recipe.prompt.len() { b } else { a }
}
