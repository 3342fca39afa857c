//! Files that other programs have already: found by their length, proved by their hash, used in
//! place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::progress::FetchProgress;
use super::repository::{ContentHash, PromisedHash, RepoFile};
use crate::files;

/// How deep below a cache files are looked for; Hugging Face's have four folders above them.
const DEPTH_MAX: u32 = 8;
/// How many entries of all caches are looked at.
const ENTRIES_MAX: u32 = 200_000;
/// How many files of one length are read through.
const SAME_LENGTH_MAX: usize = 8;
/// What files end in that are still coming, here and elsewhere.
const UNFINISHED: [&str; 2] = ["part", "incomplete"];
const BUFFER_BYTES: usize = 1 << 20;

/// Files by their length.
#[derive(Debug, Default)]
pub struct CachedFiles {
    by_length: BTreeMap<u64, Vec<PathBuf>>,
    entries: u32,
}

impl CachedFiles {
    /// Looks through `folders` for files that may be one of `wanted`. What cannot be read is passed
    /// over: it is other programs'.
    pub fn look(folders: &[PathBuf], wanted: &[&RepoFile]) -> CachedFiles {
        let lengths = wanted.iter().filter(|file| file.bytes > 0);
        let mut found = CachedFiles {
            by_length: lengths.map(|file| (file.bytes, Vec::new())).collect(),
            entries: 0,
        };
        for folder in folders {
            found.look_in(folder, 0);
        }
        found
    }

    fn look_in(&mut self, folder: &Path, depth: u32) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return;
            }
            // Links are followed: people put their models elsewhere that way.
            let path = entry.path();
            if UNFINISHED.contains(&path.extension().and_then(|end| end.to_str()).unwrap_or("")) {
                continue;
            }
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() && depth < DEPTH_MAX {
                self.look_in(&path, depth + 1);
            } else if metadata.is_file()
                && let Some(paths) = self.by_length.get_mut(&metadata.len())
                && let Ok(path) = fs::canonicalize(path)
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        }
    }

    /// Files that may be `wanted`; those of which the name says another hash are not.
    pub fn candidates(&self, wanted: &RepoFile) -> impl Iterator<Item = &Path> {
        let digits = wanted.hash.digits().to_owned();
        let may_be = move |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            PromisedHash::parse(name).is_none_or(|named| named.digits() == digits)
        };
        let paths = self.by_length.get(&wanted.bytes).into_iter().flatten();
        paths.filter(may_be).take(SAME_LENGTH_MAX).map(PathBuf::as_path)
    }
}

/// The SHA-256 of the file `path`, if it has the content that was promised.
pub fn proved(
    path: &Path,
    wanted: &RepoFile,
    progress: &FetchProgress,
) -> Result<Option<String>, HubError> {
    progress.tell(format!("checking {}", path.display()));
    let unreadable = |error| HubError::of_io(path, error);
    let mut file = files::open_plain(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() != wanted.bytes {
        return Ok(None);
    }
    let mut hash = ContentHash::new(&wanted.hash, wanted.bytes);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        progress.check()?;
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hash.finish(&wanted.hash).ok()),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

/// Puts a second name of the file `cached` at `place`: a hard link, or on another disk a symbolic
/// one. Nothing is copied, and `cached` stays as it is.
pub fn link(cached: &Path, place: &Path) -> io::Result<()> {
    fs::hard_link(cached, place).or_else(|_| symlink(cached, place))
}
