//! `zimaged submit` and `check`: job files are checked here, handed over whole by a rename into the jobs folder, and
//! taken in by the daemon as any other.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::fs::CWD;
use tokio::time::{Instant, sleep};

use super::{EXIT_NOT_DONE, EXIT_TEMPFAIL, Failure, Outcome, open_store, print, short, wait};
use crate::config::Config;
use crate::daemon;
use crate::files;
use crate::instance::InstanceLock;
use crate::job::Job;
use crate::job::spec;
use crate::problem::{Problem, Report};

/// How long `submit` waits for a running daemon to take the files in.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks for it.
const ACCEPT_POLL: Duration = Duration::from_millis(20);

/// How many numbered names are tried when the jobs folder has one already.
const NAMES_MAX: u32 = 1000;

#[derive(clap::Args, Debug)]
pub(super) struct SubmitArgs {
    /// Job files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Wait until the jobs have ended
    #[arg(long)]
    wait: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Job files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) async fn submit(config: &Config, args: &SubmitArgs, json: bool) -> Outcome {
    let names = drop_all(config, &args.files)?;
    if !InstanceLock::is_held(&config.state) {
        print::dropped(&names, json)?;
        return Ok(0);
    }
    let jobs = accepted(config, &names).await?;
    if args.wait {
        return wait::wait_for(config, &jobs, None, json).await;
    }
    print::accepted(&names, &jobs, json)?;
    Ok(0)
}

pub(super) fn check(config: &Config, args: &CheckArgs, json: bool) -> Outcome {
    let mut code = 0;
    for path in &args.files {
        match read(config, path)? {
            Ok((_, job)) => print::checked(path, &job, json)?,
            Err(mistakes) => {
                print::mistakes(&mistakes, json)?;
                code = EXIT_NOT_DONE;
            }
        }
    }
    Ok(code)
}

/// Checks all `files`, then moves a copy of each into the jobs folder. The names there.
pub(super) fn drop_all(config: &Config, files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    for path in files {
        match read(config, path)? {
            Ok((text, _)) => texts.push((path, text)),
            Err(mistakes) => return Err(Failure { code: EXIT_NOT_DONE, error: anyhow!("{mistakes}") }),
        }
    }
    fs::create_dir_all(&config.jobs).with_context(|| format!("cannot make {}", config.jobs.display()))?;
    let drop = |(path, text): (&PathBuf, Vec<u8>)| drop_file(&config.jobs, path, &text);
    Ok(texts.into_iter().map(drop).collect::<anyhow::Result<Vec<_>>>()?)
}

/// A job file with mistakes.
pub(super) struct Mistakes {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    pub(super) problems: Vec<Problem>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistakes { name, content, problems } = self;
        Report { name, content, problems }.fmt(f)
    }
}

/// The text and the job it means, or its mistakes.
fn read(config: &Config, path: &Path) -> anyhow::Result<Result<(Vec<u8>, Job), Mistakes>> {
    let rules = daemon::rules(config).map_err(|reason| anyhow!(reason))?;
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    // The daemon draws the seeds; here only the form counts.
    Ok(match spec::parse_bytes(&content, &rules, &mut || 0) {
        Ok(job) => Ok((content, job)),
        Err(problems) => Err(Mistakes { name: short(path), content, problems }),
    })
}

/// Writes `text` under a name that the daemon ignores, then gives it its own: it is there whole or not at all.
fn drop_file(jobs: &Path, path: &Path, text: &[u8]) -> anyhow::Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("job").trim_start_matches('.');
    let temporary = jobs.join(format!(".submit-{}.part", std::process::id()));
    let mut file = File::create(&temporary).with_context(|| format!("cannot write into {}", jobs.display()))?;
    file.write_all(text).and_then(|()| file.sync_all()).context("cannot write the job file")?;
    for number in 1..NAMES_MAX {
        let name = if number == 1 { format!("{stem}.toml") } else { format!("{stem}-{number}.toml") };
        match files::rename_new(CWD, &temporary, CWD, &jobs.join(&name)) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error).context("cannot hand the job file over"),
        }
    }
    Err(anyhow!("{} holds too many files named like {stem}.toml", jobs.display()))
}

/// Waits until the daemon has taken all `names` in; their job ids.
async fn accepted(config: &Config, names: &[String]) -> Result<Vec<i64>, Failure> {
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    let store = open_store(config).await?;
    let mut jobs = Vec::new();
    for name in names {
        let job = loop {
            match store.job_by_file_name(name).await? {
                // The newest job of that name, once its file has left the folder.
                Some(job_id) if !config.jobs.join(name).exists() => break job_id,
                _ if Instant::now() < deadline => sleep(ACCEPT_POLL).await,
                _ => {
                    let error = anyhow!("{name} waits in {}: the daemon has not taken it yet", config.jobs.display());
                    return Err(Failure { code: EXIT_TEMPFAIL, error });
                }
            }
        };
        jobs.push(job);
    }
    Ok(jobs)
}
