//! `zimaged cancel`, `retry`, `pause`, `resume`.

use clap_complete::engine::ArgValueCompleter;

use super::completions::job_ids;
use super::{Outcome, print, selection};
use crate::config::Config;
use crate::job::state::State;
use crate::queue::{Queue, Retries, Which};
use crate::store::{RenderFilter, Selection};

#[derive(clap::Args, Debug)]
pub(super) struct CancelArgs {
    /// Jobs (12) or renders (12.3)
    #[arg(
        value_parser = selection,
        required_unless_present_any = ["tag", "state", "all"],
        add = ArgValueCompleter::new(job_ids)
    )]
    what: Vec<Selection>,
    /// All jobs with this tag
    #[arg(long, conflicts_with = "what")]
    tag: Option<String>,
    /// All renders in this state: queued or running
    #[arg(long, conflicts_with = "what", value_parser = cancellable)]
    state: Option<State>,
    /// Everything that has not ended
    #[arg(long, conflicts_with_all = ["what", "tag", "state"])]
    all: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct RetryArgs {
    /// Jobs (12) or renders (12.3)
    #[arg(
        value_parser = selection,
        required_unless_present_any = ["tag", "state", "all"],
        add = ArgValueCompleter::new(job_ids)
    )]
    what: Vec<Selection>,
    /// All jobs with this tag
    #[arg(long, conflicts_with = "what")]
    tag: Option<String>,
    /// All renders in this state: failed or cancelled
    #[arg(long, conflicts_with = "what", value_parser = repeatable)]
    state: Option<State>,
    /// Everything that has failed or was cancelled
    #[arg(long, conflicts_with_all = ["what", "tag", "state"])]
    all: bool,
}

fn cancellable(word: &str) -> Result<State, String> {
    one_of(word, [State::Queued, State::Running])
}

fn repeatable(word: &str) -> Result<State, String> {
    one_of(word, [State::Failed, State::Cancelled])
}

fn one_of(word: &str, states: [State; 2]) -> Result<State, String> {
    let known = states.into_iter().find(|state| state.to_string() == word);
    known.ok_or_else(|| format!("use {} or {}", states[0], states[1]))
}

fn which(what: &[Selection], tag: Option<&String>, state: Option<State>) -> Which {
    match what {
        [] => Which::Matching(RenderFilter { state, tag: tag.cloned() }),
        named => Which::Named(named.to_vec()),
    }
}

pub(super) async fn cancel(config: &Config, args: &CancelArgs, json: bool) -> Outcome {
    let which = which(&args.what, args.tag.as_ref(), args.state);
    let done = Queue::open(config).await?.cancel(&which).await?;
    let mut text = format!("{} cancelled", print::count(done.cancelled, "render"));
    for (number, word) in [(done.stopping, "stopping"), (done.ended, "had ended")] {
        if number > 0 {
            text += &format!(", {number} {word}");
        }
    }
    print::answer(&done, &text, json)?;
    Ok(0)
}

pub(super) async fn retry(config: &Config, args: &RetryArgs, json: bool) -> Outcome {
    let which = which(&args.what, args.tag.as_ref(), args.state);
    let retries = Queue::open(config).await?.retry(&which).await?;
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
