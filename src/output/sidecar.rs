//! A file beside a picture that says as JSON what the picture says of itself: `fox.json` beside
//! `fox.png`, or `fox.png.json` where that name is somebody else's: also of `fox.jpg`.
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
use crate::job::Format;

/// The extension of all of them.
const EXTENSION: &str = "json";

/// Where the sidecar of `picture` may stand, the usual place first.
pub fn places(picture: &Path) -> [PathBuf; 2] {
    [picture.with_extension(EXTENSION), picture.with_added_extension(EXTENSION)]
}

/// The pictures whose sidecar may be called as `path` is; none where it is not called as one.
pub fn pictures_beside(path: &Path) -> Vec<PathBuf> {
    if path.extension().is_none_or(|extension| extension != EXTENSION) {
        return Vec::new();
    }
    let formats = [Format::Png, Format::Jpeg, Format::Webp].into_iter();
    let usual = formats.map(|format| path.with_extension(format.extension()));
    usual.chain([path.with_extension("")]).collect()
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
/// where all its names are somebody else's: nothing is replaced but what this database has left of a
/// picture that is gone.
///
/// Its name lasts only after a sync of its folder, which the picture's own name needs as well.
pub fn publish(temp: &Path, owner: &Owner, final_path: &Path) -> io::Result<bool> {
    let no_picture = || io::Error::new(io::ErrorKind::InvalidData, "it says nothing of itself");
    let metadata = read_metadata(temp)?.ok_or_else(no_picture)?;
    let part = part_path(temp);
    let named = files::write_synced(&part, &serde_json::to_vec_pretty(&metadata)?)
        .and_then(|_| name_first(&part, final_path, owner));
    if !matches!(named, Ok(Named::Now)) {
        // What cannot be removed goes at the next start.
        let _ = fs::remove_file(&part);
    }
    Ok(named? != Named::Taken)
}

/// What became of the name of a sidecar.
#[derive(PartialEq, Eq)]
enum Named {
    Now,
    /// By an earlier try of the same attempt.
    Before,
    /// All are.
    Taken,
}

/// Gives the sidecar the first of its names that is free.
fn name_first(part: &Path, picture: &Path, owner: &Owner) -> io::Result<Named> {
    for place in places(picture) {
        remove_left(&place, &owner.database)?;
        match name(part, &place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            named => return named.map(|()| Named::Now),
        }
        if owner_of(&place)?.as_ref() == Some(owner) {
            return Ok(Named::Before);
        }
    }
    Ok(Named::Taken)
}

/// Removes a sidecar of this database beside which there is no picture any more.
fn remove_left(place: &Path, database: &str) -> io::Result<()> {
    let is_there = |picture: &PathBuf| picture.symlink_metadata().is_ok();
    let is_left = !pictures_beside(place).iter().any(is_there);
    match owner_of(place)? {
        Some(owner) if is_left && owner.database == database => fs::remove_file(place),
        _ => Ok(()),
    }
}

/// Removes the sidecar of the picture at `picture` where it is this attempt's.
pub fn remove(picture: &Path, owner: &Owner) -> io::Result<()> {
    for place in places(picture) {
        if owner_of(&place)?.as_ref() == Some(owner) {
            fs::remove_file(place)?;
        }
    }
    Ok(())
}

/// The attempt whose sidecar stands at `place`, if one does.
fn owner_of(place: &Path) -> io::Result<Option<Owner>> {
    match read_file(place) {
        Ok(metadata) => Ok(metadata.map(|metadata| metadata.queue.owner)),
        // It says nothing of the file.
        Err(error) if files::may_pass(&error) => Err(error),
        Err(_) => Ok(None),
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
