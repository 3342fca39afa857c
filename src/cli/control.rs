//! `zimaged cancel`, `retry`, `pause`, `resume`; and which renders a change is for.

use anyhow::anyhow;
use clap_complete::engine::ArgValueCompleter;

use super::completions::job_ids;
use super::{EXIT_NOT_DONE, Failure, Outcome, ask, print};
use crate::config::Config;
use crate::job::state::State;
use crate::queue::{Queue, Retries, Which, has_daemon};
use crate::store::{RenderFilter, Selection};

/// What is to be changed or repeated. Each command has a `--state` of its own beside it.
#[derive(clap::Args, Debug)]
pub(super) struct Chosen {
    /// Jobs (12) or renders (12.3)
    #[arg(
        value_parser = str::parse::<Selection>,
        required_unless_present_any = ["tag", "state", "all"],
        add = ArgValueCompleter::new(job_ids)
    )]
    what: Vec<Selection>,
    /// All jobs with this tag
    #[arg(long, conflicts_with = "what")]
    tag: Option<String>,
    /// Everything that can be
    #[arg(long, conflicts_with_all = ["what", "tag", "state"])]
    all: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// All renders in this state: queued or running
    #[arg(long, conflicts_with = "what", value_parser = not_ended)]
    state: Option<State>,
    /// Do not ask on a terminal whether --all is meant
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// All renders in this state: failed or cancelled
    #[arg(long, conflicts_with = "what", value_parser = repeatable)]
    state: Option<State>,
    /// What was made and whose file is gone, in place of what failed or was cancelled
    #[arg(long, conflicts_with = "state")]
    missing: bool,
}

pub(super) fn not_ended(word: &str) -> Result<State, String> {
    one_of(word, [State::Queued, State::Running])
}

fn repeatable(word: &str) -> Result<State, String> {
    one_of(word, [State::Failed, State::Cancelled])
}

fn one_of(word: &str, states: [State; 2]) -> Result<State, String> {
    let known = states.into_iter().find(|state| state.to_string() == word);
    known.ok_or_else(|| format!("use {} or {}", states[0], states[1]))
}

pub(super) fn which(chosen: &Chosen, state: Option<State>) -> Which {
    match chosen.what.as_slice() {
        [] => Which::Matching(RenderFilter { state, tag: chosen.tag.clone() }),
        named => Which::Named(named.to_vec()),
    }
}

pub(super) async fn cancel(config: &Config, args: &CancelArgs, json: bool) -> Outcome {
    let which = which(&args.chosen, args.state);
    let queue = Queue::open_or_empty(config).await?;
    if !args.yes && !json && ask::can_ask() {
        let renders = queue.all_to_cancel(&which).await?.unwrap_or(0);
        if renders > 0 && !ask::is_meant(&are_all_meant(renders))? {
            return Err(Failure { code: EXIT_NOT_DONE, error: anyhow!("nothing was cancelled") });
        }
    }
    let done = queue.cancel(&which).await?;
    let text = format!("{} cancelled", print::count(done.cancelled, "render"));
    let stopping = match has_daemon(config) {
        true => "stopping",
        false => "interrupted and cancelled when the daemon starts",
    };
    let mut text = print::with_counts(text, [(done.stopping, stopping), (done.ended, "had ended")]);
    if let Some(told) = queue.untaken(&which) {
        text += &format!("\n{told}");
    }
    print::answer(&done, &text, json)?;
    Ok(0)
}

fn are_all_meant(renders: u64) -> String {
    let them = if renders == 1 { "it" } else { "them" };
    let waits = if renders == 1 { "waits or runs" } else { "wait or run" };
    let renders = print::count(renders, "render");
    format!("{renders} {waits}: cancel {them}?")
}

pub(super) async fn retry(config: &Config, args: &RetryArgs, json: bool) -> Outcome {
    let which = which(&args.chosen, args.state);
    let queue = Queue::open_or_empty(config).await?;
    let retries = match args.missing {
        true => queue.retry_missing(&which).await?,
        false => queue.retry(&which).await?,
    };
    print::answer(&retries, &retried(&retries), json)?;
    Ok(0)
}

/// One line of sum, and one for whatever was named in vain.
fn retried(retries: &Retries) -> String {
    let Retries { jobs, renders, refused } = retries;
    let ids = jobs.iter().map(|retried| retried.job);
    let jobs = match (ids.clone().min(), ids.max()) {
        (Some(first), Some(last)) if first == last => format!(", as job {first}"),
        (Some(first), Some(last)) => format!(", as jobs {first} to {last}"),
        _ => String::new(),
    };
    let mut text =
        format!("{} to be rendered again{jobs}", print::count(*renders as u64, "render"));
    for why in refused {
        text += &format!("\n{why}");
    }
    text
}

pub(super) async fn pause(config: &Config, reason: &str, json: bool) -> Outcome {
    let answer = Queue::open(config).await?.pause(reason).await?;
    let text = "paused: the running render ends, no other starts until `zimaged resume`";
    print::answer(&answer, text, json)?;
    Ok(0)
}

pub(super) async fn resume(config: &Config, json: bool) -> Outcome {
    let answer = Queue::open(config).await?.resume().await?;
    print::answer(&answer, "resumed", json)?;
    Ok(0)
}
