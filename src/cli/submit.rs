//! `zimaged submit`: job files are checked, handed over and, where a daemon runs, taken in.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::job_file::{self, JobFile};
use super::{EXIT_NOT_DONE, Failure, Outcome, print, stderr, wait};
use crate::config::Config;
use crate::queue::{self, CheckedJob};

#[derive(clap::Args, Debug)]
pub(super) struct SubmitArgs {
    /// Job files; - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Wait until the jobs have ended
    #[arg(long)]
    wait: bool,
}

pub(super) async fn submit(config: &Config, args: &SubmitArgs, json: bool) -> Outcome {
    let jobs = checked(config, &args.files)?;
    let submitted = queue::submit(config, &jobs).await?;
    tell_queue_elsewhere(config);
    warn(&jobs);
    let reports: Vec<&str> =
        submitted.refused.iter().map(|refused| refused.report.as_str()).collect();
    if args.wait && reports.is_empty() && submitted.waiting.is_empty() {
        let jobs: Vec<i64> = submitted.jobs.iter().map(|taken| taken.job).collect();
        return wait::wait_for(config, &jobs, None, json).await;
    }
    print::submitted(&submitted, json)?;
    match reports.is_empty() {
        true => Ok(0),
        false => Err(Failure {
            code: EXIT_NOT_DONE,
            error: anyhow!("refused by the daemon:\n{}", reports.concat()),
        }),
    }
}

/// All `files` without mistakes; else the first one's mistakes.
pub(super) fn checked<'f>(
    config: &Config,
    files: &'f [PathBuf],
) -> Result<Vec<(&'f Path, CheckedJob)>, Failure> {
    let check = |path: &'f PathBuf| -> Result<_, Failure> {
        let JobFile { name, content } = job_file::read(config, path)?;
        Ok((path.as_path(), queue::check(config, name, content)?))
    };
    files.iter().map(check).collect()
}

/// Says which queue it is, where that is not to be seen from the current folder.
fn tell_queue_elsewhere(config: &Config) {
    let home = config.file.as_deref().unwrap_or(&config.state).parent();
    if home != std::env::current_dir().ok().as_deref() {
        stderr::tell(&super::which_queue(&config.state, config.file.as_deref()));
    }
}

/// Says what is hardly meant in jobs that were handed over all the same.
pub(super) fn warn(jobs: &[(&Path, CheckedJob)]) {
    for (_, job) in jobs {
        for warning in &job.warnings {
            stderr::tell(&format!("{}: {warning}", job.name));
        }
    }
}
