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
    const OF_THE_NAME: [Errno; 4] = [Errno::NAMETOOLONG, Errno::ILSEQ, Errno::EXIST, Errno::ISDIR];
    const NO_ROOM: [Errno; 6] =
        [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    const FORBIDDEN: [Errno; 3] = [Errno::ROFS, Errno::ACCESS, Errno::PERM];
    const NOT_THERE: [Errno; 6] =
        [Errno::NOENT, Errno::NOTDIR, Errno::IO, Errno::NOTCONN, Errno::STALE, Errno::AGAIN];
    match os_error.map(Errno::from_raw_os_error) {
        None => Blame::Picture,
        Some(errno) if OF_THE_NAME.contains(&errno) => Blame::Picture,
        Some(errno) if [&NO_ROOM[..], &FORBIDDEN, &NOT_THERE].concat().contains(&errno) => {
            Blame::Place
        }
        Some(_) => Blame::Unknown,
    }
}
