//! Pictures that renders begin with, and their masks: read within limits when a job is taken in,
//! kept under the hash of their content until no render can need them, decoded where they are used.

mod picture;
mod resize;
mod take;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

pub use self::picture::{input_picture, inspect, is_picture};
pub use self::take::{InputUse, JobText, keep_named, look, take_in};
use crate::files;

/// A file that nobody needs is removed when it has not been asked for this long: the job that it
/// belongs to may be taken in just now.
const UNNEEDED: Duration = Duration::from_secs(3600);

/// No larger one was ever kept: `limits.input_bytes_max` may say no more.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// So much of the disk is left to what is made of them, and to the database.
const ROOM_LEFT_BYTES: u64 = 256 << 20;

/// Why a file is no picture to begin with. For people, who are told file and key beside it.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("there is no such file")]
    Absent,
    #[error("it is a {0}, not a file")]
    Kind(&'static str),
    #[error("it has {bytes} bytes; at most {bytes_max} are read (limits.input_bytes_max)")]
    Large { bytes: u64, bytes_max: u64 },
    #[error(
        "it has {width}x{height} pixels; at most {pixels_max} in all are read (limits.input_pixels_max)"
    )]
    Wide { width: u32, height: u32, pixels_max: u64 },
    #[error("it is no PNG, JPEG or WebP picture")]
    Format,
    #[error("it cannot be decoded: {0}")]
    Broken(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// How much of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLimits {
    pub bytes_max: u64,
    pub pixels_max: u64,
}

/// The content of the file at `path`, which must be one: nobody is waited for.
pub fn read(path: &Path, limits: InputLimits) -> Result<Vec<u8>, InputError> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => InputError::Absent,
        _ => InputError::Io(error),
    };
    // A pipe without a writer would be waited for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = file.map_err(absent)?;
    let facts = file.metadata()?;
    match facts.is_file() {
        true => {}
        false if facts.is_dir() => return Err(InputError::Kind("folder")),
        false => return Err(InputError::Kind("device or a pipe")),
    }
    let content = files::read_start(&file, limits.bytes_max.saturating_add(1))?;
    if content.len() as u64 > limits.bytes_max {
        let bytes = facts.len().max(content.len() as u64);
        return Err(InputError::Large { bytes, bytes_max: limits.bytes_max });
    }
    Ok(content)
}

/// Keeps `content` in `folder`; answers the name that it has there, its hash. It is there also
/// after a power cut. `StorageFull` where the disk would have too little left.
pub fn keep(folder: &Path, content: &[u8]) -> io::Result<String> {
    let hash = files::sha256(content);
    let path = folder.join(&hash);
    if let Ok(kept) = File::open(&path)
        && kept.metadata()?.len() == content.len() as u64
    {
        kept.set_modified(SystemTime::now())?;
        return Ok(hash);
    }
    fs::create_dir_all(folder)?;
    see_room(files::free_bytes(folder)?, content.len() as u64)?;
    // Several clients may send the same picture at once.
    files::write_among_others(&path, content)?;
    Ok(hash)
}

fn see_room(free_bytes: u64, bytes: u64) -> io::Result<()> {
    match free_bytes.checked_sub(bytes) {
        Some(ROOM_LEFT_BYTES..) => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "the disk has {} MiB left, and a picture as input of {} MiB must leave {} MiB of \
                 that: make room, or wait until the pictures that are begun with others are made",
                free_bytes >> 20,
                bytes.div_ceil(1 << 20),
                ROOM_LEFT_BYTES >> 20
            ),
        )),
    }
}

/// What became of pictures that were to be brought elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroughtInputs {
    /// Those that are there now.
    pub there: u64,
    /// Those of which neither place has a whole copy.
    pub missing: u64,
}

/// Keeps what `from` has under `hashes` in `to`, too. What cannot be read, or is not what its name
/// says, is missing: one picture on a bad sector must not keep all others from their backup.
pub fn bring(hashes: &[String], from: &Path, to: &Path) -> io::Result<BroughtInputs> {
    let mut brought = BroughtInputs::default();
    for hash in hashes {
        match kept(&to.join(hash), hash).or_else(|| kept(&from.join(hash), hash)) {
            Some(content) => {
                keep(to, &content)?;
                brought.there += 1;
            }
            None => brought.missing += 1,
        }
    }
    Ok(brought)
}

/// The content of the file at `path`, where it has this hash.
fn kept(path: &Path, hash: &str) -> Option<Vec<u8>> {
    let limits = InputLimits { bytes_max: KEPT_BYTES_MAX, pixels_max: 0 };
    read(path, limits).ok().filter(|content| files::sha256(content) == hash)
}

/// The names of what is kept in `folder` and was not asked for lately, temporary files included.
pub fn old(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let is_old = |path: PathBuf| {
        let modified = path.symlink_metadata().and_then(|facts| facts.modified());
        modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNNEEDED))
    };
    let old = entries.flatten().filter(|entry| is_old(entry.path()));
    Ok(old.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const LIMITS: InputLimits = InputLimits { bytes_max: 100, pixels_max: 100 };

    fn refused(path: &Path) -> String {
        read(path, LIMITS).expect_err("nothing to read").to_string()
    }

    #[test]
    fn only_files_within_the_limit_are_read_and_nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("right"), [7; 100]).unwrap();
        assert_eq!(read(&path("right"), LIMITS).unwrap(), [7; 100]);
        fs::write(path("large"), [7; 101]).unwrap();
        assert!(refused(&path("large")).starts_with("it has 101 bytes; at most 100"));
        let endless = File::create(path("endless")).unwrap();
        endless.set_len(1 << 40).unwrap();
        assert!(refused(&path("endless")).starts_with("it has 1099511627776 bytes"));
        assert_eq!(refused(&path("none")), "there is no such file");
        assert_eq!(refused(folder.path()), "it is a folder, not a file");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        assert_eq!(refused(&path("pipe")), "it is a device or a pipe, not a file");
        assert_eq!(refused(Path::new("/dev/zero")), "it is a device or a pipe, not a file");
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert!(refused(&path("socket")).starts_with("it cannot be read: "));
    }

    #[test]
    fn pictures_as_input_leave_room_on_the_disk() {
        see_room(ROOM_LEFT_BYTES + 7, 7).expect("there is room");
        let told = see_room(ROOM_LEFT_BYTES + 6, 7).expect_err("a byte is missing");
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        assert!(told.to_string().starts_with("the disk has 256 MiB left, and a picture as input"));
        see_room(6, 7).expect_err("hardly any");
    }

    #[test]
    fn what_several_keep_at_once_is_kept_for_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let content = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| keep(folder.path(), &content).expect("it is kept"));
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_brought_elsewhere_is_whole_or_missing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        let [whole, damaged, there] =
            ["a fox", "an ox", "an elk"].map(|text| keep(&from, text.as_bytes()).unwrap());
        let gone = files::sha256("gone");
        fs::write(from.join(&damaged), "an ax").unwrap();
        fs::create_dir(&to).unwrap();
        fs::rename(from.join(&there), to.join(&there)).unwrap();
        let hashes = [whole.clone(), damaged, there, gone, "../from/".repeat(8)];
        let brought = bring(&hashes, &from, &to).unwrap();
        assert_eq!(brought, BroughtInputs { there: 2, missing: 3 });
        assert_eq!(fs::read(to.join(&whole)).unwrap(), b"a fox");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    }

    #[test]
    fn content_is_kept_once_and_is_old_when_nobody_asked_for_it_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("inputs");
        assert_eq!(old(&folder).unwrap(), Vec::<String>::new());
        let hash = keep(&folder, b"a fox").unwrap();
        assert_eq!(hash, files::sha256(b"a fox"));
        assert_eq!(fs::read(folder.join(&hash)).unwrap(), b"a fox");
        assert_eq!(old(&folder).unwrap(), Vec::<String>::new());
        let kept = File::open(folder.join(&hash)).unwrap();
        kept.set_modified(SystemTime::now() - 2 * UNNEEDED).unwrap();
        assert_eq!(old(&folder).unwrap(), std::slice::from_ref(&hash));
        assert_eq!(keep(&folder, b"a fox").unwrap(), hash);
        assert_eq!(old(&folder).unwrap(), Vec::<String>::new());
    }
}
