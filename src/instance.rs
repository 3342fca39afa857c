//! The instance lock: one daemon for a state folder and its job folder. Locks die with their
//! process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use tracing::info;

use crate::access;

/// The locks of a daemon's folders, held for its life.
#[derive(Debug)]
pub struct InstanceLock {
    pub state: FolderLock,
    pub jobs: FolderLock,
}

/// The lock of one folder: nobody else has it while this lives.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    file: File,
    taken_before: Option<SystemTime>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{folder} is in use by another zimaged (process {pid})")]
    Taken { folder: String, pid: String },
    #[error("{}: {}", path.display(), access::told(path, source))]
    Io { path: PathBuf, source: io::Error },
}

/// The lock file's name, in each locked folder.
const LOCK_NAME: &str = ".zimaged.lock";

/// So long a lock is waited for: the kernel takes it from a process that was killed only when all
/// of its memory is given back, and whoever asks whether a daemon runs holds it for a moment.
const TAKEN_PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries to take it.
const TAKEN_POLL: Duration = Duration::from_millis(50);

/// So often a lock file is opened that somebody else removes each time.
const TRIES_MAX: u32 = 10;

impl InstanceLock {
    /// Locks both folders, which must exist. Waits some seconds for whoever has one of them.
    pub fn take(state: &Path, jobs: &Path) -> Result<InstanceLock, LockError> {
        let deadline = Instant::now() + TAKEN_PATIENCE;
        let take = |folder| FolderLock::take_before(folder, deadline);
        Ok(InstanceLock { state: take(state)?, jobs: take(jobs)? })
    }

    /// True while somebody holds the lock of `folder`: a daemon, or a command that keeps daemons
    /// away.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = open(folder, OpenOptions::new().read(true)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// What the daemon that holds the lock of `folder` says by [`FolderLock::note`], if one does.
    pub fn noted(folder: &Path) -> Option<String> {
        if !InstanceLock::is_held(folder) {
            return None;
        }
        let text = fs::read_to_string(folder.join(LOCK_NAME)).ok()?;
        text.lines().nth(1).filter(|line| !line.is_empty()).map(str::to_owned)
    }
}

impl FolderLock {
    /// As [`FolderLock::take`], but gives up at the `deadline` only.
    fn take_before(folder: &Path, deadline: Instant) -> Result<FolderLock, LockError> {
        let mut is_told = false;
        loop {
            match FolderLock::take(folder) {
                Err(taken @ LockError::Taken { .. }) if Instant::now() < deadline => {
                    if !is_told {
                        info!("{taken}; waiting some seconds for its end");
                        is_told = true;
                    }
                    thread::sleep(TAKEN_POLL);
                }
                taken => return taken,
            }
        }
    }

    /// Locks the folder, which must exist.
    pub fn take(folder: &Path) -> Result<FolderLock, LockError> {
        for _ in 0..TRIES_MAX {
            let (file, taken_before) = locked(folder)?;
            let lock = FolderLock { folder: folder.to_owned(), file, taken_before };
            // The lock of a file that was removed in between keeps nobody out.
            if lock.is_in_place() {
                return Ok(lock);
            }
        }
        Err(told(folder, io::Error::other("somebody removes it over and over")))
    }

    /// The folder's path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says a line to whoever asks while the lock is held; an empty one says nothing.
    pub fn note(&self, line: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        let text = format!("{}\n{line}\n", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)
    }

    /// When it was taken the time before; `None` where it never was.
    pub fn taken_before(&self) -> Option<SystemTime> {
        self.taken_before
    }

    /// Ends it, and removes its file: for a folder that is itself removed.
    pub fn dissolve(self) -> Result<(), LockError> {
        match fs::remove_file(self.folder.join(LOCK_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(&self.folder, error)),
            _ => Ok(()),
        }
    }

    /// Makes sure that the folder which has this path now is the locked one: it may have been
    /// removed and made again, or another one put in its place.
    pub fn follow(&mut self) -> Result<(), LockError> {
        if !self.is_in_place() {
            *self = FolderLock::take(&self.folder)?;
        }
        Ok(())
    }

    /// Whether the locked file is the one that others find.
    fn is_in_place(&self) -> bool {
        let place = fs::symlink_metadata(self.folder.join(LOCK_NAME));
        let (Ok(place), Ok(ours)) = (place, self.file.metadata()) else { return false };
        (place.dev(), place.ino()) == (ours.dev(), ours.ino())
    }
}

/// The folder's lock file. Others may write into the folder: a link there, or a file that has
/// another name elsewhere, would have us write into a file that is none of ours, and a pipe have us
/// wait.
fn open(folder: &Path, access: &mut OpenOptions) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = access.custom_flags(flags).open(folder.join(LOCK_NAME))?;
    let metadata = file.metadata()?;
    match metadata.is_file() && metadata.nlink() <= 1 {
        true => Ok(file),
        false => Err(io::Error::other("it is not the plain file of a lock: remove it")),
    }
}

/// The folder's lock file, locked, with our process id in its first line; and when another one was
/// written there.
fn locked(folder: &Path) -> Result<(File, Option<SystemTime>), LockError> {
    let opened =
        open(folder, OpenOptions::new().read(true).write(true).create(true).truncate(false));
    let mut file = opened.map_err(|error| told(folder, error))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| told(folder, error))?;
        let folder = folder.display().to_string();
        let pid = text.lines().next().unwrap_or_default().to_owned();
        return Err(LockError::Taken { folder, pid });
    }
    let written = |facts: fs::Metadata| (facts.len() > 0).then(|| facts.modified().ok())?;
    let before = file.metadata().ok().and_then(written);
    write_pid(&mut file).map_err(|error| told(folder, error))?;
    Ok((file, before))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn told(folder: &Path, source: io::Error) -> LockError {
    LockError::Io { path: folder.join(LOCK_NAME), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!InstanceLock::is_held(folder.path()));
        let held = FolderLock::take(folder.path()).expect("the first one gets it");
        assert!(InstanceLock::is_held(folder.path()));
        let error = FolderLock::take(folder.path()).expect_err("the second one does not");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        assert_eq!(held.taken_before(), None);
        drop(held);
        let again = FolderLock::take(folder.path()).expect("the lock died with its holder");
        assert!(again.taken_before().is_some_and(|before| before <= SystemTime::now()));
    }

    #[test]
    fn a_note_is_read_while_the_lock_is_held() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = FolderLock::take(folder.path()).expect("the first one gets it");
        assert_eq!(InstanceLock::noted(folder.path()), None, "nothing is said yet");
        held.note("1 2 3").expect("a writable folder");
        assert_eq!(InstanceLock::noted(folder.path()).as_deref(), Some("1 2 3"));
        let error = FolderLock::take(folder.path()).expect_err("it is held").to_string();
        assert!(error.ends_with(&format!("(process {})", std::process::id())), "{error}");
        held.note("").expect("a writable folder");
        assert_eq!(InstanceLock::noted(folder.path()), None, "nothing is said any more");
        held.note("1 2 3").expect("a writable folder");
        drop(held);
        assert_eq!(InstanceLock::noted(folder.path()), None, "nobody holds it");
    }

    /// Where others may write into the folder, the daemon wrote its process id into any file.
    #[test]
    fn a_lock_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (theirs, lock) = (folder.path().join("theirs"), folder.path().join(LOCK_NAME));
        fs::write(&theirs, "theirs").expect("a writable folder");
        std::os::unix::fs::symlink(&theirs, &lock).expect("a writable folder");
        FolderLock::take(folder.path()).expect_err("a link");
        fs::remove_file(&lock).expect("ours");
        fs::hard_link(&theirs, &lock).expect("a writable folder");
        let error = FolderLock::take(folder.path()).expect_err("a second name").to_string();
        assert!(error.contains("remove it"), "{error}");
        assert_eq!(fs::read_to_string(&theirs).expect("a file"), "theirs");
        fs::remove_file(&lock).expect("ours");
        FolderLock::take(folder.path()).expect("nothing is in the way");
    }

    /// chaos 10: two daemons could run on a folder that was removed and made again.
    #[test]
    fn the_lock_follows_a_folder_that_is_made_again() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("jobs");
        fs::create_dir(&folder).expect("a writable folder");
        let mut first = FolderLock::take(&folder).expect("nobody has it");
        for is_new_folder in [true, false] {
            match is_new_folder {
                true => fs::remove_dir_all(&folder).expect("ours"),
                false => fs::remove_file(folder.join(LOCK_NAME)).expect("ours"),
            }
            fs::create_dir_all(&folder).expect("a writable folder");
            first.follow().expect("nobody was faster");
            FolderLock::take(&folder).expect_err("the new one is locked as well");
        }
        fs::remove_dir_all(&folder).expect("ours");
        fs::create_dir(&folder).expect("a writable folder");
        let second = FolderLock::take(&folder).expect("the second daemon was faster");
        let error = first.follow().expect_err("the folder is not ours any more").to_string();
        assert!(error.contains("in use by another zimaged"), "{error}");
        drop(second);
        first.follow().expect("it is free again");
    }
}
