//! Whose fault it is that a file could not be read or written.

use rustix::io::Errno;

/// Whose fault it is that a file could not be read or written.
pub(super) enum Blame {
    /// The place's: every other render would end in the same way, and the place may be mended while
    /// the queue waits.
    Place,
    /// The picture's own: its name, or what was to be written.
    Picture,
    /// Nobody knows. The place's, until another picture was made there meanwhile.
    Unknown,
}

/// What an error code says of that. Without a code the error is one of ours about this picture.
pub(super) fn blame(os_error: Option<i32>) -> Blame {
    let Some(os_error) = os_error else { return Blame::Picture };
    match Errno::from_raw_os_error(os_error) {
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::EXIST | Errno::ISDIR => Blame::Picture,
        // No room.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Blame::Place,
        // Not enough of what the system gives to a process.
        Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::AGAIN => Blame::Place,
        // Forbidden.
        Errno::ROFS | Errno::ACCESS | Errno::PERM => Blame::Place,
        // Not there.
        Errno::NOENT | Errno::NOTDIR | Errno::IO | Errno::NOTCONN | Errno::STALE => Blame::Place,
        _ => Blame::Unknown,
    }
}
