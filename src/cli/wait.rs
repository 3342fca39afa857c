//! `zimaged wait`: until a job has ended, with a progress bar on a terminal; then how it ended.

use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::{
    EXIT_DEGRADED, EXIT_NOT_DONE, EXIT_TEMPFAIL, Failure, Outcome, open_store, print, time,
};
use crate::config::Config;
use crate::instance::InstanceLock;
use crate::job::state::State;
use crate::status;
use crate::store::{HistoryRow, JobRow, Selection, Store};

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
    let store = open_store(config).await?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut pictures = Vec::new();
    for job_id in jobs {
        follow(config, &store, *job_id, deadline).await?;
        pictures.extend(store.history(Selection::Job(*job_id)).await?);
    }
    print::summary(&pictures, json)?;
    Ok(exit_code(&pictures))
}

/// What `wait` and `run --until-idle` say of how pictures ended.
pub(super) fn exit_code(pictures: &[HistoryRow]) -> u8 {
    if pictures.iter().any(|picture| picture.state != State::Done) {
        EXIT_NOT_DONE
    } else if pictures.iter().any(|picture| picture.degraded) {
        EXIT_DEGRADED
    } else {
        0
    }
}

async fn follow(
    config: &Config,
    store: &Store,
    job_id: i64,
    deadline: Option<Instant>,
) -> Result<(), Failure> {
    // On anything but a terminal the bar draws nothing.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("job {prefix} {wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(job_id.to_string());
    let mut told = None;
    loop {
        let job = store.job(job_id).await?;
        let ended = job.done + job.failed + job.cancelled;
        bar.set_length(job.renders.unsigned_abs());
        bar.set_position(ended.unsigned_abs());
        bar.set_message(message(config, &job));
        if ended == job.renders {
            bar.finish_and_clear();
            return Ok(());
        }
        let obstacle = obstacle(config, store).await?;
        if let Some(obstacle) = obstacle.as_ref().filter(|_| obstacle != told) {
            bar.suspend(|| eprintln!("{obstacle}"));
        }
        told = obstacle;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let error = anyhow!("job {job_id} has not ended: {ended} of {} pictures", job.renders);
            return Err(Failure { code: EXIT_TEMPFAIL, error });
        }
        sleep(POLL).await;
    }
}

/// What keeps every job from going on, until somebody does something about it.
async fn obstacle(config: &Config, store: &Store) -> Result<Option<String>, Failure> {
    if !InstanceLock::is_held(&config.state) {
        return Ok(Some("no daemon is running; start it with: zimaged run".to_owned()));
    }
    Ok(store.paused().await?.map(|pause| pause.to_string()))
}

/// The step of the running picture, when it is one of this job's, or what the job waits for.
fn message(config: &Config, job: &JobRow) -> String {
    if let Some(waits) = job.run_after_ms.filter(|_| job.running == 0).and_then(time::waits_until) {
        return waits;
    }
    let Some(status) = status::read(&config.state) else {
        return "the daemon is not running".to_owned();
    };
    match status.render {
        Some(render) if render.job_id == job.job => {
            format!("picture {}, step {}/{}", render.index, render.step, render.steps)
        }
        _ => status.hold.unwrap_or_default(),
    }
}
