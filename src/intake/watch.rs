//! notify, as a hint only: it names files that arrived whole, and wakes the next scan.

use std::collections::HashMap;
use std::ffi::OsString;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::look::Arrival;

/// At most so many names are kept, which is the length of the kernel's own queue. Further ones are
/// dropped, and the scan finds those files.
const ARRIVALS_MAX: usize = 16_384;

/// The pause between two tries to watch a folder that cannot be watched: another program may give
/// its watches back.
const RETRY: Duration = Duration::from_secs(30);

/// Device and inode of a folder: another one under the same path is another folder.
pub type FolderId = (u64, u64);

/// The watch on `jobs/`, renewed when the folder is another one or the watcher died.
pub struct Watch {
    wake: Arc<Notify>,
    live: Option<Live>,
    retry_at: Option<Instant>,
}

struct Live {
    watcher: RecommendedWatcher,
    folder: FolderId,
    heard: Arc<Heard>,
}

/// What the watcher's thread tells us.
struct Heard {
    arrivals: Mutex<HashMap<OsString, Arrival>>,
    /// The thread is gone, or lost what it watched.
    dead: AtomicBool,
    wake: Arc<Notify>,
}

impl Watch {
    /// Watches nothing yet. `wake` is notified when a scan is worth while.
    pub fn new(wake: Arc<Notify>) -> Watch {
        Watch { wake, live: None, retry_at: None }
    }

    /// Makes sure that the folder at `path` is watched, where that is possible: to be called before
    /// the folder is listed, so that nothing falls between.
    pub fn follow(&mut self, path: &Path, folder: FolderId, now: Instant) {
        let good = |live: &Live| live.folder == folder && !live.heard.dead.load(Ordering::Acquire);
        if self.live.as_ref().is_some_and(good) || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if let Some(old) = self.live.take() {
            old.end();
        }
        match Live::start(path, folder, self.wake.clone()) {
            Ok(live) => {
                if self.retry_at.take().is_some() {
                    info!("watching {} again", path.display());
                }
                self.live = Some(live);
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    warn!(
                        "cannot watch {}, looking every two seconds instead: {}",
                        path.display(),
                        explain(&error)
                    );
                }
                self.retry_at = Some(now + RETRY);
            }
        }
    }

    /// Files that arrived whole since the last call.
    pub fn arrivals(&mut self) -> HashMap<OsString, Arrival> {
        match &self.live {
            Some(live) => {
                mem::take(&mut *live.heard.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
            }
            None => HashMap::new(),
        }
    }
}

impl Live {
    fn start(path: &Path, folder: FolderId, wake: Arc<Notify>) -> notify::Result<Live> {
        let heard =
            Arc::new(Heard { arrivals: Mutex::default(), dead: AtomicBool::new(false), wake });
        let handler = Handler(heard.clone());
        let mut watcher = notify::recommended_watcher(move |event| handler.hear(event))?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(Live { watcher, folder, heard })
    }

    /// The watcher's own drop panics when its thread has died: then it is left alone, at the price
    /// of one descriptor.
    fn end(self) {
        if Arc::strong_count(&self.heard) == 1 {
            mem::forget(self.watcher);
        }
    }
}

/// Lives as long as the watcher's thread.
struct Handler(Arc<Heard>);

impl Handler {
    /// Never blocks for long and keeps nothing without a bound: a slow reader makes the kernel's
    /// queue overflow.
    fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.0.die() };
        let arrival = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Arrival::Closed),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Arrival::Moved),
            // A link has no other event. Also our own folders, once.
            EventKind::Create(_) => None,
            // The queue overflowed, and this has no path.
            _ if event.need_rescan() => None,
            // The folder itself, which is not watched any more; or a file of the user's, which does
            // no harm.
            EventKind::Remove(_) => None,
            // Opened, written, moved away: nothing to do yet, and our own doing too.
            _ => return,
        };
        if let Some(arrival) = arrival {
            self.0.note(event, arrival);
        }
        self.0.wake.notify_one();
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.die();
    }
}

impl Heard {
    fn note(&self, event: Event, arrival: Arrival) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        for path in event.paths {
            if let Some(name) = path.file_name()
                && arrivals.len() < ARRIVALS_MAX
            {
                arrivals.insert(name.to_owned(), arrival);
            }
        }
    }

    fn die(&self) {
        self.dead.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Whether the folder could be watched now; why not, and what the user can do about it.
pub fn check_watch(path: &Path) -> Result<(), String> {
    let watched = notify::recommended_watcher(|_| ())
        .and_then(|mut watcher| watcher.watch(path, RecursiveMode::NonRecursive));
    watched.map_err(|error| explain(&error))
}

/// With what the user can do about it.
fn explain(error: &notify::Error) -> String {
    let no_watches = "all inotify watches are in use; raise the sysctl fs.inotify.max_user_watches";
    let no_instances =
        "all inotify instances are in use; raise the sysctl fs.inotify.max_user_instances";
    let code = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => return no_watches.to_owned(),
        notify::ErrorKind::Io(error) => Errno::from_io_error(error),
        _ => None,
    };
    match code {
        Some(Errno::NOSPC) => no_watches.to_owned(),
        Some(Errno::MFILE) => no_instances.to_owned(),
        _ => error.to_string(),
    }
}
