//! Pictures as files: encoded with their metadata, written to a temporary name, fsynced, renamed into place.

pub mod encode;
mod exif;
pub mod metadata;
mod read;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

pub use self::read::{Picture, inspect, json_of};
use crate::files;

/// Temporary files begin with this, so that the next start can remove them.
pub const TEMP_PREFIX: &str = ".zimaged-";

/// How much of a picture is hashed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The temporary file of an attempt, in the output folder.
pub fn temp_path(outputs: &Path, attempt_id: i64) -> PathBuf {
    outputs.join(format!("{TEMP_PREFIX}{attempt_id}.part"))
}

/// Checks size and hash of the temporary file, then gives it its final name without replacing anything, and fsyncs
/// the folders. `final_path` lies in the temporary file's folder, or in folders below, which are made where missing.
///
/// `AlreadyExists` when the name is taken, `InvalidData` when the file is not the one described. After any other
/// error the picture may or may not have its final name: see [`inspect`].
pub fn publish(temp: &Path, bytes: u64, sha256: &str, final_path: &Path) -> io::Result<()> {
    check(temp, bytes, sha256)?;
    let (root, temp_name) = folder_and_name(temp)?;
    let (folder, name) = folder_and_name(final_path)?;
    let below = folder.strip_prefix(root).map_err(|_| outside(final_path, root))?;
    let root = files::open_folder(root)?;
    let folder = open_below(&root, below)?;
    files::rename_new(&root, temp_name, &folder, name)?;
    files::sync(&folder)?;
    // The old name must not come back either; for a picture in the root this is the same folder.
    if below.as_os_str().is_empty() { Ok(()) } else { files::sync(&root) }
}

fn check(temp: &Path, bytes: u64, sha256: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(temp)?;
    let (found_bytes, found_sha256) = measure(&mut file)?;
    if (found_bytes, found_sha256.as_str()) == (bytes, sha256) {
        return Ok(());
    }
    let message = format!(
        "{} has {found_bytes} bytes and SHA-256 {found_sha256} where the worker wrote {bytes} bytes and {sha256}",
        temp.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

fn measure(file: &mut File) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, files::hex(hash))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        hash.update(&chunk[..read]);
        bytes += read as u64;
    }
}

fn folder_and_name(path: &Path) -> io::Result<(&Path, &Path)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, Path::new(name))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()))),
    }
}

/// Folder by folder, so that no link on the way can lead out of `root`.
fn open_below(root: &OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    for component in below.components() {
        let Component::Normal(name) = component else { return Err(outside(below, Path::new("the output folder"))) };
        folder = files::open_subfolder(&folder, Path::new(name))?;
    }
    Ok(folder)
}

fn outside(path: &Path, root: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not lie in {}", path.display(), root.display()))
}

/// Removes what earlier starts left behind; how many files that were.
pub fn remove_temporaries(outputs: &Path) -> io::Result<u32> {
    let mut removed = 0;
    for entry in fs::read_dir(outputs)? {
        let entry = entry?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes());
        if ours && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
