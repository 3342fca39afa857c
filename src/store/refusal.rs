//! Why a database cannot be opened, in words that name the file and the cure.

use std::fs::File;
use std::io;
use std::path::Path;

use super::StoreError;
use super::error::{code, primary_code};
use crate::access::no_access;
use crate::files;

/// What SQLite said when `path` was opened, as far as the file system explains it.
pub(super) fn explain(path: &Path, error: StoreError) -> StoreError {
    let unusable = |why: String| StoreError::Unusable(format!("{}: {why}", path.display()));
    match error {
        StoreError::Unusable(why) => unusable(why),
        StoreError::Starved(error) | StoreError::Disk(error) => match obstacle(path) {
            Obstacle::Lasting(why) => unusable(why),
            Obstacle::Passing(why) => StoreError::Starved(format!("{}: {why}", path.display())),
            Obstacle::None => StoreError::Starved(format!("{}: {error}", path.display())),
        },
        StoreError::Sql(error) if primary_code(&error) == Some(code::READ_ONLY) => {
            match obstacle(path) {
                Obstacle::Lasting(why) | Obstacle::Passing(why) => unusable(why),
                Obstacle::None => unusable(format!("it cannot be written ({error})")),
            }
        }
        StoreError::Sql(error) => unusable(error.to_string()),
        other => other,
    }
}

/// What the file system has against opening the database.
enum Obstacle {
    None,
    /// Somebody has to do something about it.
    Lasting(String),
    /// Too few descriptors, a disk that fails: tried again, it may work.
    Passing(String),
}

fn obstacle(path: &Path) -> Obstacle {
    let opened = File::options().read(true).write(true).open(path).map(drop);
    let folder = path.parent().unwrap_or(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
            Obstacle::Lasting(format!("it cannot be opened; is its folder there? ({error})"))
        }
        Err(error) if files::may_pass(&error) => Obstacle::Passing(error.to_string()),
        Err(error) => Obstacle::Lasting(no_access(path).unwrap_or_else(|| error.to_string())),
        // A database in WAL mode needs files beside it.
        Ok(()) => match no_access(folder) {
            Some(why) => Obstacle::Lasting(why),
            None => Obstacle::None,
        },
    }
}
