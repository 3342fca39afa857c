//! `zimaged list`.

use super::{Outcome, print, short, whole};
use crate::config::Config;
use crate::job::state::ShownState;
use crate::moment;
use crate::queue::{Queue, has_daemon};
use crate::store::JobFilter;

#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// Only jobs in this state: queued, running, stopping, done, failed, cancelled
    #[arg(long)]
    state: Option<ShownState>,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only jobs that were taken in since then: 30m (minutes), 2h, 3d, 2026-11-24, 2026-11-24T22:00
    #[arg(long, value_name = "WHEN", value_parser = moment::since)]
    since: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = limit)]
    limit: u32,
    /// The files that were set aside instead
    #[arg(long)]
    rejected: bool,
}

fn limit(text: &str) -> Result<u32, String> {
    let in_range = |number: &u32| (1..=10_000).contains(number);
    whole(text).ok().filter(in_range).ok_or_else(|| "use a number from 1 to 10000".to_owned())
}

pub(super) async fn list(config: &Config, args: &ListArgs, json: bool) -> Outcome {
    let queue = Queue::open_or_empty(config).await?;
    let store = queue.store();
    if args.rejected {
        print::rejections(&store.rejections(args.limit).await?, json)?;
    } else {
        let ListArgs { state, since: since_ms, .. } = *args;
        let filter = JobFilter { state, tag: args.tag.clone(), since_ms, ..JobFilter::default() };
        let jobs = store.jobs(&filter, args.limit).await?;
        let is_all = filter == JobFilter::default();
        let mut text = match (jobs.as_slice(), is_all) {
            ([], true) => "nothing is in the queue yet".to_owned(),
            ([], false) => "no job is like that".to_owned(),
            (jobs, _) => print::jobs(jobs, args.limit, has_daemon(config)),
        };
        if let Some(files) = files_left(config, queue.files_left()).filter(|_| is_all) {
            text += &format!("\n\n{files}");
        }
        print::answer(&jobs, &text, json)?;
    }
    Ok(0)
}

/// What is said of job files that are not taken in yet.
fn files_left(config: &Config, number: u64) -> Option<String> {
    let verb = if number == 1 { "waits" } else { "wait" };
    let cure = match has_daemon(config) {
        true => "to be taken in; zimaged status says why",
        false => "for a daemon: zimaged run",
    };
    let files = print::count(number, "job file");
    (number > 0).then(|| format!("{files} {verb} in {}/ {cure}", short(&config.jobs)))
}
