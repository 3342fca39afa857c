//! Which job file is being read, in a file that outlives the process: one whose reading kills the
//! daemon would else kill each next start, too.
//!
//! A death of the process takes nothing that was written from the kernel, so nothing here waits for
//! a disk. After a power cut the file may say anything; a mistake costs one of two deaths.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use tracing::warn;

use super::look::Fingerprint;
use crate::files;

/// A file that was being read at so many deaths in a row is not read again. One may be chance: a
/// kill by hand, or the kernel's, strikes at any moment.
const DEATHS_MAX: u32 = 2;

/// More than is ever noted.
const FILE_BYTES_MAX: u64 = 4096;

/// Notes what is being read.
pub struct Reading {
    note: Note,
    /// What was being read when an earlier process died, and how many have.
    suspect: Option<(Fingerprint, u32)>,
}

impl Reading {
    /// Goes on from the file `path`, which an earlier process may have left.
    pub fn open(path: &Path) -> Reading {
        let left = files::read_whole(path, FILE_BYTES_MAX).unwrap_or_default();
        let left = String::from_utf8_lossy(&left);
        let suspect = parse(&left).map(|(seen, deaths)| (seen, deaths.saturating_add(1)));
        let file = files::open_plain_to_write(path, OFlags::empty());
        if let Err(error) = &file {
            warn!("{}: {error}: a job file that kills the daemon is not told", path.display());
        }
        Reading { note: Note(Arc::new(Mutex::new(file.ok()))), suspect }
    }

    /// The file that says what is being read, for who closes it.
    pub fn note(&self) -> Note {
        self.note.clone()
    }

    /// Whether the file is not to be read, because that killed the daemon.
    pub fn is_deadly(&self, file: Fingerprint) -> bool {
        self.deaths_at(file) >= DEATHS_MAX
    }

    fn deaths_at(&self, file: Fingerprint) -> u32 {
        self.suspect.filter(|(seen, _)| *seen == file).map_or(0, |(_, deaths)| deaths)
    }

    /// Does the `work` of reading the file.
    pub fn during<T>(&self, file: Fingerprint, work: impl FnOnce() -> T) -> T {
        self.note.write(&text(file, self.deaths_at(file)));
        let result = work();
        self.note.write("");
        result
    }
}

/// The file that says what is being read; none where it cannot be written: then nothing is known of
/// deaths.
#[derive(Clone)]
pub struct Note(Arc<Mutex<Option<File>>>);

impl Note {
    fn write(&self, text: &str) {
        write(self.file().as_ref(), text);
    }

    /// Nothing is noted from now on: the process was told to end, and if that takes so long that it
    /// is killed, no file is to blame.
    pub fn close(&self) {
        write(self.file().take().as_ref(), "");
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that takes nothing makes no file wait: only the knowledge of deaths is lost.
fn write(file: Option<&File>, text: &str) {
    if let Some(file) = file
        && file.set_len(0).is_ok()
    {
        let _ = file.write_all_at(text.as_bytes(), 0);
    }
}

fn text(file: Fingerprint, deaths: u32) -> String {
    let Fingerprint { inode, bytes, mtime_ns, ctime_ns } = file;
    format!("{deaths} {inode} {bytes} {mtime_ns} {ctime_ns}\n")
}

/// What [`text`] has written, whole.
fn parse(text: &str) -> Option<(Fingerprint, u32)> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let deaths = words.next()?.parse().ok()?;
    let file = Fingerprint {
        inode: words.next()?.parse().ok()?,
        bytes: words.next()?.parse().ok()?,
        mtime_ns: words.next()?.parse().ok()?,
        ctime_ns: words.next()?.parse().ok()?,
    };
    Some((file, deaths))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Fingerprint = Fingerprint { inode: 7, bytes: 10, mtime_ns: -5, ctime_ns: 6 };

    /// Dies while the file is read.
    fn die_at(path: &Path, file: Fingerprint) {
        let reading = Reading::open(path);
        reading.note.write(&text(file, reading.deaths_at(file)));
    }

    #[test]
    fn a_file_is_deadly_after_two_deaths_in_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reading");
        assert!(!Reading::open(&path).is_deadly(FILE));
        die_at(&path, FILE);
        assert!(!Reading::open(&path).is_deadly(FILE), "once is chance");
        die_at(&path, FILE);
        let reading = Reading::open(&path);
        assert!(reading.is_deadly(FILE));
        assert!(!reading.is_deadly(Fingerprint { mtime_ns: 1, ..FILE }), "it was changed since");
        reading.during(Fingerprint { inode: 8, ..FILE }, || ());
        assert!(reading.is_deadly(FILE), "others are read meanwhile");
    }

    #[test]
    fn who_is_killed_after_being_told_to_end_blames_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reading");
        for _ in 0..=DEATHS_MAX {
            let reading = Reading::open(&path);
            assert!(!reading.is_deadly(FILE));
            // Killed in the middle.
            reading.note.write(&text(FILE, reading.deaths_at(FILE)));
            reading.note().close();
            reading.note.write(&text(FILE, 1));
        }
    }

    #[test]
    fn what_was_read_to_its_end_killed_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reading");
        die_at(&path, FILE);
        Reading::open(&path).during(FILE, || ());
        die_at(&path, FILE);
        assert!(!Reading::open(&path).is_deadly(FILE));
        // A note that was cut short.
        std::fs::write(&path, "2 7 10 -5").unwrap();
        assert!(!Reading::open(&path).is_deadly(FILE));
        std::fs::write(folder.path().join("a file"), "").unwrap();
        let nowhere = Reading::open(&folder.path().join("a file/reading"));
        assert!(nowhere.during(FILE, || true), "it is read all the same");
    }
}
