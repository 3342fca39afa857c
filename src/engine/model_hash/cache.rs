//! The hashes of files, kept by what the system says of the files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::weight_files::Stamp;
use crate::files;

/// The largest cache that is read: some thousand files.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Hashes by the paths of their files.
#[derive(Default)]
pub(super) struct Cache(BTreeMap<PathBuf, Entry>);

#[derive(Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    /// In lower-case hex.
    sha256: String,
}

impl Cache {
    /// The cache at `path`; an empty one where there is none, or something is wrong with it.
    pub(super) fn read(path: &Path) -> Cache {
        read_entries(path).unwrap_or_default()
    }

    /// The hash of the file that has this stamp.
    pub(super) fn get(&self, stamp: &Stamp) -> Option<String> {
        let entry = self.0.get(&stamp.path).filter(|entry| entry.stamp == *stamp)?;
        Some(entry.sha256.clone())
    }

    pub(super) fn insert(&mut self, stamp: Stamp, sha256: String) {
        self.0.insert(stamp.path.clone(), Entry { stamp, sha256 });
    }

    /// Writes what is still true to `path`. The first line is the hash of the rest.
    pub(super) fn write(&mut self, path: &Path) -> io::Result<()> {
        self.0.retain(|path, entry| Stamp::of(path).is_ok_and(|stamp| stamp == entry.stamp));
        let entries = serde_json::to_string(&self.0.values().collect::<Vec<_>>())?;
        let sum = files::sha256(&entries);
        files::write_atomic(path, format!("{sum}\n{entries}").as_bytes())
    }
}

fn read_entries(path: &Path) -> Option<Cache> {
    let text = String::from_utf8(files::read_whole(path, FILE_BYTES_MAX).ok()?).ok()?;
    let (sum, entries) = text.split_once('\n')?;
    if sum != files::sha256(entries) {
        return None;
    }
    let entries: Vec<Entry> = serde_json::from_str(entries).ok()?;
    let by_path = |entry: Entry| (entry.stamp.path.clone(), entry);
    Some(Cache(entries.into_iter().map(by_path).collect()))
}
