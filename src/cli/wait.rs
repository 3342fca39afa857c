//! `zimaged wait`: until a job has ended, with a progress bar on a terminal; then how it ended.

use std::time::Duration;

use anyhow::anyhow;
use clap_complete::engine::ArgValueCompleter;
use jiff::SignedDuration;
use tokio::time::{Instant, sleep};

use super::completions::job_ids;
use super::progress::JobBar;
use super::{EXIT_DEGRADED, EXIT_NOT_DONE, EXIT_TEMPFAIL, Failure, Outcome, job_id, print};
use crate::config::Config;
use crate::queue::{self, JobProgress, Obstacle, Queue, Summary, Waited};
use crate::store::Selection;

/// Between two looks at the database.
const POLL: Duration = Duration::from_millis(200);

/// So long a daemon may be away that has not been seen: people start it in the same moment.
const START_GRACE: Duration = Duration::from_secs(3);

/// The same of one that ran before: our unit starts it again after fifteen seconds.
const RESTART_GRACE: Duration = Duration::from_secs(30);

/// So many of the jobs that have not ended in time are told one by one.
const LEFT_MAX: usize = 10;

#[derive(clap::Args, Debug)]
pub(super) struct WaitArgs {
    /// Job ids
    #[arg(required = true, value_parser = job_id, add = ArgValueCompleter::new(job_ids))]
    jobs: Vec<i64>,
    /// Give up after this time: 90s, 30m, 1h 30m; a number alone is seconds
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

/// As in daemon.toml, and in seconds.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let written = || text.parse::<SignedDuration>().ok()?.try_into().ok();
    seconds.or_else(written).ok_or_else(|| format!("'{text}' is no time like 90s, 30m or 1h"))
}

pub(super) async fn wait(config: &Config, args: &WaitArgs, json: bool) -> Outcome {
    wait_for(config, &args.jobs, args.timeout, json).await
}

/// Waits for all `jobs`, shows what became of them, and answers the exit code that says it.
pub(super) async fn wait_for(
    config: &Config,
    jobs: &[i64],
    timeout: Option<Duration>,
    json: bool,
) -> Outcome {
    let queue = Queue::open_or_empty(config).await?;
    // One that no clock reaches is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut absence = Absence::since(Instant::now());
    let mut pictures = Vec::new();
    for (place, job_id) in jobs.iter().enumerate() {
        if let Some(why) = follow(&queue, *job_id, deadline, &mut absence).await? {
            return Err(given_up(&queue, &jobs[place..], why).await?);
        }
        pictures.extend(queue.store().history(Selection::Job(*job_id)).await?);
    }
    let waited = Waited::of(pictures);
    print::waited(&waited, json)?;
    Ok(exit_code(&waited.summary))
}

/// What `wait` and `run --until-idle` say of how pictures ended.
pub(super) fn exit_code(summary: &Summary) -> u8 {
    match summary {
        summary if !summary.is_done() => EXIT_NOT_DONE,
        summary if summary.degraded > 0 => EXIT_DEGRADED,
        _ => 0,
    }
}

/// Waits until a daemon runs, for as long as one may take that is just being started.
pub(super) async fn until_daemon(config: &Config) {
    let deadline = Instant::now() + START_GRACE;
    while !queue::has_daemon(config) && Instant::now() < deadline {
        sleep(POLL).await;
    }
}

/// Since when there is no daemon, and how long there may be none.
struct Absence {
    since: Instant,
    may_last: Duration,
}

impl Absence {
    fn since(now: Instant) -> Absence {
        Absence { since: now, may_last: START_GRACE }
    }

    /// Whether nobody will go on with the work, as far as anybody can know.
    fn lasts(&mut self, obstacle: Option<&Obstacle>, now: Instant) -> bool {
        if obstacle == Some(&Obstacle::NoDaemon) {
            return now - self.since >= self.may_last;
        }
        *self = Absence { since: now, may_last: RESTART_GRACE };
        false
    }
}

/// Why a job is not waited for any longer.
enum GivenUp {
    TimedOut,
    NoDaemon(Duration),
}

/// Waits until the job has ended, unless that takes too long.
async fn follow(
    queue: &Queue<'_>,
    job_id: i64,
    deadline: Option<Instant>,
    absence: &mut Absence,
) -> Result<Option<GivenUp>, Failure> {
    let mut bar = JobBar::new(job_id);
    let mut told = None;
    loop {
        let progress = queue.progress(job_id).await?;
        bar.show(queue, &progress).await;
        if progress.is_over() {
            bar.end();
            return Ok(None);
        }
        if let Some(obstacle) = progress.obstacle.as_ref().filter(|_| progress.obstacle != told) {
            bar.tell(&obstacle.to_string());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Some(GivenUp::TimedOut));
        }
        if absence.lasts(progress.obstacle.as_ref(), Instant::now()) {
            bar.end();
            return Ok(Some(GivenUp::NoDaemon(absence.may_last)));
        }
        told = progress.obstacle;
        sleep(POLL).await;
    }
}

/// Which of the jobs have not ended, and how far each is.
async fn given_up(queue: &Queue<'_>, jobs: &[i64], why: GivenUp) -> Result<Failure, Failure> {
    let mut left = Vec::new();
    for job_id in jobs {
        let progress = queue.progress(*job_id).await?;
        if !progress.is_over() {
            let JobProgress { ended, renders, .. } = progress;
            left.push(format!("job {job_id} has not ended: {ended} of {renders} pictures have"));
        }
    }
    let more = left.len().saturating_sub(LEFT_MAX);
    left.truncate(LEFT_MAX);
    left.extend((more > 0).then(|| format!("and {more} more jobs have not ended")));
    if let GivenUp::NoDaemon(away) = why {
        let away_s = away.as_secs();
        left.push(format!("no daemon runs, and none was started within {away_s} s: zimaged run"));
    }
    Ok(Failure { code: EXIT_TEMPFAIL, error: anyhow!(left.join("\n")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // newcomer 3
    #[test]
    fn a_daemon_that_ran_may_be_away_for_longer_than_one_that_nobody_saw() {
        let begin = Instant::now();
        let mut absence = Absence::since(begin);
        let mut lasts = |obstacle, now| absence.lasts(obstacle, begin + now);
        let away = Some(&Obstacle::NoDaemon);
        assert!(!lasts(away, START_GRACE / 2), "it may be starting");
        assert!(lasts(away, START_GRACE));
        let seen = 2 * START_GRACE;
        assert!(!lasts(None, seen));
        assert!(!lasts(away, seen + START_GRACE), "it may be started again");
        assert!(lasts(away, seen + RESTART_GRACE));
    }
}
