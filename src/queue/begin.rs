//! A database that is missing where there was one, or is not the one that there was.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::{QueueError, accepted_ids};
use crate::config::{self, Config};
use crate::instance::InstanceLock;
use crate::moment;
use crate::store::{Access, Store, StoreError};

/// Refuses to make a database where one is missing: the queue would be forgotten without a word.
pub fn check_present(config: &Config) -> Result<(), StoreError> {
    let path = config.database_path();
    if !Store::is_missing(&path) {
        return Ok(());
    }
    let accepted = accepted_ids(&config.jobs).unwrap_or_default().len();
    if accepted == 0 && !Store::was_there(&path) {
        return Ok(());
    }
    let put_back = match saved(config) {
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
    let at_ms = i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some((path, moment::date_and_time(at_ms)))
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
