//! `zimaged submit`: job files are checked here, handed over whole by a rename into the jobs
//! folder, and taken in by the daemon as any other.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::fs::CWD;
use tokio::time::{Instant, sleep};

use super::check::{Checked, read, warnings};
use super::{EXIT_NOT_DONE, EXIT_TEMPFAIL, Failure, Outcome, open_store, print, wait};
use crate::config::Config;
use crate::instance::InstanceLock;
use crate::intake::source_file;
use crate::job::origin::SourceFile;
use crate::store::Store;
use crate::{daemon, files};

/// How long `submit` waits for a running daemon to take the files in.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks for it.
const ACCEPT_POLL: Duration = Duration::from_millis(20);

/// How many numbered names are tried when the jobs folder has one already.
const NAMES_MAX: u32 = 1000;

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
    let dropped = drop_all(config, &args.files)?;
    if !InstanceLock::is_held(&config.state) {
        print::dropped(&dropped, json)?;
        return Ok(0);
    }
    let store = open_store(config).await?;
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for file in &dropped {
        match taken_in(config, &store, file, deadline).await? {
            Ok(job_id) => accepted.push((file.name.as_str(), job_id)),
            Err(report) => refused.push(report),
        }
    }
    if args.wait && refused.is_empty() {
        let jobs: Vec<i64> = accepted.iter().map(|(_, job_id)| *job_id).collect();
        return wait::wait_for(config, &jobs, None, json).await;
    }
    print::accepted(&accepted, json)?;
    match refused.is_empty() {
        true => Ok(0),
        false => Err(Failure {
            code: EXIT_NOT_DONE,
            error: anyhow!("refused by the daemon:\n{}", refused.join("")),
        }),
    }
}

/// Checks all `files`, then moves a copy of each into the jobs folder.
pub(super) fn drop_all(config: &Config, files: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let mut checked = Vec::new();
    for path in files {
        match read(config, path)? {
            Ok(good) => checked.push((path, good)),
            Err(mistakes) => {
                return Err(Failure { code: EXIT_NOT_DONE, error: anyhow!("{mistakes}") });
            }
        }
    }
    daemon::make_folder(&config.jobs)?;
    let mut dropped = Vec::new();
    for (path, Checked { name, content, job }) in &checked {
        dropped.push(drop_file(&config.jobs, path, content)?);
        for warning in warnings(config, job) {
            // A closed stderr is nobody's concern here.
            let _ = writeln!(io::stderr(), "{name}: {warning}");
        }
    }
    // A job that was handed over survives a power cut, too.
    files::sync(&files::open_folder(&config.jobs)?)?;
    Ok(dropped)
}

/// Writes `text` under a name that the daemon ignores, then gives it its own: it is there whole or
/// not at all.
fn drop_file(jobs: &Path, path: &Path, text: &[u8]) -> anyhow::Result<SourceFile> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
        .trim_start_matches(['.', '-']);
    let stem = if stem.is_empty() { "job" } else { stem };
    let temporary = jobs.join(format!(".submit-{}.part", std::process::id()));
    let mut file = File::create(&temporary)
        .with_context(|| format!("cannot write into {}", jobs.display()))?;
    file.write_all(text).and_then(|()| file.sync_all()).context("cannot write the job file")?;
    for number in 1..NAMES_MAX {
        let name =
            if number == 1 { format!("{stem}.toml") } else { format!("{stem}-{number}.toml") };
        match files::rename_new(CWD, &temporary, CWD, &jobs.join(&name)) {
            Ok(()) => {
                let stat = rustix::fs::fstat(&file).context("cannot look at the job file")?;
                return Ok(source_file(name, &stat, files::sha256(text)));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error).context("cannot hand the job file over"),
        }
    }
    Err(anyhow!("{} holds too many files named like {stem}.toml", jobs.display()))
}

/// Waits until the daemon has taken the file in: its job's id, or what the daemon says against it.
async fn taken_in(
    config: &Config,
    store: &Store,
    file: &SourceFile,
    deadline: Instant,
) -> Result<Result<i64, String>, Failure> {
    loop {
        if let Some(job_id) = store.job_of_drop(file).await? {
            return Ok(Ok(job_id));
        }
        if let Some(report) = store.rejection_of_drop(file).await? {
            return Ok(Err(report));
        }
        if Instant::now() >= deadline {
            let (name, jobs) = (&file.name, config.jobs.display());
            let error = anyhow!("{name} waits in {jobs}: the daemon has not taken it yet");
            return Err(Failure { code: EXIT_TEMPFAIL, error });
        }
        sleep(ACCEPT_POLL).await;
    }
}
