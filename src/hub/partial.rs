//! A file that is still coming: its bytes, and a journal of those that are on the disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::ranges::ByteRanges;
use super::repository::RepoFile;
use crate::files;

/// A journal of a file that came in any order from eight connections has fewer bytes.
const JOURNAL_BYTES_MAX: u64 = 1 << 20;

/// The blocks in which the system counts what a file takes.
const BLOCK_BYTES: u64 = 512;

/// What the journal says. It counts only for a content with this hash and length.
#[derive(Serialize, Deserialize)]
struct Journal {
    hash: String,
    bytes: u64,
    done: ByteRanges,
}

/// The file and its journal. Both have the hash for a name, so that nothing is ever continued with
/// bytes of something else.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    hash: String,
    bytes: u64,
}

impl Partial {
    /// Opens what an earlier run left in `folder`, or begins; and what of it is there already.
    pub fn open(folder: &Path, wanted: &RepoFile) -> Result<(Partial, ByteRanges), HubError> {
        let path = path(folder, wanted);
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| HubError::of_io(&path, error))?;
        let hash = wanted.hash.digits().to_owned();
        let partial = Partial { path, file, hash, bytes: wanted.bytes };
        let done = partial.journalled().unwrap_or_default();
        partial.allocate().map_err(|error| HubError::of_io(&partial.path, error))?;
        Ok((partial, done))
    }

    /// What the journal says, if it is about this very file. Anything else means: from the start.
    fn journalled(&self) -> Option<ByteRanges> {
        let text = files::read_whole(&self.journal(), JOURNAL_BYTES_MAX).ok()?;
        let journal: Journal = serde_json::from_slice(&text).ok()?;
        let is_this = journal.hash == self.hash && journal.bytes == self.bytes;
        let is_whole = self.file.metadata().ok()?.len() == self.bytes;
        (is_this && is_whole && journal.done.end() <= self.bytes).then_some(journal.done)
    }

    /// Takes the room for the whole file, so that a full disk is told now and not after hours.
    fn allocate(&self) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, self.bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.file.set_len(self.bytes)?,
            allocated => allocated?,
        }
        // One of before may have been longer.
        self.file.set_len(self.bytes)
    }

    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), HubError> {
        self.file.write_all_at(bytes, at).map_err(|error| HubError::of_io(&self.path, error))
    }

    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<(), HubError> {
        self.file.read_exact_at(bytes, at).map_err(|error| HubError::of_io(&self.path, error))
    }

    /// Makes `done` last: first the bytes, then the word that they are there.
    pub fn save(&self, done: &ByteRanges) -> Result<(), HubError> {
        let saved = self.file.sync_data().and_then(|()| {
            let journal =
                Journal { hash: self.hash.clone(), bytes: self.bytes, done: done.clone() };
            files::write_atomic(&self.journal(), &serde_json::to_vec(&journal)?)
        });
        saved.map_err(|error| HubError::of_io(&self.path, error))
    }

    /// Puts the whole file at `target`, for good, where nothing stands.
    pub fn finish(self, target: &Path) -> Result<(), HubError> {
        let failed = |error| HubError::of_io(target, error);
        self.file.sync_all().map_err(failed)?;
        files::rename_new(CWD, &self.path, CWD, target).map_err(failed)?;
        let folder = files::open_folder(target.parent().unwrap_or(target)).map_err(failed)?;
        files::sync(&folder).map_err(failed)?;
        // Without its file it says nothing; the next fetch would remove it.
        let _ = fs::remove_file(self.journal());
        Ok(())
    }

    /// Throws everything away.
    pub fn discard(self) -> Result<(), HubError> {
        let removed =
            fs::remove_file(&self.path).and_then(|()| match fs::remove_file(self.journal()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            });
        removed.map_err(|error| HubError::of_io(&self.path, error))
    }

    fn journal(&self) -> PathBuf {
        self.path.with_extension("json")
    }
}

/// How much room a file still needs: what earlier runs took for it counts.
pub fn room_bytes(folder: &Path, wanted: &RepoFile) -> u64 {
    let taken = fs::metadata(path(folder, wanted)).map_or(0, |file| file.blocks() * BLOCK_BYTES);
    wanted.bytes.saturating_sub(taken)
}

fn path(folder: &Path, wanted: &RepoFile) -> PathBuf {
    folder.join(format!("{}.part", wanted.hash.digits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::repository::PromisedHash;

    fn wanted(bytes: u64) -> RepoFile {
        let hash = PromisedHash::parse(&"a".repeat(64)).unwrap();
        RepoFile { path: "a".to_owned(), bytes, hash }
    }

    #[test]
    fn what_a_journal_says_counts_for_its_own_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let open = |bytes| Partial::open(folder.path(), &wanted(bytes)).unwrap();
        let (partial, done) = open(100);
        assert_eq!(done.bytes(), 0);
        partial.write_at(b"1234", 10).unwrap();
        let mut done = ByteRanges::default();
        done.add(10..14);
        partial.save(&done).unwrap();
        assert_eq!(open(100).1, done);
        assert_eq!(open(200).1.bytes(), 0, "another length");
        assert_eq!(open(100).1.bytes(), 0, "the file was not of this length any more");
        partial.save(&done).unwrap();
        fs::write(partial.journal(), "{\"hash\":").unwrap();
        assert_eq!(open(100).1.bytes(), 0, "a damaged journal");
        partial.save(&done).unwrap();
        fs::remove_file(&partial.path).unwrap();
        assert_eq!(open(100).1.bytes(), 0, "without its file");
    }

    #[test]
    fn a_finished_file_is_in_its_place_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (partial, done) = Partial::open(folder.path(), &wanted(4)).unwrap();
        assert_eq!(room_bytes(folder.path(), &wanted(4)), 0, "it is taken already");
        partial.write_at(b"1234", 0).unwrap();
        partial.save(&done).unwrap();
        partial.finish(&folder.path().join("model")).unwrap();
        assert_eq!(fs::read(folder.path().join("model")).unwrap(), b"1234");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Partial::open(folder.path(), &wanted(4)).unwrap().0.discard().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
