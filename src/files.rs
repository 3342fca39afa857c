//! Steps on files that intake and output share: folders by descriptor, moves that replace nothing, hashes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use sha2::{Digest, Sha256};

/// How our folders are opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the folder at `path`; links on the way are the user's choice and followed.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?)
}

/// Opens the folder `name` inside `parent`, and makes it first where it is missing. A link there is refused: it would
/// lead elsewhere.
pub fn open_subfolder(parent: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from(0o777)) {
        Ok(()) => sync(parent)?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
            let message = format!("{} is a link or a file where zimaged needs a folder", name.display());
            io::Error::new(io::ErrorKind::NotADirectory, message)
        }
        other => other.into(),
    })
}

/// Moves a file without replacing anything: `AlreadyExists` when the new name is taken. Lasts through a power cut
/// only after [`sync`] of both folders.
pub fn rename_new(from: &OwnedFd, name: &Path, to: &OwnedFd, new_name: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE)?)
}

/// Makes the folder's entries last. Never repeat a failed one on the same descriptor: a second could succeed with the
/// data gone.
pub fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}

/// The finished hash in lower-case hex.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
