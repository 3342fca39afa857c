//! Pictures as files: encoded with their metadata, written to a temporary name, fsynced, renamed
//! into place.

pub mod encode;
mod exif;
mod known;
mod lora_text;
pub mod metadata;
mod read;
mod settings;
pub mod sidecar;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::known::{KnownPictures, PictureFile};
pub use self::read::{inspect, metadata_of};
pub use self::settings::{
    FoundSettings, PictureFacts, PictureMaker, facts_in, format_of, settings_in,
};
use crate::files;

/// How much of a picture is hashed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Which attempt a file belongs to, on a machine where several daemons may share an output folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The database's own id.
    pub database: String,
    pub attempt_id: i64,
}

/// The temporary file of an attempt, in the output folder.
pub fn temp_path(outputs: &Path, owner: &Owner) -> PathBuf {
    outputs.join(format!("{}{}.part", temp_prefix(&owner.database), owner.attempt_id))
}

/// Whether `path`, of a row, leads to nothing outside of the output folder: rows can be edited by
/// hand.
pub fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Opens the picture at `path` below the output folder. A link on the way, to wherever, is not
/// followed.
pub fn open(outputs: &Path, path: &str) -> io::Result<File> {
    let folder = files::open_folder(outputs)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    files::plain(File::from(rustix::fs::openat2(&folder, path, flags, Mode::empty(), inside)?))
}

/// How all temporary files of a database begin.
fn temp_prefix(database: &str) -> String {
    format!(".zimaged-{database}-")
}

/// Makes the output folder where it is missing (not the folders above: a disk that is not there
/// must not be filled in its place) and sees whether files can be made in it. Costs no write. Whether
/// it was made.
pub fn make_ready(outputs: &Path) -> io::Result<bool> {
    let opened = match files::open_folder(outputs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::create_dir(outputs).and_then(|()| files::open_folder(outputs));
            made.map(|folder| (folder, true))
        }
        opened => opened.map(|folder| (folder, false)),
    };
    opened
        .and_then(|(folder, is_new)| files::may_write(&folder).map(|()| is_new))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", outputs.display())))
}

/// Checks size and hash of the temporary file, then gives it its final name without replacing
/// anything, and fsyncs the folders. `final_path` lies in the temporary file's folder, or in
/// folders below, which are made where missing.
///
/// `AlreadyExists` when the name is taken, `InvalidData` when the file is not the one described.
/// What the system says of the output folder itself keeps its code; what is wrong with a folder
/// below, which only this name asks for, has none. After an error the picture has its temporary
/// name, unless the disk fails so badly that it could not be given back.
pub fn publish(temp: &Path, bytes: u64, sha256: &str, final_path: &Path) -> io::Result<()> {
    check(temp, bytes, sha256)?;
    let (root, temp_name) = folder_and_name(temp)?;
    let (folder, name) = folder_and_name(final_path)?;
    let below = folder.strip_prefix(root).map_err(|_| outside(final_path, root))?;
    let root = files::open_folder(root)?;
    let folder = open_below(&root, below).map_err(|error| of_subfolder(below, error))?;
    files::rename_new(&root, temp_name, &folder, name)
        .map_err(|error| of_subfolder(below, error))?;
    // The old name must not come back either; for a picture in the root this is the same folder.
    let synced = match below.as_os_str().is_empty() {
        true => files::sync(&root),
        false => files::sync(&folder).and_then(|()| files::sync(&root)),
    };
    if synced.is_err() {
        // It may be gone after a power cut, so it is not done; the error to tell is the first one.
        let _ = files::rename_new(&folder, name, &root, temp_name);
    }
    synced
}

/// Another name for a picture whose own, `name`, is taken in the folder `outputs`: with the least
/// number that is free.
pub fn free_name(outputs: &Path, name: &str) -> io::Result<String> {
    let path = outputs.join(name);
    let (folder, file_name) = folder_and_name(&path)?;
    let number = files::free_number(folder, &file_name.to_string_lossy())?;
    Ok(files::numbered(name, Some(number)))
}

/// What is wrong with a folder below the outputs loses its code: only the pictures that are to go
/// there fail. All else, a full disk or a limit of the system, is everybody's.
fn of_subfolder(below: &Path, error: io::Error) -> io::Error {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let of_folder =
        [NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, InvalidFilename];
    match error.kind() {
        kind if !below.as_os_str().is_empty() && of_folder.contains(&kind) => {
            io::Error::new(kind, format!("{}: {error}", below.display()))
        }
        _ => error,
    }
}

fn check(temp: &Path, bytes: u64, sha256: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(temp)?;
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

/// Size and SHA-256 (lower-case hex) of what is still to be read of the file.
pub fn measure(file: &mut File) -> io::Result<(u64, String)> {
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
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} names no file", path.display()),
        )),
    }
}

/// Folder by folder, so that no link on the way can lead out of `root`.
fn open_below(root: &OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    for component in below.components() {
        let Component::Normal(name) = component else {
            return Err(outside(below, Path::new("the output folder")));
        };
        folder = files::open_subfolder(&folder, Path::new(name))?;
    }
    Ok(folder)
}

fn outside(path: &Path, root: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} does not lie in {}", path.display(), root.display()),
    )
}

/// Removes what earlier starts on this database left behind; how many files that were.
pub fn remove_temporaries(outputs: &Path, database: &str) -> io::Result<u32> {
    let prefix = temp_prefix(database);
    let mut removed = 0;
    for entry in fs::read_dir(outputs)? {
        let entry = entry?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes());
        if ours && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
