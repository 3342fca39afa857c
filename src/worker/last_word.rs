//! What the worker says last, in a file that a later daemon reads: how far it has come with its
//! attempt, or that it was well when its daemon was gone.
//!
//! The daemon may be killed together with its worker: by a person, a power cut, or a render that
//! takes both down. Then nobody is left to say how the attempt ended, and the file tells one from
//! the other. It is not fsynced: after a power cut it may say nothing, which is an answer, too.

use std::io;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::attempt::Reached;
use crate::files;

/// More than the steps of any render take.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The last line where the worker was well at its end, or at its attempt's.
const WELL: &str = "\"well\"\n";

/// The file's descriptor, which stays open as long as the process lives; -1 stands for none. A
/// signal handler needs it.
static FILE: AtomicI32 = AtomicI32::new(-1);

/// The attempt that was begun last.
static BEGUN: AtomicI64 = AtomicI64::new(0);

/// How far the worker has come with an attempt: a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    attempt_id: i64,
    reached: Reached,
}

/// What a worker that is gone has left of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// It outlived the attempt, or the daemon. Nothing of what happened was the render's doing.
    Well,
    /// It had come this far.
    At(Reached),
    /// Nobody can say.
    Unknown,
}

/// Opens the file in the worker. Without it renders go on as well.
pub fn open(path: &Path) -> io::Result<()> {
    let file = files::open_plain_to_write(path, OFlags::APPEND)?;
    file.set_len(0)?;
    FILE.store(file.into_raw_fd(), Ordering::Relaxed);
    Ok(())
}

/// The worker begins with an attempt. What was said of the one before it is forgotten.
pub fn begin(attempt_id: i64) {
    // SAFETY: the descriptor is ours for life, or -1, which is refused.
    unsafe { libc::ftruncate(FILE.load(Ordering::Relaxed), 0) };
    BEGUN.store(attempt_id, Ordering::Relaxed);
    tell(attempt_id, Reached::default());
}

/// The worker has come this far with it.
pub fn tell(attempt_id: i64, reached: Reached) {
    if let Ok(line) = serde_json::to_string(&Said { attempt_id, reached }) {
        write(&format!("{line}\n"));
    }
}

/// The attempt has ended and the worker is well, or it ends because its daemon is gone. May be
/// called in a signal handler.
pub fn well() {
    write(WELL);
}

/// As [`well`], after an attempt whose picture was written while the next one may have begun: the
/// last word is that one's then.
pub fn well_after(attempt_id: i64) {
    if BEGUN.load(Ordering::Relaxed) == attempt_id {
        well();
    }
}

/// An error is passed over: the render is worth more than what is said of it.
fn write(line: &str) {
    // SAFETY: the bytes live through the call; the descriptor is ours for life, or -1, which is
    // refused.
    unsafe { libc::write(FILE.load(Ordering::Relaxed), line.as_ptr().cast(), line.len()) };
}

/// What the file at `path` says of an attempt that is over.
pub fn read(path: &Path, attempt_id: i64) -> LastWord {
    let text = files::read_whole(path, FILE_BYTES_MAX).unwrap_or_default();
    match String::from_utf8_lossy(&text).split_inclusive('\n').next_back() {
        // A worker that had not begun with this attempt says so of the one before it.
        Some(WELL) => LastWord::Well,
        Some(line) => match serde_json::from_str::<Said>(line) {
            Ok(said) if said.attempt_id == attempt_id => LastWord::At(said.reached),
            _ => LastWord::Unknown,
        },
        None => LastWord::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ladder::Stage;

    // chaos 1
    #[test]
    fn the_last_line_counts_and_only_for_its_attempt() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("last-word");
        assert_eq!(read(&path, 7), LastWord::Unknown, "no file");
        fs::write(&path, "an earlier life\n").expect("a writable folder");
        open(&path).expect("a writable folder");
        assert_eq!(read(&path, 7), LastWord::Unknown, "emptied");
        begin(6);
        well();
        assert_eq!(read(&path, 7), LastWord::Well, "not begun with");
        begin(7);
        well_after(6);
        let place = Reached { stage: Some(Stage::Denoise), step: 3 };
        tell(7, place);
        assert_eq!(read(&path, 7), LastWord::At(place));
        assert_eq!(read(&path, 8), LastWord::Unknown, "of another attempt");
        well_after(7);
        assert_eq!(read(&path, 7), LastWord::Well);
        fs::write(&path, "{\"attempt_id\":7,\"rea").expect("a writable folder");
        assert_eq!(read(&path, 7), LastWord::Unknown, "cut short");
    }
}
