//! `zimaged list`, `show`.

use super::{Outcome, print};
use crate::config::Config;
use crate::job::state::State;
use crate::queue::Queue;
use crate::store::Selection;

#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// Only jobs in this state: queued, running, done, failed, cancelled
    #[arg(long)]
    state: Option<State>,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The files that were set aside instead
    #[arg(long)]
    rejected: bool,
}

pub(super) async fn list(config: &Config, args: &ListArgs, json: bool) -> Outcome {
    let queue = Queue::open(config).await?;
    let store = queue.store();
    if args.rejected {
        print::rejections(&store.rejections(args.limit).await?, json)?;
    } else {
        print::jobs(&store.jobs(args.state, args.tag.as_deref(), args.limit).await?, json)?;
    }
    Ok(0)
}

pub(super) async fn show(config: &Config, what: Selection, json: bool) -> Outcome {
    let queue = Queue::open(config).await?;
    let pictures = queue.store().history(what).await?;
    let attempts = queue.store().attempts(what).await?;
    print::show(&pictures, &attempts, json)?;
    Ok(0)
}
