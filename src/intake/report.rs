//! What is told of `jobs/`: by the daemon that takes files in, and by whoever looks without one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, FileType};
use serde::{Deserialize, Serialize};

use super::kind::{Kind, Why};
use super::name::shown;
use crate::files;

/// Of so many files of each sort the names are told; of all, their number.
pub const FILES_SHOWN_MAX: usize = 20;

/// What the daemon says of its jobs folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IntakeStatus {
    /// Why no file is taken in at all (a folder that cannot be read, a locked database).
    pub trouble: Option<String>,
    /// The first files that are not taken in yet, by name.
    pub waiting: Vec<WaitingFile>,
}

/// A job file that lies in the jobs folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitingFile {
    /// Its name.
    pub file: String,
    /// Why it is not taken in.
    pub reason: String,
}

/// Something in the jobs folder that is no job file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftAlone {
    pub file: String,
    pub why: Why,
}

/// What lies in a jobs folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderContents {
    /// Names of job files, sorted.
    pub jobs: Vec<String>,
    /// Sorted by name.
    pub left_alone: Vec<LeftAlone>,
}

/// Lists the folder and changes nothing. One that is not there holds nothing.
pub fn contents(folder: &Path) -> io::Result<FolderContents> {
    let mut contents = FolderContents::default();
    let folder = match files::open_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(contents),
        opened => opened?,
    };
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let file = shown(name);
        match Kind::of(name, entry.file_type() == FileType::Directory) {
            Kind::Job => contents.jobs.push(file),
            Kind::Alone(why) => contents.left_alone.push(LeftAlone { file, why }),
            Kind::Silent => {}
        }
    }
    contents.jobs.sort();
    contents.left_alone.sort();
    Ok(contents)
}
