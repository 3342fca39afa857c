//! `zimaged list`, `show`, `status`.

use serde_json::json;

use super::{Outcome, open_store, print, time};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::instance::InstanceLock;
use crate::job::state::State;
use crate::problem::printable;
use crate::status;
use crate::store::{JobRow, Outlook, Selection};

/// Of so many jobs that were begun `status` says how far they are.
const BEGUN_MAX: u32 = 5;

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
    let store = open_store(config).await?;
    if args.rejected {
        print::rejections(&store.rejections(args.limit).await?, json)?;
    } else {
        print::jobs(&store.jobs(args.state, args.tag.as_deref(), args.limit).await?, json)?;
    }
    Ok(0)
}

pub(super) async fn show(config: &Config, what: Selection, json: bool) -> Outcome {
    let store = open_store(config).await?;
    let (pictures, attempts) = (store.history(what).await?, store.attempts(what).await?);
    print::show(&pictures, &attempts, json)?;
    Ok(0)
}

pub(super) async fn status(config: &Config, json: bool) -> Outcome {
    let running = InstanceLock::is_held(&config.state);
    // A file without a lock is what a killed daemon left.
    let daemon = status::read(&config.state).filter(|_| running);
    let store = open_store(config).await?;
    let (queued, paused, worker) =
        (store.queued().await?, store.paused().await?, store.last_worker().await?);
    let outlook = store.outlook(SystemClock.now_ms()).await?;
    let begun = store.jobs(Some(State::Running), None, BEGUN_MAX).await?;
    let mut lines = vec![match &daemon {
        Some(status) => format!("running (process {}): {}", status.pid, status.line()),
        None if running => "starting".to_owned(),
        None => "not running; start it with: zimaged run".to_owned(),
    }];
    lines.extend(begun.iter().map(progress));
    lines.push(
        print::count(usize::try_from(queued)?, "render")
            + " queued"
            + &expected(&outlook, paused.is_none()),
    );
    if let Some(pause) = &paused {
        lines.push(format!("paused: {}", pause.reason));
    }
    if let Some(worker) = &worker {
        lines.push(format!(
            "model {} on {}, loaded in {} ms",
            worker.model_name, worker.device, worker.load_ms
        ));
    }
    let answer = json!({
        "running": running, "daemon": daemon, "begun": begun, "queued": queued, "outlook": outlook, "paused": paused,
        "model": worker,
    });
    print::answer(&answer, &lines.join("\n"), json)?;
    Ok(0)
}

fn progress(job: &JobRow) -> String {
    let failed = if job.failed > 0 { format!(", {} failed", job.failed) } else { String::new() };
    format!(
        "job {} ({}): {} of {} done{failed}",
        job.job,
        printable(&job.file_name),
        job.done,
        job.renders
    )
}

/// When the first render may start, where none may now; how long all take, and when that would be
/// over.
fn expected(outlook: &Outlook, goes_on: bool) -> String {
    let start_ms = outlook.earliest_ms.unwrap_or_default();
    let mut text = time::waits_until(start_ms).map_or(String::new(), |waits| format!(", {waits}"));
    if let Some(work_ms) = outlook.work_ms {
        text += &format!(", about {} of work", time::duration(work_ms));
    }
    if let Some(done_at_ms) = outlook.done_at_ms.filter(|_| goes_on && outlook.renders > 0) {
        text += &format!(": done at about {}", time::soon(done_at_ms));
    }
    text
}
