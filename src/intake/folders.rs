//! `jobs/` with `accepted/` and `rejected/` inside, and the moves between them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use tracing::warn;

use super::drop;
use super::name::{ERROR_SUFFIX, prefixed};
use super::watch::FolderId;
use crate::access;
use crate::files;

/// The three folders, open. Opened anew for each scan, so that whatever was put in their place is
/// seen.
pub struct Folders {
    pub jobs: OwnedFd,
    accepted: OwnedFd,
    rejected: OwnedFd,
}

/// Whether everybody on the machine may drop jobs into the folder; not where there is none.
pub fn is_open_to_all(jobs: &Path) -> bool {
    let writes = |stat: rustix::fs::Stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH);
    rustix::fs::stat(jobs).is_ok_and(writes)
}

impl Folders {
    /// Opens the folders, and makes those that are missing.
    pub fn open(path: &Path) -> io::Result<Folders> {
        let told = |error: io::Error| {
            let why = access::told(path, &error);
            io::Error::new(error.kind(), format!("{}: {why}", path.display()))
        };
        std::fs::create_dir_all(path).map_err(told)?;
        let jobs = files::open_folder(path).map_err(told)?;
        let accepted = files::open_subfolder(&jobs, Path::new("accepted")).map_err(told)?;
        let rejected = files::open_subfolder(&jobs, Path::new("rejected")).map_err(told)?;
        Ok(Folders { jobs, accepted, rejected })
    }

    /// Tells this `jobs/` from another one under the same path.
    pub fn id(&self) -> io::Result<FolderId> {
        let stat = rustix::fs::fstat(&self.jobs)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Gives the file a name that has its identity. The name is new, so that nothing is replaced;
    /// it lasts through a power cut after [`Folders::sync_jobs`].
    pub fn claim(&self, name: &OsStr, taken: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.jobs, name, &self.jobs, taken)?)
    }

    /// Moves a job file that was taken in to `accepted/ID-NAME`, with an id of six digits or more:
    /// so names sort as their jobs do.
    pub fn accept(&self, taken: &OsStr, name: &str, job_id: i64) -> io::Result<()> {
        files::first_free(|number| {
            let new_name = prefixed(&format!("{job_id:06}-{}", in_front(number)), name);
            self.move_to(taken, &self.accepted, &new_name)
        })
    }

    /// Moves a file to `rejected/NAME`, with the `report` beside it; the name that it has there.
    pub fn reject(&self, taken: &OsStr, name: &str, report: &str) -> io::Result<String> {
        files::first_free(|number| {
            let new_name = prefixed(&in_front(number), name);
            let error_name = format!("{new_name}{ERROR_SUFFIX}");
            self.write_report(&error_name, report)?;
            let moved = self.move_to(taken, &self.rejected, &new_name);
            if moved.is_err() {
                // The error to tell is the move's.
                let _ = rustix::fs::unlinkat(&self.rejected, &error_name, AtFlags::empty());
            }
            moved.map(|()| new_name)
        })
    }

    /// A move by two links, on filesystems that know no better, may have been cut short between
    /// them: the file has its new name already, and only the old one is left.
    fn move_to(&self, taken: &OsStr, folder: &OwnedFd, new_name: &str) -> io::Result<()> {
        let moved = files::rename_new(&self.jobs, taken.as_ref(), folder, new_name.as_ref());
        match moved {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let inode = |folder, name| {
                    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    Ok::<_, io::Error>((stat.st_dev, stat.st_ino))
                };
                match inode(&self.jobs, taken)? == inode(folder, new_name.as_ref())? {
                    true => Ok(rustix::fs::unlinkat(&self.jobs, taken, AtFlags::empty())?),
                    false => Err(error),
                }
            }
            moved => moved,
        }
    }

    /// A report that cannot be written is only logged, because the database has it as well: a full
    /// disk must not keep the file in `jobs/`.
    fn write_report(&self, name: &str, report: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.rejected, name, flags, Mode::from(0o666));
        let opened = match opened {
            Err(Errno::EXIST) => {
                Ok(self.begun_report(name, report).ok_or(io::ErrorKind::AlreadyExists)?)
            }
            opened => opened.map(File::from).map_err(io::Error::from),
        };
        if let Err(error) = opened.and_then(|mut file| file.write_all(report.as_bytes())) {
            warn!("cannot write rejected/{name}: {error}");
        }
        Ok(())
    }

    /// The file of this name, to be written anew, if a death came before its job file was moved
    /// beside it: then there is none, and it holds a beginning of the report. Where others may
    /// write into the folder, a name in it may be that of anybody's file.
    fn begun_report(&self, name: &str, report: &str) -> Option<File> {
        let job_file = name.strip_suffix(ERROR_SUFFIX)?;
        if drop::stat(&self.rejected, job_file.as_ref()).ok()?.is_some() {
            return None;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.rejected, name, flags, Mode::empty());
        let mut file = File::from(opened.ok()?);
        let metadata = file.metadata().ok()?;
        let is_ours = metadata.nlink() == 1 && metadata.uid() == geteuid().as_raw();
        if !metadata.is_file() || !is_ours {
            return None;
        }
        let begun = files::read_start(&mut file, report.len() as u64).ok()?;
        file.rewind().ok()?;
        report.as_bytes().starts_with(&begun).then_some(file)
    }

    /// Makes all claims since the last call last through a power cut.
    pub fn sync_jobs(&self) -> io::Result<()> {
        files::sync(&self.jobs)
    }

    /// Makes all moves since the last call last through a power cut.
    pub fn sync(&self) -> io::Result<()> {
        [&self.accepted, &self.rejected, &self.jobs].into_iter().try_for_each(files::sync)
    }
}

/// The number as it stands in front of a name, whose end is kept where it is long.
fn in_front(number: Option<u32>) -> String {
    number.map(|number| format!("{number}-")).unwrap_or_default()
}
