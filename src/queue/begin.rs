//! A database that is missing where there was one, or is not the one that there was.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use super::{QueueError, accepted_ids};
use crate::config::{self, Config};
use crate::files;
use crate::instance::InstanceLock;
use crate::moment;
use crate::output::metadata_of;
use crate::store::{Access, Store, StoreError};

/// Refuses to make a database where one is missing: the queue would be forgotten without a word.
pub fn check_present(config: &Config) -> Result<(), StoreError> {
    let path = config.database_path();
    if !Store::is_missing(&path) {
        return Ok(());
    }
    let accepted = accepted_ids(&config.jobs).unwrap_or_default().len();
    let saved = saved(config);
    if accepted == 0 && saved.is_none() && !Store::was_there(&path) {
        return Ok(());
    }
    let put_back = match saved {
        Some((path, at)) => {
            format!("Put back what was saved {at}: zimaged restore {}", path.display())
        }
        None => "Put a backup back: zimaged restore FILE".to_owned(),
    };
    Err(StoreError::Unusable(format!(
        "{} is missing or empty, but there was one ({accepted} job files lie in {}). {put_back}. Or \
         begin with an empty queue and history: zimaged history begin. Files in accepted/ are not run again unless they are moved back into {}",
        path.display(),
        config.jobs.join("accepted").display(),
        config.jobs.display(),
    )))
}

/// That a daemon has saved what a database held which was taken away from it, and what puts that
/// back; `None` where nothing is kept.
pub fn saved_database(config: &Config) -> Option<String> {
    let (path, at) = saved(config)?;
    let path = path.display();
    Some(format!(
        "{path} holds what the database held {at}, when it was taken away from the daemon. To go on \
         with that, stop the daemon and: zimaged restore {path}. Else remove that file"
    ))
}

/// The newest of the saved ones, and when it was saved.
fn saved(config: &Config) -> Option<(PathBuf, String)> {
    let modified = |path: &PathBuf| path.metadata().ok()?.modified().ok();
    let saved = Store::saved(&config.state).into_iter();
    let (at, path) = saved.filter_map(|path| Some((modified(&path)?, path))).max()?;
    Some((path, told(at)?))
}

fn told(at: SystemTime) -> Option<String> {
    let at_ms = i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some(moment::date_and_time(at_ms))
}

/// The file that says so where a queue began empty although there had been one, until somebody
/// removes it.
const BEGUN_ANEW: &str = "begun-anew.txt";

/// More than stands in it.
const BEGUN_ANEW_BYTES_MAX: u64 = 64 << 10;

/// So many files in the output folder are looked at, for one that is a picture of ours.
const PICTURES_LOOKED_AT: usize = 100;

/// Before a database is made where none lies: notes what tells that there was a queue, if anything
/// does. A daemon ran on the jobs folder `before`, if one did. Somebody may have moved the state
/// folder away.
pub fn note_beginning(config: &Config, before: Option<SystemTime>) -> io::Result<()> {
    let is_first = Store::is_missing(&config.database_path());
    let Some(trace) = is_first.then(|| trace(config, before)).flatten() else { return Ok(()) };
    let path = config.state.join(BEGUN_ANEW);
    let at = told(SystemTime::now()).unwrap_or_default();
    let text = format!(
        "queue and history began empty {at}, as {} had no database, but {trace}. If the database, or \
         the state folder, was moved away: stop the daemon and move it back. Else remove {}\n",
        config.state.display(),
        path.display()
    );
    files::write_atomic(&path, text.as_bytes())
}

/// What tells that there was a queue.
fn trace(config: &Config, before: Option<SystemTime>) -> Option<String> {
    let ran = before.and_then(told).map(|at| {
        format!("a daemon has taken job files from {} before ({at})", config.jobs.display())
    });
    ran.or_else(|| {
        let entries = fs::read_dir(&config.outputs).ok()?.flatten().take(PICTURES_LOOKED_AT);
        let mut paths = entries.map(|entry| entry.path());
        let picture = paths.find(|path| metadata_of(path).is_some())?;
        Some(format!("{} is a picture of zimaged", picture.display()))
    })
}

/// That this queue began empty although there had been one, as far as nobody has removed the note.
pub fn begun_anew(config: &Config) -> Option<String> {
    let path = config.state.join(BEGUN_ANEW);
    let text = files::read_whole(&path, BEGUN_ANEW_BYTES_MAX).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Keeps daemons away until it is dropped; fails while one runs.
pub(super) fn lock_queue(config: &Config) -> Result<InstanceLock, QueueError> {
    config::make_folder(&config.state)?;
    config::make_folder(&config.jobs)?;
    Ok(InstanceLock::take(&config.state, &config.jobs)?)
}

/// Makes an empty database where there is none.
pub async fn begin_history(config: &Config) -> Result<(), QueueError> {
    let _lock = lock_queue(config)?;
    let path = config.database_path();
    if !Store::is_missing(&path) {
        let there = format!("{} is there: nothing was done", path.display());
        return Err(QueueError::NoAnswer(there));
    }
    Store::forget_log(&path).map_err(|source| QueueError::File { path: path.clone(), source })?;
    Store::open(&path, Access::Daemon).await?.close().await;
    Ok(())
}
