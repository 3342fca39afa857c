//! `zimaged list`, `show`, `status`.

use super::{Outcome, print, time, which_queue};
use crate::config::Config;
use crate::job::state::State;
use crate::problem::printable;
use crate::queue::{Queue, QueueStatus};
use crate::store::{JobRow, Outlook, Selection};

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

pub(super) async fn status(config: &Config, json: bool) -> Outcome {
    let status = Queue::open(config).await?.status().await?;
    print::answer(&status, &lines(&status).join("\n"), json)?;
    Ok(0)
}

fn lines(status: &QueueStatus) -> Vec<String> {
    let mut lines = vec![which_queue(&status.state_folder, status.config.as_deref())];
    lines.push(match &status.daemon {
        Some(daemon) => format!("running (process {}): {}", daemon.pid, daemon.line()),
        None if status.running => "starting".to_owned(),
        None => "not running; start it with: zimaged run".to_owned(),
    });
    lines.extend(status.begun.iter().map(progress));
    let expected = expected(&status.outlook, status.paused.is_none());
    lines.push(format!("{} queued{expected}", print::count(status.queued, "render")));
    if let Some(pause) = &status.paused {
        lines.push(format!("paused: {}", pause.reason));
    }
    if let Some(worker) = &status.model {
        lines.push(format!(
            "model {} on {}, loaded in {} ms",
            worker.model_name, worker.device, worker.load_ms
        ));
    }
    lines
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
