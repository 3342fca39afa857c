//! Jobs are given to the daemon: as files, which are moved whole into the jobs folder and taken in
//! as any other; or as requests, which go into the database at once.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::CWD;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{CheckedJob, JobMistakes, Queue, QueueError};
use crate::config::{self, Config};
use crate::files;
use crate::instance::InstanceLock;
use crate::intake::{random_seed, source_file};
use crate::job::origin::SourceFile;
use crate::job::spec;
use crate::problem::printable;
use crate::store::NewJob;

/// How long a running daemon is waited for until it has taken files in.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks for it.
const ACCEPT_POLL: Duration = Duration::from_millis(20);

/// What has become of files that were handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Submitted {
    pub jobs: Vec<TakenJob>,
    pub refused: Vec<RefusedFile>,
    /// Names of files that lie in the jobs folder: no daemon runs.
    pub waiting: Vec<String>,
}

/// A file that is a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenJob {
    pub file: String,
    pub job: i64,
}

/// A file that the daemon found no job in. Its rules may be others than those of whoever submits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedFile {
    pub file: String,
    /// What the daemon says against it.
    pub report: String,
}

/// Moves a copy of each checked text into the jobs folder, under the name that belongs to it. The
/// files are there whole or not at all, and survive a power cut.
pub fn hand_over(
    config: &Config,
    jobs: &[(&Path, CheckedJob)],
) -> Result<Vec<SourceFile>, QueueError> {
    config::make_folder(&config.jobs)?;
    let failed = |source| QueueError::Folder { jobs: config.jobs.display().to_string(), source };
    let dropped = jobs.iter().map(|(path, job)| drop_file(&config.jobs, path, &job.content));
    let dropped = dropped.collect::<io::Result<_>>().map_err(failed)?;
    files::open_folder(&config.jobs).and_then(|folder| files::sync(&folder)).map_err(failed)?;
    Ok(dropped)
}

/// Writes the text under a name that the daemon ignores, then gives it one like that of `path`.
fn drop_file(jobs: &Path, path: &Path, text: &[u8]) -> io::Result<SourceFile> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let stem = match stem.trim_start_matches(['.', '-']) {
        "" => "job",
        stem => stem,
    };
    let temporary = jobs.join(format!(".submit-{}.part", std::process::id()));
    let file = files::write_synced(&temporary, text)?;
    let name = files::first_free(|number| {
        let name = files::numbered(&format!("{stem}.toml"), number);
        files::rename_new(CWD, &temporary, CWD, &jobs.join(&name))?;
        Ok(name)
    })?;
    let stat = rustix::fs::fstat(&file)?;
    Ok(source_file(name, &stat, files::sha256(text)))
}

/// Hands checked files over and, where a daemon runs, waits until it has dealt with them.
pub async fn submit(
    config: &Config,
    jobs: &[(&Path, CheckedJob)],
) -> Result<Submitted, QueueError> {
    let dropped = hand_over(config, jobs)?;
    if !InstanceLock::is_held(&config.state) {
        let waiting = dropped.into_iter().map(|file| file.name).collect();
        return Ok(Submitted { waiting, ..Submitted::default() });
    }
    let queue = Queue::open(config).await?;
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    let mut submitted = Submitted::default();
    for file in &dropped {
        queue.taken_in(file, deadline, &mut submitted).await?;
    }
    Ok(submitted)
}

impl Queue<'_> {
    /// Takes the job that a request asks for by `text` in, under the `name` that it gives itself;
    /// answers the job's id. It is accepted when this returns, whether a daemon runs or not.
    pub async fn request(&self, name: &str, text: &str) -> Result<i64, QueueError> {
        let rules = self.config.job_rules()?;
        let name = printable(name);
        let now_ms = self.clock.now_ms();
        let job = spec::parse_bytes(text.as_bytes(), &rules, now_ms, &mut random_seed);
        let mistakes =
            |problems| JobMistakes { name: name.clone(), content: text.into(), problems };
        let job = job.map_err(|problems| QueueError::Mistakes(mistakes(problems)))?;
        let new = NewJob::of_request(job, &name, text);
        let accepted = self.store.accept(&[new], now_ms).await?;
        Ok(accepted[0].job_id)
    }

    /// Waits until the daemon has taken the file in or refused it, and notes which.
    async fn taken_in(
        &self,
        dropped: &SourceFile,
        deadline: Instant,
        submitted: &mut Submitted,
    ) -> Result<(), QueueError> {
        let file = dropped.name.clone();
        loop {
            if let Some(job) = self.store.job_of_drop(dropped).await? {
                submitted.jobs.push(TakenJob { file, job });
                return Ok(());
            }
            if let Some(report) = self.store.rejection_of_drop(dropped).await? {
                submitted.refused.push(RefusedFile { file, report });
                return Ok(());
            }
            if Instant::now() >= deadline {
                let jobs = self.config.jobs.display().to_string();
                return Err(QueueError::NotTaken { file, jobs });
            }
            sleep(ACCEPT_POLL).await;
        }
    }
}
