//! `zimaged wait`: until a job has ended, with a progress bar on a terminal; then how it ended.

use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::{EXIT_DEGRADED, EXIT_NOT_DONE, EXIT_TEMPFAIL, Failure, Outcome, print, time};
use crate::config::Config;
use crate::queue::{Activity, JobProgress, Queue, Summary};
use crate::store::Selection;

/// Between two looks at the database.
const POLL: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
pub(super) struct WaitArgs {
    /// Job ids
    #[arg(required = true)]
    jobs: Vec<i64>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub(super) async fn wait(config: &Config, args: &WaitArgs, json: bool) -> Outcome {
    wait_for(config, &args.jobs, args.timeout.map(Duration::from_secs), json).await
}

/// Waits for all `jobs`, shows what became of them, and answers the exit code that says it.
pub(super) async fn wait_for(
    config: &Config,
    jobs: &[i64],
    timeout: Option<Duration>,
    json: bool,
) -> Outcome {
    let queue = Queue::open(config).await?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut pictures = Vec::new();
    for job_id in jobs {
        follow(&queue, *job_id, deadline).await?;
        pictures.extend(queue.store().history(Selection::Job(*job_id)).await?);
    }
    let summary = Summary::of(&pictures);
    print::summary(&summary, &pictures, json)?;
    Ok(exit_code(&summary))
}

/// What `wait` and `run --until-idle` say of how pictures ended.
pub(super) fn exit_code(summary: &Summary) -> u8 {
    match summary {
        summary if !summary.is_done() => EXIT_NOT_DONE,
        summary if summary.degraded > 0 => EXIT_DEGRADED,
        _ => 0,
    }
}

async fn follow(queue: &Queue<'_>, job_id: i64, deadline: Option<Instant>) -> Result<(), Failure> {
    // On anything but a terminal the bar draws nothing.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("job {prefix} {wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(job_id.to_string());
    let mut told = None;
    loop {
        let progress = queue.progress(job_id).await?;
        bar.set_length(progress.renders);
        bar.set_position(progress.ended);
        bar.set_message(message(&progress.activity));
        if progress.is_over() {
            bar.finish_and_clear();
            return Ok(());
        }
        if let Some(obstacle) = progress.obstacle.as_ref().filter(|_| progress.obstacle != told) {
            bar.suspend(|| eprintln!("{obstacle}"));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(timed_out(&progress));
        }
        told = progress.obstacle;
        sleep(POLL).await;
    }
}

fn timed_out(progress: &JobProgress) -> Failure {
    let JobProgress { job, ended, renders, .. } = progress;
    let error = anyhow!("job {} has not ended: {ended} of {renders} pictures", job.job);
    Failure { code: EXIT_TEMPFAIL, error }
}

/// What stands behind the bar.
fn message(activity: &Activity) -> String {
    match activity {
        Activity::WaitsUntil { at_ms } => time::waits_until(*at_ms).unwrap_or_default(),
        Activity::Renders { index, step, steps } => format!("picture {index}, step {step}/{steps}"),
        Activity::Held { reason } => reason.clone(),
        Activity::NoDaemon => "the daemon is not running".to_owned(),
        Activity::Waits => String::new(),
    }
}
