//! Files in the output folder that belong to no row.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{LISTED_MAX, Verified, VerifyStep};
use crate::job::Format;
use crate::output::{self, sidecar};
use crate::queue::{Queue, QueueError};

/// So many names are held against the rows at once.
const NAMES_MAX: usize = 5000;

/// Folders within folders are looked into so far.
const DEPTH_MAX: usize = 32;

/// A file that belongs to no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stranger {
    /// Relative to the output folder.
    pub path: String,
    /// What it is.
    pub kind: StrangerKind,
}

/// What a file without a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StrangerKind {
    /// A picture of this queue, or a sidecar, whose row is gone or has another name now.
    Forgotten,
    /// A picture of another queue.
    OtherQueue,
    /// No picture of zimaged.
    Foreign,
}

impl Queue<'_> {
    pub(super) async fn find_strangers(
        &self,
        found: &mut Verified,
        tell: &mut dyn FnMut(VerifyStep),
    ) -> Result<(), QueueError> {
        let mut names = Vec::new();
        for (looked_at, name) in (1..).zip(Files::below(&self.config.outputs)) {
            names.push(name);
            if names.len() == NAMES_MAX {
                self.note_strangers(&names, found).await?;
                names.clear();
                tell(VerifyStep::Files { looked_at });
            }
        }
        self.note_strangers(&names, found).await
    }

    async fn note_strangers(
        &self,
        names: &[String],
        found: &mut Verified,
    ) -> Result<(), QueueError> {
        for path in self.store.without_row(names).await? {
            let file = self.config.outputs.join(&path);
            // It may have been removed meanwhile.
            if !file.exists() || self.is_sidecar(&path).await? {
                continue;
            }
            found.strangers += 1;
            if found.stranger_files.len() < LISTED_MAX {
                let kind = self.kind(&file);
                found.stranger_files.push(Stranger { path, kind });
            }
        }
        Ok(())
    }

    /// Whether the file stands beside a picture that has a row, and is this queue's.
    async fn is_sidecar(&self, path: &str) -> Result<bool, QueueError> {
        if !sidecar::is_called_so(Path::new(path)) {
            return Ok(false);
        }
        let pictures = [Format::Png, Format::Jpeg, Format::Webp].map(|format| {
            Path::new(path).with_extension(format.extension()).to_string_lossy().into_owned()
        });
        let has_row = self.store.without_row(&pictures).await?.len() < pictures.len();
        let said = sidecar::read(&self.config.outputs.join(path));
        Ok(has_row && said.is_some_and(|it| it.queue.owner.database == self.store.id()))
    }

    fn kind(&self, file: &Path) -> StrangerKind {
        match output::metadata_of(file).or_else(|| sidecar::read(file)) {
            Some(metadata) if metadata.queue.owner.database == self.store.id() => {
                StrangerKind::Forgotten
            }
            Some(_) => StrangerKind::OtherQueue,
            None => StrangerKind::Foreign,
        }
    }
}

/// The files below a folder, relative to it. Links are not followed, and what is hidden is left
/// out: temporary files of a daemon that works are.
struct Files {
    root: PathBuf,
    folders: VecDeque<(PathBuf, usize)>,
    entries: Option<(fs::ReadDir, usize)>,
}

impl Files {
    fn below(root: &Path) -> Files {
        let folders = VecDeque::from([(root.to_owned(), 0)]);
        Files { root: root.to_owned(), folders, entries: None }
    }

    /// The name of a file; a folder is looked into later.
    fn look_at(&mut self, entry: &fs::DirEntry, depth: usize) -> Option<String> {
        let kind = entry.file_type().ok()?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            return None;
        }
        if kind.is_dir() && depth < DEPTH_MAX {
            self.folders.push_back((entry.path(), depth + 1));
        }
        let path = entry.path();
        let name = path.strip_prefix(&self.root).ok()?;
        kind.is_file().then(|| name.to_string_lossy().into_owned())
    }
}

impl Iterator for Files {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some((entries, depth)) = &mut self.entries {
                let depth = *depth;
                match entries.next() {
                    Some(Ok(entry)) => match self.look_at(&entry, depth) {
                        Some(name) => return Some(name),
                        None => continue,
                    },
                    Some(Err(_)) => continue,
                    None => self.entries = None,
                }
            }
            let (folder, depth) = self.folders.pop_front()?;
            // What cannot be listed has no file that could be told.
            self.entries = fs::read_dir(folder).ok().map(|entries| (entries, depth));
        }
    }
}
