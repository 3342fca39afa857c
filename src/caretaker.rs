//! Looks after the database while the daemon runs: people have their hands in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::Clock;
use crate::queue;
use crate::recovery;
use crate::store::{DatabasePlace, Store, StoreError};

/// Between two looks at the database's file.
const LOOK: Duration = Duration::from_secs(2);

/// What is not in its place is looked for once more after so long: somebody may have moved the state
/// folder away for a moment.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// At each of so many looks renders without a job are looked for, which reads all that wait.
const STRAYS_EVERY: u32 = 30;

/// Pictures as input that no render needs are removed so often: they are kept for an hour anyhow.
const INPUTS_SWEPT_EVERY_MS: i64 = 60 * 60 * 1000;

/// What is told of the log that has stayed as it is for so many looks, a minute.
const FAILURES_TOLD: u32 = 30;

/// Watches until `stop`. An error, when the files are not those that are open any more, or not as
/// they were written: what is written from then on would be lost.
pub async fn run(
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    inputs: PathBuf,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let (mut looks, mut failures): (u32, u32) = (0, 0);
    let mut swept_at_ms = clock.now_ms();
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        // Whatever is in the way for a moment is told by those who need it gone.
        match look(&store).await? {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                debug!(%error, "the database's log stays as it is");
                if failures == FAILURES_TOLD {
                    warn!(%error, "the database's log grows, as it is not carried over");
                }
            }
        }
        looks += 1;
        if looks.is_multiple_of(STRAYS_EVERY)
            && let Err(error) = recovery::remove_strays(&store, clock.now_ms()).await
        {
            debug!(%error, "renders without a job were not looked for");
        }
        if (clock.now_ms() - swept_at_ms).abs() >= INPUTS_SWEPT_EVERY_MS {
            swept_at_ms = clock.now_ms();
            if let Err(error) = queue::sweep_inputs(&store, &inputs).await {
                debug!(%error, "pictures as input were not looked through");
            }
        }
    }
    Ok(())
}

/// Carries the log over where both files are as they should be. The inner error passes.
async fn look(store: &Store) -> Result<Result<(), StoreError>, StoreError> {
    match place(store).await.map(DatabasePlace::trouble) {
        Ok(Some(trouble)) => Err(trouble),
        Ok(None) => Ok(store.carry_over().await),
        Err(error) => Ok(Err(error)),
    }
}

async fn place(store: &Store) -> Result<DatabasePlace, StoreError> {
    let place = store.place().await?;
    if let DatabasePlace::Lost | DatabasePlace::LogLost = place {
        warn!("the database, or a file of it, is not in its place; it is looked for once more");
        sleep(SECOND_LOOK).await;
        return store.place().await;
    }
    Ok(place)
}

/// The end of the work on a database. What one holds that is not in its place any more is saved
/// beside that first.
/// `is_in_doubt` is whether the daemon ends because of the database: then its log is read through
/// once more before it is carried over.
pub async fn close(store: Store, place: DatabasePlace, is_in_doubt: bool, state: &Path) {
    if is_to_be_saved(&store, place).await {
        match save(&store, state).await {
            Ok(path) => error!("{}", put_back(&path)),
            Err(error) => error!(%error, "what the database held could not be saved"),
        }
    }
    let distrusted = match place {
        DatabasePlace::LogOverwritten => store.distrust_log(),
        DatabasePlace::Kept if is_in_doubt => store.distrust_log(),
        DatabasePlace::Overwritten => store.drop_log(),
        _ => Ok(()),
    };
    if let Err(error) = distrusted {
        error!(%error, "the log is still beside the database: remove the files with -wal and -shm");
    }
    store.close().await;
}

fn put_back(path: &Path) -> String {
    let path = path.display();
    format!(
        "all that the database held is kept as {path}; to go on with it: zimaged restore {path}"
    )
}

/// Whether the files that lie there do not hold all that the open ones do, and these do.
async fn is_to_be_saved(store: &Store, place: DatabasePlace) -> bool {
    match place {
        DatabasePlace::Kept | DatabasePlace::Overwritten => false,
        DatabasePlace::LogLost => !matches!(store.fold_log().await, Ok(true)),
        DatabasePlace::Lost | DatabasePlace::LogOverwritten => true,
    }
}

async fn save(store: &Store, state: &Path) -> Result<PathBuf, StoreError> {
    // It may have been taken away with all that is in it.
    let _ = fs::create_dir_all(state);
    let free = Store::free_saved_name(state);
    let path = free.map_err(|error| StoreError::Unusable(error.to_string()))?;
    let saved = match store.copy_to(&path).await {
        Ok(()) => Store::check_copy(&path).await.map(drop),
        failed => failed,
    };
    if saved.is_err() {
        // Not whole: nobody is to go on with it.
        let _ = fs::remove_file(&path);
    }
    saved.map(|()| path)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::Access;

    #[tokio::test]
    async fn pictures_as_input_that_nobody_needs_are_removed_while_the_daemon_runs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("queue.sqlite"), Access::Daemon).await.unwrap();
        let inputs = folder.path().join("inputs");
        fs::create_dir(&inputs).unwrap();
        let two_hours_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        for name in ["old", "new"] {
            let file = File::create(inputs.join(name)).unwrap();
            file.set_modified(if name == "old" { two_hours_ago } else { SystemTime::now() })
                .unwrap();
        }
        let (clock, stop) = (Arc::new(ManualClock::new(0)), CancellationToken::new());
        let care = run(Arc::new(store), clock.clone(), inputs.clone(), stop.clone());
        let care = tokio::spawn(care);
        while inputs.join("old").exists() {
            clock.set(clock.now_ms() + INPUTS_SWEPT_EVERY_MS);
            sleep(Duration::from_millis(10)).await;
        }
        assert!(inputs.join("new").exists());
        stop.cancel();
        care.await.unwrap().unwrap();
    }
}
