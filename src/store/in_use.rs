//! Which databases this process has open.
//!
//! SQLite's locks are those of fcntl(2): they are the process's, and closing any descriptor of a
//! file drops all that the process holds on it. Another program that closes the database then takes
//! itself for the last one, and removes the log that this process goes on writing. So a database
//! that is open here is never read beside SQLite.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that are open.
static OPEN: Mutex<BTreeMap<PathBuf, Use>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Use {
    /// How often it is open.
    times: usize,
    /// The index of its log, which lives as long.
    index: Option<Arc<File>>,
}

fn open() -> MutexGuard<'static, BTreeMap<PathBuf, Use>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database counts as open while this lives.
pub(super) struct InUse(PathBuf);

impl InUse {
    /// Before the database at `path` is opened. Where it is not open here yet, `look` may read its
    /// file first; its error is handed on.
    pub(super) fn mark<E>(path: &Path, look: impl FnOnce() -> Result<(), E>) -> Result<InUse, E> {
        // Nobody opens it in this process while it is looked at.
        let mut open = open();
        if !open.contains_key(path) {
            look()?;
        }
        open.entry(path.to_owned()).or_default().times += 1;
        Ok(InUse(path.to_owned()))
    }

    /// The index of the database's log, which lies at `path`: opened once in this process, and
    /// closed only when the database is open here no more.
    pub(super) fn index(&self, path: &Path) -> io::Result<Arc<File>> {
        let mut open = open();
        let entry = open.entry(self.0.clone()).or_default();
        if let Some(index) = &entry.index {
            return Ok(index.clone());
        }
        let opened = File::options().read(true).write(true).open(path);
        // Who may only read makes nothing anew.
        let index = Arc::new(opened.or_else(|_| File::open(path))?);
        Ok(entry.index.insert(index).clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(entry) = open.get_mut(&self.0) {
            entry.times -= 1;
            if entry.times == 0 {
                open.remove(&self.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_here_is_not_looked_at() {
        let path = Path::new("/a database of this test");
        let mut looks = 0;
        let mut mark = || {
            InUse::mark(path, || {
                looks += 1;
                Ok::<(), ()>(())
            })
        };
        let first = mark().expect("it may be opened");
        drop(mark().expect("it may be opened"));
        drop(mark().expect("it may be opened"));
        drop(first);
        drop(mark().expect("it may be opened"));
        assert_eq!(looks, 2);
    }
}
