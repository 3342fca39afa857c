//! `zimaged submit`: job files are checked, handed over and, where a daemon runs, taken in.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::job_file;
use super::job_options::{JobOptions, JobSource};
use super::{EXIT_FAILED, EXIT_NOT_DONE, Failure, Outcome, print, stderr, wait};
use crate::config::Config;
use crate::job::warning::Warning;
use crate::queue::{self, CheckedJob, Submitted};

#[derive(clap::Args, Debug)]
pub(super) struct SubmitArgs {
    /// Job files; - for standard input
    files: Vec<PathBuf>,
    /// Wait until the jobs have ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    job: JobOptions,
}

impl SubmitArgs {
    /// Takes the model that the option of all commands names for the job's.
    pub(super) fn name_model(&mut self, name: &str) {
        self.job.name_model(name);
    }
}

pub(super) async fn submit(config: &Config, args: &SubmitArgs, json: bool) -> Outcome {
    if args.wait {
        wait::until_daemon(config).await;
    }
    let submitted = hand_over(config, args).await?;
    let reports: Vec<&str> =
        submitted.refused.iter().map(|refused| refused.report.as_str()).collect();
    let has_daemon = queue::has_daemon(config);
    let text = print::submitted(&submitted);
    if args.wait && has_daemon && reports.is_empty() && submitted.waiting.is_empty() {
        // The answer is how it ended; until then nobody else says which job that is.
        stderr::remark(&text);
        let jobs: Vec<i64> = submitted.jobs.iter().map(|taken| taken.job).collect();
        return match wait::wait_for(config, &jobs, None, json).await {
            Err(_) if !queue::has_daemon(config) => Err(not_waited_for(&submitted)),
            waited => waited,
        };
    }
    print::answer(&submitted, &text, json)?;
    if !has_daemon && !args.wait && submitted.waiting.is_empty() {
        stderr::remark("no daemon is running; start it with: zimaged run");
    }
    match reports.is_empty() {
        // newcomer 3
        true if args.wait && !has_daemon => Err(not_waited_for(&submitted)),
        true => Ok(0),
        // Programs have them in the answer.
        false if json => Ok(EXIT_NOT_DONE),
        false => Err(Failure {
            code: EXIT_NOT_DONE,
            error: anyhow!("refused by the daemon:\n{}", reports.concat()),
        }),
    }
}

/// Checks what the arguments ask for, hands it over, and says what is hardly meant in it.
async fn hand_over(config: &Config, args: &SubmitArgs) -> Result<Submitted, Failure> {
    match args.job.beside(&args.files)? {
        JobSource::Options(job) => {
            let wish = job.wish(config)?;
            let mut job = wish.check(config)?;
            let submitted = queue::submit_wish(config, &mut job).await?;
            for warning in &job.warnings {
                warn_of(wish.source_of(warning).as_deref(), warning);
            }
            Ok(submitted)
        }
        JobSource::Files(files) => {
            let mut jobs = job_file::checked(config, files)?;
            let submitted = queue::submit(config, &mut jobs).await?;
            warn(&jobs);
            Ok(submitted)
        }
    }
}

/// What was handed over is safe, but nobody works on it. Whoever tried again, as 75 has it, would
/// have all pictures twice.
fn not_waited_for(submitted: &Submitted) -> Failure {
    let ids: Vec<String> = submitted.jobs.iter().map(|taken| taken.job.to_string()).collect();
    let wait = match ids.is_empty() {
        true => String::new(),
        false => format!(", and wait with: zimaged wait {}", ids.join(" ")),
    };
    let error = anyhow!(
        "the job is handed over, do not submit it again; but it is not waited for, because no \
         daemon is running: start one with: zimaged run{wait}"
    );
    Failure { code: EXIT_FAILED, error }
}

/// Says what is hardly meant in files that were handed over all the same.
pub(super) fn warn(jobs: &[(&Path, CheckedJob)]) {
    for (_, job) in jobs {
        for warning in &job.warnings {
            warn_of(Some(&job.name), warning);
        }
    }
}

/// Says a warning, and what it is about, where that is one file or option.
fn warn_of(source: Option<&str>, warning: &Warning) {
    let source = source.map(|source| format!("{source}: ")).unwrap_or_default();
    stderr::remark(&format!("{source}{warning}"));
}
