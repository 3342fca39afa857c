//! Which databases this process has open.
//!
//! SQLite's locks are those of fcntl(2): they are the process's, and closing any descriptor of a
//! file drops all that the process holds on it. Another program that closes the database then takes
//! itself for the last one, and removes the log that this process goes on writing. So a database
//! that is open here is never read beside SQLite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often each is open.
static OPEN: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

fn open() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
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
        *open.entry(path.to_owned()).or_default() += 1;
        Ok(InUse(path.to_owned()))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(times) = open.get_mut(&self.0) {
            *times -= 1;
            if *times == 0 {
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
