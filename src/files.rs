//! Steps on files that several modules share: whole files or none, folders by descriptor, moves
//! that replace nothing, names that are free, hashes.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// So many files that would have the same name are kept apart by numbers tried one after the other;
/// pictures go on by [`free_number`].
const SAME_NAME_MAX: u32 = 10_000;

/// How our folders are opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the folder at `path`; links on the way are the user's choice and followed.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?)
}

/// What the disk of a folder has left for this user.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Opens the folder `name` inside `parent`, and makes it first where it is missing. A link there is
/// refused: it would lead elsewhere.
pub fn open_subfolder(parent: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from(0o777)) {
        Ok(()) => sync(parent)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
        match error {
            Errno::NOTDIR | Errno::LOOP => {
                let message =
                    format!("{} is a link or a file where zimaged needs a folder", name.display());
                io::Error::new(io::ErrorKind::NotADirectory, message)
            }
            other => other.into(),
        }
    })
}

/// Whether files can be made in the folder, as the system would answer this process: a read-only
/// filesystem counts.
pub fn may_write(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Moves a file without replacing anything: `AlreadyExists` when the new name is taken. Lasts
/// through a power cut only after [`sync`] of both folders.
pub fn rename_new(from: impl AsFd, name: &Path, to: impl AsFd, new_name: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE) {
        // NFS, 9p and some FUSE filesystems have no such rename, but a link never replaces anything
        // either. A death in between leaves two names of one file, of which the old one is dealt
        // with by the next start.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(&from, name, &to, new_name, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(&from, name, AtFlags::empty())?)
        }
        moved => Ok(moved?),
    }
}

/// What is put to a name that may be taken, in the order in which it is tried: nothing, then 2, 3
/// and so on.
pub fn numbers() -> impl Iterator<Item = Option<u32>> {
    std::iter::once(None).chain((2..=SAME_NAME_MAX).map(Some))
}

/// The path itself, or with the number in front of its extension: `dir/fox.png`, `dir/fox-2.png`.
pub fn numbered(path: &str, number: Option<u32>) -> String {
    match (number, path.rsplit_once('.')) {
        (None, _) => path.to_owned(),
        (Some(number), Some((stem, extension))) => format!("{stem}-{number}.{extension}"),
        (Some(number), None) => format!("{path}-{number}"),
    }
}

/// The least number from 2 that makes a free name of `name` in `folder`. One look at the folder,
/// however many are taken; somebody else may be quicker.
pub fn free_number(folder: &Path, name: &str) -> io::Result<u32> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let mut taken = HashSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|entry| {
            let rest = entry.strip_prefix(stem)?.strip_prefix('-')?;
            rest.strip_suffix(extension)?.trim_end_matches('.').parse::<u32>().ok()
        });
        taken.extend(number);
    }
    Ok((2..u32::MAX).find(|number| !taken.contains(number)).unwrap_or(u32::MAX))
}

/// Calls `attempt` with each of [`numbers`] while it answers `AlreadyExists`.
pub fn first_free<T>(mut attempt: impl FnMut(Option<u32>) -> io::Result<T>) -> io::Result<T> {
    for number in numbers() {
        match attempt(number) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            answer => return answer,
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "all numbered names are taken"))
}

/// The home folder of whoever runs this process, where the environment names one.
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// A path that begins with `~/`, below the home folder; `None` for any other path.
pub fn under_home(path: &str) -> Option<PathBuf> {
    Some(home()?.join(path.strip_prefix("~/")?))
}

/// The beginning of what `reader` gives: one byte more than `bytes_max` tells that there is more.
/// However much that is, no more is read.
pub fn read_start(reader: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}

/// Opens the file at `path`, which must be one: a pipe, a device or a folder is an error, and
/// nobody is waited for.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    plain(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// As [`open_plain`], for writing, with the `more` flags; made where there is none.
pub fn open_plain_to_write(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags | OFlags::CLOEXEC | more;
    plain(File::from(rustix::fs::openat(CWD, path, flags, Mode::from(0o666))?))
}

/// An open file, where it is one: a pipe, a device or a folder is an error.
pub fn plain(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    let refuse = |kind, what| Err(io::Error::new(kind, what));
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(file),
        (_, true) => refuse(io::ErrorKind::IsADirectory, "it is a folder, not a file"),
        _ => refuse(io::ErrorKind::InvalidInput, "it is a device or a pipe, not a file"),
    }
}

/// The whole file at `path`, if it has at most `bytes_max` bytes. As [`open_plain`], it waits for
/// nobody.
pub fn read_whole(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let content = read_start(open_plain(path)?, bytes_max)?;
    match content.len() as u64 > bytes_max {
        false => Ok(content),
        true => {
            let message = format!("the file has more than {bytes_max} bytes");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
        }
    }
}

/// The beginning of the file at `path`, as [`read_start`] gives it, whatever lies there: a pipe, a
/// device or a folder is an error and nothing is waited for. So are files that the system makes up,
/// as in `/proc`: they say that they are empty.
pub fn read_plain(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open_plain(path)?;
    let mut content = Vec::new();
    let bytes = file.metadata()?.len().min(bytes_max.saturating_add(1));
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}

/// Puts a file with `bytes` at `path`, in place of the one that may be there. Whoever reads it
/// finds the old one or the new one, whole, also after a power cut.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |temporary| write_synced(temporary, bytes).map(drop))
}

/// As [`write_atomic`], but `AlreadyExists` where there is a file at `path`.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_added_extension("part");
    let written = write_synced(&temporary, bytes)
        .and_then(|_| rename_new(CWD, &temporary, CWD, path))
        .and_then(|()| sync(&open_folder(path.parent().unwrap_or(path))?));
    if written.is_err() {
        // What cannot be removed is overwritten the next time.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A file under its name that a power cut may still take, or leave without its content.
#[derive(Debug)]
pub struct Unsynced {
    file: File,
    folder: OwnedFd,
}

impl Unsynced {
    /// Writes it through to the disk.
    pub fn sync(self) -> io::Result<()> {
        self.file.sync_all()?;
        sync(&self.folder)
    }
}

/// As [`write_atomic`], but for power cuts: those it outlasts after [`Unsynced::sync`].
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<Unsynced> {
    let temporary = path.with_added_extension("part");
    let put = create_afresh(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        fs::rename(&temporary, path)?;
        Ok(Unsynced { file, folder: open_folder(path.parent().unwrap_or(path))? })
    });
    if put.is_err() {
        // What cannot be removed is overwritten the next time.
        let _ = fs::remove_file(&temporary);
    }
    put
}

/// Removes the oldest files in `folder` until the rest has no more than `bytes_max`. A file that
/// cannot be removed does no harm but takes room.
pub fn remove_oldest(folder: &Path, bytes_max: u64) {
    let file = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort_unstable();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= bytes_max {
            return;
        }
        let _ = fs::remove_file(path);
        total -= bytes;
    }
}

/// As [`write_atomic`], with a file that `write` makes and fsyncs at the temporary path it is
/// given, which is `path` with `.part` behind it.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    replace_by(&path.with_added_extension("part"), path, write)
}

/// As [`write_atomic`], where others may write the same at this moment: each of them has a
/// temporary file of its own.
pub fn write_among_others(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_added_extension(format!("{}-{number}.part", process::id()));
    replace_by(&temporary, path, |temporary| write_synced(temporary, bytes).map(drop))
}

fn replace_by<E: From<io::Error>>(
    temporary: &Path,
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let written = write(temporary).and_then(|()| {
        fs::rename(temporary, path)?;
        let folder = path.parent().unwrap_or(path);
        Ok(sync(&open_folder(folder)?)?)
    });
    if written.is_err() {
        // What cannot be removed is overwritten the next time, or removed with what is old.
        let _ = fs::remove_file(temporary);
    }
    written
}

/// A new file at `path`, in place of what may be there by that name: a file of an earlier process,
/// or a link or a pipe that somebody else has put into the folder, which is not written into.
pub fn create_afresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(path),
    }
}

/// Writes `bytes` through to the disk, into a new file at `path`, as [`create_afresh`] makes it.
/// Its name lasts only after [`sync`] of its folder.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = create_afresh(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Whether the very same step may succeed later, because the place was at fault and not the step: a
/// disk that is full or fails, too few descriptors, threads or memory.
pub fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull, WouldBlock};
    const CODES: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::FBIG];
    matches!(error.kind(), OutOfMemory | QuotaExceeded | StorageFull | WouldBlock)
        || Errno::from_io_error(error).is_some_and(|code| CODES.contains(&code))
}

/// Makes the folder's entries last. Never repeat a failed one on the same descriptor: a second
/// could succeed with the data gone. A filesystem that cannot be asked for it for folders does what
/// it does.
pub fn sync(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        synced => Ok(synced?),
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The finished hash in lower-case hex.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
