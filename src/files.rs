//! Steps on files that intake and output share: folders by descriptor, moves that replace nothing,
//! hashes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// How our folders are opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the folder at `path`; links on the way are the user's choice and followed.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?)
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

/// Makes the folder's entries last. Never repeat a failed one on the same descriptor: a second
/// could succeed with the data gone.
pub fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The finished hash in lower-case hex.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// From here on this thread's filesystems know no exclusive rename, as NFS and 9p do not.
    fn without_exclusive_rename() {
        let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
        let jump_unless =
            |value, skipped| libc::sock_filter { code: 0x15, jt: 0, jf: skipped, k: value };
        let answer = |verdict| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: verdict };
        let mut program = [
            load(0), // the system call's number
            jump_unless(libc::SYS_renameat2 as u32, 1),
            answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
            answer(libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the filter and its program live through the call, which copies them.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    fn moves_and_replaces_nothing() {
        let path = tempfile::tempdir().expect("a temporary folder");
        let folder = open_folder(path.path()).expect("the folder");
        let write =
            |name: &str| fs::write(path.path().join(name), name).expect("a writable folder");
        let read = |name: &str| fs::read_to_string(path.path().join(name)).ok();
        write("new");
        rename_new(&folder, "new".as_ref(), &folder, "final".as_ref()).expect("the name is free");
        assert_eq!((read("new"), read("final").as_deref()), (None, Some("new")));
        write("second");
        let error = rename_new(&folder, "second".as_ref(), &folder, "final".as_ref())
            .expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (read("second").as_deref(), read("final").as_deref()),
            (Some("second"), Some("new"))
        );
    }

    #[test]
    fn a_move_replaces_nothing() {
        moves_and_replaces_nothing();
    }

    #[test]
    fn a_move_replaces_nothing_where_the_filesystem_knows_no_exclusive_rename() {
        // The filter holds for its thread only.
        let thread = std::thread::spawn(|| {
            without_exclusive_rename();
            moves_and_replaces_nothing();
        });
        thread.join().expect("no panic");
    }
}
