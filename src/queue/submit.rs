//! Jobs are given to the daemon: as files, which are moved whole into the jobs folder and taken in
//! as any other; or as requests, which go into the database at once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::CWD;
use tokio::time::{Instant, sleep};

use super::submitted::{LeftFile, RefusedFile, Submitted, TakenJob};
use super::{CheckedJob, Foreseen, Queue, QueueError, check_present, foresee};
use crate::config::{self, Config};
use crate::files;
use crate::instance::InstanceLock;
use crate::intake::{clean, new_id, taken};
use crate::job::origin::SourceFile;
use crate::status;
use crate::store::{DropFate, Store, StoreError};

/// How long a running daemon is waited for until it has taken files in.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between the first two looks for it; each later pause is twice the one before.
const ACCEPT_POLL_MIN: Duration = Duration::from_millis(1);

/// Between two looks, at the most.
const ACCEPT_POLL_MAX: Duration = Duration::from_millis(20);

/// So much of a file's name is kept that there is room for a number and an ending.
const STEM_BYTES_MAX: usize = 200;

/// Moves a copy of each checked text into the jobs folder, each with the identity that it is
/// answered with and the name that belongs to it; a file that lies there already, itself. The files
/// are there whole or not at all, and survive a power cut.
pub fn hand_over(
    config: &Config,
    jobs: &[(&Path, CheckedJob)],
) -> Result<Vec<SourceFile>, QueueError> {
    jobs.iter().try_for_each(|(_, job)| check_length(config, job))?;
    put_all(config, jobs, |path, job| {
        let (name, id) = (job_name(path), new_id());
        let place = config.jobs.join(taken(id, &name));
        if lies_in(&config.jobs, path) {
            std::fs::rename(path, place)?;
        } else {
            std::fs::rename(written(&config.jobs, &job.content)?, place)?;
        }
        Ok(SourceFile { name, id, sha256: files::sha256(&job.content) })
    })
}

/// As [`hand_over`], for a daemon that is still to be started: under names that people see in the
/// folder.
fn leave(config: &Config, jobs: &[(&Path, CheckedJob)]) -> Result<Vec<LeftFile>, QueueError> {
    put_all(config, jobs, |path, job| {
        let file = job_name(path);
        if lies_in(&config.jobs, path) {
            return Ok(LeftFile { name: file.clone(), file });
        }
        let temporary = written(&config.jobs, &job.content)?;
        files::first_free(|number| {
            let name = files::numbered(&file, number);
            files::rename_new(CWD, &temporary, CWD, &config.jobs.join(&name))?;
            Ok(LeftFile { name, file: file.clone() })
        })
    })
}

fn put_all<T>(
    config: &Config,
    jobs: &[(&Path, CheckedJob)],
    put: impl Fn(&Path, &CheckedJob) -> io::Result<T>,
) -> Result<Vec<T>, QueueError> {
    config::make_folder(&config.jobs)?;
    let failed = |source: io::Error| QueueError::Folder { jobs: config.jobs.clone(), source };
    let put = jobs.iter().map(|(path, job)| put(path, job)).collect::<io::Result<_>>();
    let put = put.map_err(failed)?;
    files::open_folder(&config.jobs).and_then(|folder| files::sync(&folder)).map_err(failed)?;
    Ok(put)
}

/// The text, written through to the disk under a name that the daemon ignores.
fn written(jobs: &Path, text: &[u8]) -> io::Result<PathBuf> {
    let temporary = jobs.join(format!(".submit-{}.part", std::process::id()));
    files::write_synced(&temporary, text)?;
    Ok(temporary)
}

/// Whether the file is one of the jobs folder: then it is a drop already, and a copy would be a
/// second one.
fn lies_in(jobs: &Path, path: &Path) -> bool {
    let (Ok(path), Ok(jobs)) = (path.canonicalize(), jobs.canonicalize()) else { return false };
    path.parent() == Some(&jobs)
}

/// What the job of this file is called: as the file, whose name may be anything.
fn job_name(path: &Path) -> String {
    let name = clean(path.file_name().unwrap_or_default());
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let stem = stem.strip_suffix(".toml").unwrap_or(stem).trim_start_matches(['.', '-']);
    let stem = &stem[..stem.floor_char_boundary(STEM_BYTES_MAX)];
    format!("{}.toml", if stem.is_empty() { "job" } else { stem })
}

/// Hands checked files over and, where a daemon runs, waits until it has dealt with them. What is
/// too long for a file, with the prompts of its list, goes into the database at once. Warnings of
/// what is foreseen are added to each.
pub async fn submit(
    config: &Config,
    jobs: &mut [(&Path, CheckedJob)],
) -> Result<Submitted, QueueError> {
    // A daemon would not start: the job would wait for nobody.
    if !has_daemon(config) {
        check_present(config)?;
    }
    let queue = Queue::open(config).await;
    let checked = jobs.iter_mut().map(|(_, job)| job);
    let Foreseen { expected, stopped } = foresee(config, queue.as_ref().ok(), checked).await;
    let of_jobs = Submitted::of(|| jobs.iter().map(|(_, job)| job));
    let mut submitted = Submitted { expected, stopped, ..of_jobs };
    let mut files = Vec::with_capacity(jobs.len());
    for (path, job) in jobs.iter() {
        match (&queue, check_length(config, job)) {
            (_, Ok(())) => files.push((*path, job.clone())),
            (Ok(queue), Err(_)) => submitted.jobs.push(queue.take(&job_name(path), job).await?),
            (Err(_), Err(too_long)) => return Err(too_long),
        }
    }
    if !InstanceLock::is_held(&config.state) {
        let left = leave(config, &files)?;
        submitted.waiting = left.iter().map(|left| left.name.clone()).collect();
        submitted.renamed = left.into_iter().filter(|left| left.name != left.file).collect();
        return Ok(submitted);
    }
    let dropped = hand_over(config, &files)?;
    if dropped.is_empty() {
        return Ok(submitted);
    }
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    let queue = match queue {
        Ok(queue) => queue,
        Err(_) => of_daemon(config, deadline).await?,
    };
    for file in &dropped {
        queue.taken_in(file, deadline, &mut submitted).await?;
    }
    Ok(submitted)
}

/// Whether the job's text may be a file.
fn check_length(config: &Config, job: &CheckedJob) -> Result<(), QueueError> {
    let (bytes, bytes_max) = (job.content.len() as u64, config.limits.file_bytes_max);
    match bytes <= bytes_max {
        true => Ok(()),
        false => Err(QueueError::NoAnswer(format!(
            "{}: the job has {bytes} bytes, and a file may have {bytes_max}: start a daemon first, \
             and submit it then: zimaged run",
            job.name
        ))),
    }
}

/// The queue, whose daemon may be making or upgrading its database at this moment, or ending
/// because a file of it was taken away.
async fn of_daemon(config: &Config, deadline: Instant) -> Result<Queue<'_>, QueueError> {
    loop {
        let has_daemon = has_daemon(config);
        match Queue::open(config).await {
            Err(error) if has_daemon && is_of_a_change(&error) && Instant::now() < deadline => {
                sleep(ACCEPT_POLL_MAX).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Whether a database says so that is being made, upgraded, or carried over from a log without its
/// index.
fn is_of_a_change(error: &StoreError) -> bool {
    use StoreError::{Disk, Starved, Suspect, Unusable};
    matches!(error, Unusable(_) | Starved(_) | Disk(_) | Suspect(_))
}

/// Whether a daemon runs on this queue.
pub fn has_daemon(config: &Config) -> bool {
    InstanceLock::is_held(&config.state)
}

/// Takes a job without a file in: into the database, whether a daemon runs or not. Where none has
/// ever run there is no database, and the job waits for the first one as a file.
pub async fn submit_wish(config: &Config, job: &mut CheckedJob) -> Result<Submitted, QueueError> {
    if Store::is_missing(&config.database_path()) {
        let name = job.name.clone();
        let mut jobs = [(Path::new(&name), job.clone())];
        let submitted = submit(config, &mut jobs).await?;
        let [(_, foreseen)] = jobs;
        *job = foreseen;
        return Ok(submitted);
    }
    let queue = of_daemon(config, Instant::now() + ACCEPT_TIMEOUT).await?;
    queue.take_wish(job).await
}

impl Queue<'_> {
    /// As [`submit_wish`], where there is a database.
    pub(super) async fn take_wish(&self, job: &mut CheckedJob) -> Result<Submitted, QueueError> {
        // Before it is one of those that it comes after.
        let Foreseen { expected, stopped } = foresee(self.config, Some(self), [&mut *job]).await;
        let jobs = vec![self.take(&job.name, job).await?];
        Ok(Submitted { jobs, expected, stopped, ..Submitted::of(|| [&*job]) })
    }

    async fn take(&self, name: &str, job: &CheckedJob) -> Result<TakenJob, QueueError> {
        let id = self.request(name, job).await?;
        Ok(TakenJob { file: name.to_owned(), job: id })
    }

    /// Waits until the daemon has taken the file in or refused it, and notes which.
    async fn taken_in(
        &self,
        dropped: &SourceFile,
        deadline: Instant,
        submitted: &mut Submitted,
    ) -> Result<(), QueueError> {
        let file = dropped.name.clone();
        let mut pause = ACCEPT_POLL_MIN;
        loop {
            match self.store.fates(&[dropped.id]).await?.remove(&dropped.id) {
                Some(DropFate::Job(job)) => {
                    submitted.jobs.push(TakenJob { file, job });
                    return Ok(());
                }
                Some(DropFate::Refused(report)) => {
                    submitted.refused.push(RefusedFile { file, report });
                    return Ok(());
                }
                None if Instant::now() >= deadline => return Err(self.not_taken(file)),
                None => sleep(pause).await,
            }
            pause = ACCEPT_POLL_MAX.min(2 * pause);
        }
    }

    fn not_taken(&self, file: String) -> QueueError {
        let daemon = status::read(&self.config.state);
        let trouble = daemon.and_then(|daemon| daemon.intake.trouble);
        let why = trouble.unwrap_or_else(|| "the daemon has not taken it yet".to_owned());
        QueueError::NotTaken { file, jobs: self.config.jobs.display().to_string(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// case B: any name is good enough for a job.
    #[test]
    fn a_job_is_called_as_its_file_whatever_that_is_called() {
        for (path, name) in [
            ("dir/fox.toml", "fox.toml"),
            ("FOX.TOML", "FOX.toml"),
            ("fox.toml.txt", "fox.toml"),
            ("prompts.txt", "prompts.toml"),
            ("\u{200e}fox.toml", "fox.toml"),
            ("中文.toml", "中文.toml"),
            ("..hidden.toml", "hidden.toml"),
            ("-", "job.toml"),
            ("fox", "fox.toml"),
        ] {
            assert_eq!(job_name(Path::new(path)), name, "{path:?}");
        }
        let long = job_name(Path::new(&"猫".repeat(85)));
        assert!(long.len() <= STEM_BYTES_MAX + ".toml".len() && long.ends_with("猫.toml"));
    }
}
