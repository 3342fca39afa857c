//! The database copied while it is used, with the pictures that its renders begin with, and a copy
//! put back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use serde::Serialize;

use super::begin::lock_queue;
use super::{Queue, QueueError, accepted_ids};
use crate::config::Config;
use crate::files;
use crate::inputs::{self, BroughtInputs};
use crate::store::{Store, StoreError};

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackedUp {
    /// The copy.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Jobs in it.
    pub jobs: i64,
    /// Pictures that renders begin with and still need, masks too, copied into the folder beside it
    /// that has its name and `.inputs`.
    pub inputs: u64,
    /// Those that are lost: their renders will fail.
    pub inputs_missing: u64,
}

/// A backup that was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restored {
    /// Jobs in it.
    pub jobs: i64,
    /// Renders that had not ended when it was made: the next daemon renders them, unless they are
    /// cancelled before.
    pub waiting: i64,
    /// Queued ones of them that the database which was there before has as done. Their pictures
    /// stay in the output folder, and new ones get numbered names.
    pub made_since: i64,
    /// The database that was there before was the same: nothing has happened since the backup was
    /// made, or put back before.
    pub unchanged: bool,
    /// The database that was there before; `None` where there was none.
    pub kept: Option<PathBuf>,
    /// Files in `accepted/` of jobs that are newer than the backup, and not in it.
    pub newer: usize,
    /// Pictures that renders begin with and still need, masks too, which are there.
    pub inputs: u64,
    /// Those that neither the folder beside the backup has nor this queue: their renders will fail.
    pub inputs_missing: u64,
}

impl Queue<'_> {
    /// Copies the database, as it is at one moment, into the new `file`, and the pictures that it
    /// needs into a folder beside that: whole and checked, or not at all. The daemon goes on.
    pub async fn backup(&self, file: &Path) -> Result<BackedUp, QueueError> {
        let failed = |source| QueueError::File { path: file.to_owned(), source };
        let (folder, part) = temporary(file).map_err(failed)?;
        for name in [file, &inputs_beside(file)] {
            if name.symlink_metadata().is_ok() {
                return Err(taken(name));
            }
        }
        let made = self.copy(file, &folder, &part).await;
        if made.is_err() {
            // What cannot be removed has a name that says what it is.
            let _ = fs::remove_file(&part);
            let _ = fs::remove_dir_all(inputs_beside(&part));
        }
        made
    }

    async fn copy(&self, file: &Path, folder: &Path, part: &Path) -> Result<BackedUp, QueueError> {
        self.store.copy_to(part).await?;
        let facts = Store::check_copy(part).await?;
        let named = || -> io::Result<BackedUp> {
            let bytes = fs::metadata(part)?.len();
            let inputs = inputs_beside(part);
            let brought = inputs::bring(&facts.inputs, &self.config.inputs_path(), &inputs)?;
            // First, so that no backup is there without its pictures.
            if brought.there > 0 {
                files::rename_new(CWD, &inputs, CWD, &inputs_beside(file))?;
            }
            files::rename_new(CWD, part, CWD, file)?;
            files::sync(&files::open_folder(folder)?)?;
            let BroughtInputs { there: inputs, missing: inputs_missing } = brought;
            let (file, jobs) = (file.to_owned(), facts.jobs);
            Ok(BackedUp { file, bytes, jobs, inputs, inputs_missing })
        };
        match named() {
            Ok(made) => Ok(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken(file)),
            Err(source) => Err(QueueError::File { path: file.to_owned(), source }),
        }
    }
}

fn taken(file: &Path) -> QueueError {
    QueueError::NoAnswer(format!("{} exists: a backup replaces nothing", file.display()))
}

/// Where the pictures are that the backup `file` needs.
fn inputs_beside(file: &Path) -> PathBuf {
    file.with_added_extension("inputs")
}

/// The folder of `file`, and a temporary name in it.
fn temporary(file: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let file = std::path::absolute(file)?;
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
    };
    let name = name.to_string_lossy();
    let part = folder.join(format!(".{name}.{}.part", std::process::id()));
    match fs::metadata(folder) {
        Ok(facts) if facts.is_dir() => Ok((folder.to_owned(), part)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "its folder is a file")),
        Err(error) => Err(error),
    }
}

/// Puts a copy of the backup `file` in the database's place, while no daemon runs. It is checked
/// first; the database that was there keeps another name. Each step leaves one of the two whole
/// under the database's name.
pub async fn restore(config: &Config, file: &Path) -> Result<Restored, QueueError> {
    let _lock = lock_queue(config)?;
    let database = config.database_path();
    if let Some(why) = Store::misplaced(&database) {
        return Err(StoreError::Unusable(why).into());
    }
    let part = config.state.join("zimaged-restored.part");
    let failed = |path: &Path, source| QueueError::File { path: path.to_owned(), source };
    fetch(file, &part, &database).map_err(|source| failed(file, source))?;
    let facts = Store::make_ready(&part, &database).await;
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => {
            let _ = fs::remove_file(&part);
            let source = match error {
                // To try again would read the same file.
                StoreError::Suspect(why) => StoreError::Unusable(format!(
                    "it is no database, or a damaged one ({why}); the queue is as it was"
                )),
                other => other,
            };
            return Err(QueueError::NoBackup { file: file.display().to_string(), source });
        }
    };
    let inputs = inputs_beside(file);
    let brought = inputs::bring(&facts.inputs, &inputs, &config.inputs_path());
    let brought = brought.map_err(|source| {
        let _ = fs::remove_file(&part);
        failed(&config.inputs_path(), source)
    })?;
    let kept = keep(config, &database).await.map_err(|source| failed(&database, source))?;
    put(&part, &database).map_err(|source| failed(&database, source))?;
    if is_saved_here(config, file) {
        // It is put back, and not told of any more. What stays there is only told again.
        let _ = fs::remove_file(file);
    }
    let accepted = accepted_ids(&config.jobs).unwrap_or_default();
    Ok(Restored {
        jobs: facts.jobs,
        waiting: facts.waiting,
        made_since: facts.made_since,
        unchanged: facts.is_as_before,
        kept,
        newer: accepted.into_iter().filter(|id| *id > facts.last_job).count(),
        inputs: brought.there,
        inputs_missing: brought.missing,
    })
}

/// Whether the file is what a daemon has saved of this queue's database when that was taken away.
fn is_saved_here(config: &Config, file: &Path) -> bool {
    let folder = |path: &Path| std::path::absolute(path).ok()?.parent()?.canonicalize().ok();
    Store::is_saved(file) && folder(file) == folder(&config.database_path())
}

/// Copies the backup, with the log that may lie beside it, to `part`.
fn fetch(file: &Path, part: &Path, database: &Path) -> io::Result<()> {
    let facts = fs::metadata(file)?;
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !facts.is_file() {
        return refuse("it is not a file");
    }
    let same = |there: fs::Metadata| (there.dev(), there.ino()) == (facts.dev(), facts.ino());
    if fs::metadata(database).is_ok_and(same) {
        return refuse("it is the database itself");
    }
    Store::forget_log(part)?;
    fs::copy(file, part)?;
    Store::fetch_log(file, part)
}

/// Keeps the present database under the first free of the numbered names.
async fn keep(config: &Config, database: &Path) -> io::Result<Option<PathBuf>> {
    if Store::is_missing(database) {
        return Ok(None);
    }
    for number in files::numbers() {
        let name = config.state.join(files::numbered("zimaged-before.sqlite", number));
        match Store::keep_aside(database, &name).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            kept => return kept.map(|()| Some(name)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "all numbered names are taken"))
}

/// Gives the restored file the database's name, and removes the log of the one before, which is
/// kept beside that. A death in between leaves a log that the next start refuses to take.
fn put(part: &Path, database: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, database)?;
    let folder = files::open_folder(database.parent().unwrap_or(database))?;
    files::sync(&folder)?;
    Store::forget_log(database)?;
    files::sync(&folder)
}
