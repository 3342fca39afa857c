//! Pictures that are still what was written. Somebody may have painted in one, or put another file
//! in its place: its content decides, and is read for that once for each change of the file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{measure, open};

/// So many are remembered, in some hundred bytes each; then it begins anew.
const KNOWN_MAX: usize = 10_000;

/// What was changed so lately may be changed again and show the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// A picture's file as its row has it.
#[derive(Clone, Debug)]
pub struct PictureFile {
    /// Below the output folder.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The files that were found to be what their rows say.
#[derive(Debug, Default)]
pub struct KnownPictures {
    known: Mutex<HashSet<KnownFile>>,
}

/// A file, as long as it stays as it is: whoever writes into it changes its time of change, which
/// no program can set.
#[derive(Debug, PartialEq, Eq, Hash)]
struct KnownFile {
    sha256: String,
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl KnownPictures {
    /// Opens the picture, as [`open`] does, where it has the content that was written: else it
    /// would be shown or sent for what it is not.
    pub fn open(&self, outputs: &Path, recorded: &PictureFile) -> io::Result<File> {
        let mut file = open(outputs, &recorded.path)?;
        let found = KnownFile::of(&file, recorded)?;
        if found.bytes != recorded.bytes {
            let PictureFile { bytes, .. } = recorded;
            return Err(other(format!("it has {} bytes, and {bytes} were written", found.bytes)));
        }
        if self.lock().contains(&found) {
            return Ok(file);
        }
        if measure(&mut file)?.1 != recorded.sha256 {
            return Err(other("it has other bytes than were written".to_owned()));
        }
        file.rewind()?;
        if found.is_settled() && KnownFile::of(&file, recorded)? == found {
            self.remember(found);
        }
        Ok(file)
    }

    fn remember(&self, found: KnownFile) {
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(found);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<KnownFile>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownFile {
    fn of(file: &File, recorded: &PictureFile) -> io::Result<KnownFile> {
        let facts = file.metadata()?;
        Ok(KnownFile {
            sha256: recorded.sha256.clone(),
            device: facts.dev(),
            inode: facts.ino(),
            bytes: facts.len(),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(self.changed.0.unsigned_abs());
        now.checked_sub(changed).is_some_and(|age| age > SETTLED)
    }
}

fn other(told: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, told)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files;

    fn recorded(content: &[u8]) -> PictureFile {
        let sha256 = files::sha256(content);
        PictureFile { path: "fox.png".to_owned(), bytes: content.len() as u64, sha256 }
    }

    #[test]
    fn other_bytes_of_the_same_length_are_no_picture_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let (path, known) = (folder.path().join("fox.png"), KnownPictures::default());
        let opened = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            known.open(folder.path(), &recorded(b"a fox"))
        };
        assert_eq!(io::read_to_string(opened(b"a fox").unwrap()).unwrap(), "a fox");
        let told = |content| opened(content).unwrap_err().to_string();
        assert_eq!(told(b"an ox"), "it has other bytes than were written");
        assert_eq!(told(b"a f"), "it has 3 bytes, and 5 were written");
        opened(b"a fox").expect("as it was");
        assert!(known.lock().is_empty(), "all this was within a moment");
    }

    #[test]
    fn a_file_is_read_once_for_each_change_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, known) = (folder.path().join("fox.png"), KnownPictures::default());
        fs::write(&path, "a fox").unwrap();
        let file = File::open(&path).unwrap();
        known.remember(KnownFile::of(&file, &recorded(b"an ox")).unwrap());
        known.open(folder.path(), &recorded(b"an ox")).expect("it was found so, and not read");
        // Its times for people, which anybody can set, stay the same.
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(&path, "an ox").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        known.open(folder.path(), &recorded(b"a fox")).expect_err("it is read anew");
    }

    #[test]
    fn what_was_changed_a_moment_ago_is_not_settled() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let at = |changed| {
            let sha256 = String::new();
            KnownFile { sha256, device: 1, inode: 1, bytes: 1, changed: (changed, 0) }
        };
        assert!(at(now - 10).is_settled());
        assert!(!at(now - 1).is_settled() && !at(now + 60).is_settled());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = KnownPictures::default();
        for inode in 0..=KNOWN_MAX as u64 {
            let changed = (0, 0);
            known.remember(KnownFile {
                sha256: String::new(),
                device: 1,
                inode,
                bytes: 1,
                changed,
            });
        }
        assert_eq!(known.lock().len(), 1);
    }
}
