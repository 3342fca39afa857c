//! Looks after the database while the daemon runs: people have their hands in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::clock::Clock;
use crate::recovery;
use crate::store::{DatabasePlace, Store, StoreError};

/// Between two looks at the database's file.
const LOOK: Duration = Duration::from_secs(2);

/// At each of so many looks renders without a job are looked for, which reads all that wait.
const STRAYS_EVERY: u32 = 30;

/// Watches until `stop`. An error, when the file is not the one that is open any more: what is
/// written from then on would be lost.
pub async fn run(
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut looks: u32 = 0;
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        match store.place() {
            DatabasePlace::Kept => (),
            DatabasePlace::LogLost => return Err(StoreError::Starved(LOG_GONE.to_owned())),
            DatabasePlace::Lost => return Err(StoreError::Unusable(GONE.to_owned())),
        }
        // Whatever is in the way is so again the next time, and is told by those who need it gone.
        if let Err(error) = store.shrink_log().await {
            debug!(%error, "the database's log stays long");
        }
        looks += 1;
        if looks.is_multiple_of(STRAYS_EVERY)
            && let Err(error) = recovery::remove_strays(&store, clock.now_ms()).await
        {
            debug!(%error, "renders without a job were not looked for");
        }
    }
    Ok(())
}

const GONE: &str = "the database was removed or replaced while the daemon ran";

const LOG_GONE: &str = "the database's log, or the index of it, was removed while the daemon ran; what \
                        it held is carried over into the database";

/// The end of the work on a database. What one holds that is not in its place any more is saved
/// beside that first.
pub async fn close(store: Store, state: &Path) {
    if is_to_be_saved(&store).await {
        match save(&store, state).await {
            Ok(path) => error!(
                "all that the database held is kept as {0}; to go on with it: zimaged restore {0}",
                path.display()
            ),
            Err(error) => error!(%error, "what the database held could not be saved"),
        }
    }
    store.close().await;
}

/// Whether the files that lie there do not hold all that the open ones do.
async fn is_to_be_saved(store: &Store) -> bool {
    match store.place() {
        DatabasePlace::Kept => false,
        DatabasePlace::LogLost => !matches!(store.fold_log().await, Ok(true)),
        DatabasePlace::Lost => true,
    }
}

async fn save(store: &Store, state: &Path) -> Result<PathBuf, StoreError> {
    let free = Store::saved_names(state).find(|path| !path.exists());
    let path =
        free.ok_or_else(|| StoreError::Unusable("all numbered names are taken".to_owned()))?;
    store.copy_to(&path).await?;
    Ok(path)
}
