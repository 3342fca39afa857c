//! One dropped file: opened without following, blocking or trusting anything, read once, checked.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::look::Fingerprint;
use crate::config::Lists;
use crate::engine::model_hash;
use crate::files;
use crate::inputs::{InputLimits, InputUse, JobText};
use crate::job::origin::{DropId, FileId, SourceFile};
use crate::job::spec::{Rules, parse_bytes};
use crate::loras::{self, LoraFolder};
use crate::named_files::NamedFiles;
use crate::problem::{Report, utf8};
use crate::store::NewJob;

/// What a dropped file turned out to be.
pub enum Dropped {
    Job(NewJob),
    Unfit(Unfit),
    /// It has to wait for this reason: others are taken in meanwhile.
    Waits(String),
    /// It is not the file that the scan saw: the next scan looks at it.
    Changed,
}

/// A file that holds no job, and is to be set aside.
pub struct Unfit {
    pub file: SourceFile,
    /// For the user: every mistake, with its place.
    pub report: String,
}

/// What the scan may know of a file without opening it; `None` when it is gone.
pub fn stat(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file is a folder.
pub fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Those parts of a file's metadata that change when the file does.
pub fn fingerprint(stat: &Stat) -> Fingerprint {
    Fingerprint {
        inode: stat.st_ino,
        bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn nanoseconds(seconds: i64, part: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(part.try_into().unwrap_or_default())
}

/// What is to be read: the file that `name` is called in its folder, as the scan has `seen` it.
pub struct Found<'a> {
    pub folder: &'a OwnedFd,
    pub name: &'a OsStr,
    pub seen: Fingerprint,
    /// What it is to be known as.
    pub id: DropId,
    /// What people call it.
    pub shown: String,
    pub places: &'a DropFolders,
}

impl Found<'_> {
    /// What becomes of a file that is not to be read, because that kills the daemon.
    pub fn deadly(self) -> Dropped {
        let file = SourceFile { name: self.shown, id: self.id, sha256: String::new() };
        let reason = "zimaged died each time it read this file; please report this as a bug";
        Dropped::Unfit(unread(file, reason))
    }
}

/// Folders by their paths.
#[derive(Clone, Debug)]
pub struct DropFolders {
    /// That of the job files, in which the paths in them begin.
    pub jobs: PathBuf,
    /// Where pictures as input are kept.
    pub inputs: PathBuf,
    pub loras: LoraFolder,
}

/// Reads the file, and checks it by `rules`; `now_ms` is the time of day, `lists` are those that
/// jobs may name. An error is the daemon's own trouble (no descriptors, no memory), not the file's.
pub fn read(found: Found, rules: &Rules, lists: &Lists, now_ms: i64) -> io::Result<Dropped> {
    let Found { folder, name, seen, id, shown, places } = found;
    let Some(now) = stat(folder, name)? else { return Ok(Dropped::Changed) };
    if fingerprint(&now) != seen {
        return Ok(Dropped::Changed);
    }
    let mut file = SourceFile { name: shown, id, sha256: String::new() };
    if let Err(reason) = inspect(&now, rules) {
        return Ok(Dropped::Unfit(unread(file, &reason)));
    }
    match content(folder, name, seen) {
        Ok(Some(content)) => {
            file.sha256 = files::sha256(&content);
            check(file, &content, places, rules, lists.clone(), now_ms)
        }
        Ok(None) => Ok(Dropped::Changed),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Err(Errno::MFILE.into()),
        Err(error) => {
            let reason = format!("cannot be read: {}", io::Error::from(error));
            Ok(Dropped::Unfit(unread(file, &reason)))
        }
    }
}

/// What can be wrong with a file before it is opened.
fn inspect(stat: &Stat, rules: &Rules) -> Result<(), String> {
    let bytes_max = rules.limits.file_bytes_max;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err("it is a link; copy the file itself here".to_owned()),
        FileType::RegularFile if stat.st_nlink > 1 => {
            Err("it has a second name elsewhere (a hard link); copy the file here".to_owned())
        }
        FileType::RegularFile if fingerprint(stat).bytes > bytes_max => {
            Err(format!("it has {} bytes; at most {bytes_max} are read", stat.st_size))
        }
        FileType::RegularFile => Ok(()),
        _ => Err("it is not a file".to_owned()),
    }
}

/// The whole content, all from one descriptor and of one state of the file; `None` when it is in
/// another one.
fn content(folder: &OwnedFd, name: &OsStr, seen: Fingerprint) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        // Gone, or a link by now.
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        opened => opened?,
    };
    let unchanged = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| fingerprint(&stat) == seen);
    if !unchanged(&fd)? {
        return Ok(None);
    }
    let mut file = File::from(fd);
    let content = files::read_start(&mut file, seen.bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let whole = content.len() as u64 == seen.bytes && unchanged(&file.into())?;
    Ok(whole.then_some(content))
}

fn check(
    file: SourceFile,
    content: &[u8],
    places: &DropFolders,
    rules: &Rules,
    mut lists: Lists,
    now_ms: i64,
) -> io::Result<Dropped> {
    // A parser that panics must not stop the files after this one.
    let parsed = catch_unwind(AssertUnwindSafe(|| parse_bytes(content, rules, now_ms, &mut lists)));
    let text = utf8(content).unwrap_or_default();
    let Ok(mut job) = parsed else {
        let reason = "reading it makes zimaged fail; please report this as a bug";
        return Ok(Dropped::Unfit(unread(file, reason)));
    };
    if let Some(path) = job.as_ref().ok().and_then(|job| loras::unhashed(job, &places.loras)) {
        return Ok(Dropped::Waits(format!("{} is read for its hash", path.display())));
    }
    let files = NamedFiles {
        text: JobText { text, folder: Some(&places.jobs) },
        limits: InputLimits::from(&rules.limits),
        pictures: InputUse::Keep(&places.inputs),
    };
    let taken = files.take_in(job.as_mut().map_err(mem::take), || Ok(places.loras.clone()))?;
    if !model_hash::may_read() {
        // The daemon ends, and what could not be read says nothing of the file.
        return Ok(Dropped::Changed);
    }
    Ok(match taken.and(job) {
        Ok(job) => Dropped::Job(NewJob::of_drop(job, file, text.to_owned())),
        Err(problems) => {
            let report = Report { name: &file.name, content, problems: &problems }.to_string();
            Dropped::Unfit(Unfit { file, report })
        }
    })
}

/// A seed for a render that leaves it open. Below 2^32: other programs for such pictures take no
/// larger ones.
pub fn random_seed() -> u64 {
    getrandom::u32().map(u64::from).expect("the kernel gives random numbers once it has started")
}

/// The identity of a drop that has none yet.
pub fn new_id() -> DropId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random numbers once it has started");
    DropId(u128::from_ne_bytes(bytes))
}

/// A file that is set aside for a `reason` that does not come from its content.
fn unread(file: SourceFile, reason: &str) -> Unfit {
    let report = format!("{}: {reason}\n", file.name);
    Unfit { file, report }
}

/// What an earlier version of the program knew a file by.
pub fn file_id(stat: &Stat) -> FileId {
    let Fingerprint { inode, mtime_ns, .. } = fingerprint(stat);
    FileId { device: stat.st_dev, inode, mtime_ns }
}
