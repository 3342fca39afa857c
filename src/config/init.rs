//! A folder of its own for a queue: where commands find theirs, and how one is made.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::{Config, ConfigError, make_folder};
use crate::files;

/// The name under which a configuration is looked for in the current folder.
pub const FILE_NAME: &str = "daemon.toml";

/// What a new folder gets: few keys, and what each is for.
pub const STARTING_TEXT: &str = include_str!("../../packaging/init/daemon.toml");

/// A folder that is ready for a daemon.
#[derive(Debug)]
pub struct InitAnswer {
    pub config: Config,
    pub config_path: PathBuf,
    /// Whether the configuration is new. One that was there is never changed.
    pub is_new: bool,
}

/// Makes what is missing of a queue's folder: its `daemon.toml`, and the folders that this names.
pub fn init(folder: &Path) -> Result<InitAnswer, ConfigError> {
    make_folder(folder)?;
    let config_path = folder.join(FILE_NAME);
    let is_new = write_new(&config_path)
        .map_err(|source| ConfigError::Folder { path: config_path.clone(), source })?;
    let config = Config::load(Some(&config_path))?;
    for folder in [&config.jobs, &config.outputs, &config.state] {
        make_folder(folder)?;
    }
    Ok(InitAnswer { config, config_path, is_new })
}

impl Config {
    /// The folder of models: beside `daemon.toml`, or where the state is for a configuration below
    /// `/etc`, which is no place for data.
    pub fn models(&self) -> PathBuf {
        let of_user = self.file.as_deref().filter(|file| !file.starts_with("/etc"));
        let beside = of_user.unwrap_or(&self.state);
        beside.parent().unwrap_or(beside).join("models")
    }
}

/// Whether the file was not there before.
/// Whether the file was not there before. It is there whole, also after a power cut, or not at all.
fn write_new(path: &Path) -> io::Result<bool> {
    // A link that leads nowhere counts: it is the user's.
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let temporary = path.with_added_extension("part");
    let written = files::write_synced(&temporary, STARTING_TEXT.as_bytes());
    let moved = written.and_then(|_| files::rename_new(CWD, &temporary, CWD, path));
    if moved.is_err() {
        // What cannot be removed is overwritten the next time.
        let _ = std::fs::remove_file(&temporary);
    }
    match moved {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
        Ok(()) => {
            files::sync(&files::open_folder(path.parent().unwrap_or(path))?)?;
            Ok(true)
        }
    }
}
