//! A database that is missing where there was one.

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
    let put_back =
        saved(config).unwrap_or_else(|| "Put a backup back: zimaged restore FILE".to_owned());
    Err(StoreError::Unusable(format!(
        "{} is missing or empty, but there was one ({accepted} job files lie in {}). {put_back}. Or \
         begin with an empty queue and history: zimaged history begin. Files in accepted/ are not run again unless they are moved back into {}",
        path.display(),
        config.jobs.join("accepted").display(),
        config.jobs.display(),
    )))
}

/// What puts back that a daemon has saved last of a database which was taken away from it.
fn saved(config: &Config) -> Option<String> {
    let path = Store::saved_names(&config.state).take_while(|path| path.exists()).last()?;
    let at = path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = moment::date_and_time(i64::try_from(at.as_millis()).ok()?);
    Some(format!("Put back what was saved {at}: zimaged restore {}", path.display()))
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
