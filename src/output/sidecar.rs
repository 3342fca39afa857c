//! A file beside a picture that says as JSON what the picture says of itself: `fox.json` beside
//! `fox.png`.
//!
//! It gets its name before its picture does. So whoever sees the picture finds it, and a death in
//! between leaves it without a picture, which the next start sees and removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use super::read::{JSON_BYTES_MAX, parsed, read_metadata};
use super::{Owner, folder_and_name, of_subfolder, open_below, outside};
use crate::files;

/// The extension of all of them.
const EXTENSION: &str = "json";

/// Where the sidecar of `picture` stands.
pub fn path_of(picture: &Path) -> PathBuf {
    picture.with_extension(EXTENSION)
}

/// Whether a file is called as a sidecar is.
pub fn is_called_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// What the sidecar at `path` says, if it is one and can be read.
pub fn read(path: &Path) -> Option<Metadata> {
    read_file(path).ok()?
}

fn read_file(path: &Path) -> io::Result<Option<Metadata>> {
    let text = files::read_plain(path, JSON_BYTES_MAX as u64)?;
    Ok(str::from_utf8(&text).ok().and_then(parsed))
}

/// Writes the sidecar of the picture that lies at `temp` and will be called `final_path`. False
/// where that name is somebody else's: nothing is replaced.
///
/// Its name lasts only after a sync of its folder, which the picture's own name needs as well.
pub fn publish(temp: &Path, owner: &Owner, final_path: &Path) -> io::Result<bool> {
    let no_picture = || io::Error::new(io::ErrorKind::InvalidData, "it says nothing of itself");
    let metadata = read_metadata(temp)?.ok_or_else(no_picture)?;
    let part = part_path(temp);
    let written = files::write_synced(&part, &serde_json::to_vec_pretty(&metadata)?)
        .and_then(|_| name(&part, &path_of(final_path)));
    if written.is_err() {
        // What cannot be removed goes at the next start.
        let _ = fs::remove_file(&part);
    }
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => is_of(final_path, owner),
        written => written.map(|()| true),
    }
}

/// Removes the sidecar of the picture at `picture` where it is this attempt's.
pub fn remove(picture: &Path, owner: &Owner) -> io::Result<()> {
    match is_of(picture, owner)? {
        true => fs::remove_file(path_of(picture)),
        false => Ok(()),
    }
}

/// Whether the sidecar of the picture at `picture` is there, and this attempt's.
fn is_of(picture: &Path, owner: &Owner) -> io::Result<bool> {
    match read_file(&path_of(picture)) {
        Ok(metadata) => Ok(metadata.is_some_and(|metadata| metadata.queue.owner == *owner)),
        // It says nothing of the file.
        Err(error) if files::may_pass(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Known as a temporary file by the beginning of its name, as the picture's own is.
fn part_path(temp: &Path) -> PathBuf {
    temp.with_extension("json.part")
}

fn name(part: &Path, path: &Path) -> io::Result<()> {
    let (root, part_name) = folder_and_name(part)?;
    let (folder, name) = folder_and_name(path)?;
    let below = folder.strip_prefix(root).map_err(|_| outside(path, root))?;
    let root = files::open_folder(root)?;
    let folder = open_below(&root, below).map_err(|error| of_subfolder(below, error))?;
    files::rename_new(&root, part_name, &folder, name).map_err(|error| of_subfolder(below, error))
}
