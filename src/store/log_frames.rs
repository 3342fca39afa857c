//! Whether a write-ahead log still holds what was written into it.
//!
//! SQLite reads the checksums in a log when it makes the log's index. From then on it goes by the
//! index alone: where somebody cuts the log short meanwhile, zeros are pages to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Magic, version, length of a page, number, salts (8 bytes) and checksum (8 bytes).
const HEADER_BYTES: usize = 32;

/// Of each frame, before its page: number of the page, length of the database where the frame ends
/// a commit, the log's salts and the checksum of the log up to here.
const FRAME_HEADER_BYTES: usize = 24;

/// But for the lowest bit, which says in which order the bytes of a word are summed up.
const MAGIC: u32 = 0x377f_0682;

/// SQLite has no shorter and no longer ones.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The salts of a log, which are others each time that it is begun anew: the first one counts.
pub(super) type Salts = [u8; 8];

/// A checksum, as it stands in a log.
pub(super) type Sum = [u8; 8];

/// A log whose header is whole.
pub(super) struct Log {
    file: File,
    header: [u8; HEADER_BYTES],
}

/// What stands before the page of a frame.
pub(super) struct FrameHead {
    pub page: u32,
    ends_commit: bool,
    pub salts: Salts,
    pub sum: Sum,
}

impl Log {
    /// `None` where there is no log, or nothing in it, or no log of SQLite's.
    pub(super) fn open(path: &Path) -> io::Result<Option<Log>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut header = [0; HEADER_BYTES];
        Ok(fill(&file, &mut header, 0)?.then_some(Log { file, header }).filter(Log::is_whole))
    }

    fn is_whole(&self) -> bool {
        let mut sum = self.beginning();
        sum.add(&self.header[..24]);
        word(&self.header, 0) & !1 == MAGIC
            && PAGE_BYTES.contains(&word(&self.header, 8))
            && self.header[24..] == sum.bytes()
    }

    pub(super) fn salts(&self) -> Salts {
        eight(&self.header, 16)
    }

    /// That of the header, with which the first frame's begins.
    pub(super) fn sum(&self) -> Sum {
        eight(&self.header, 24)
    }

    /// The head of a frame, counted from 1; `None` where the file ends before the frame does.
    pub(super) fn frame(&self, number: u64) -> io::Result<Option<FrameHead>> {
        if self.file.metadata()?.len() < self.place(number + 1) {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEADER_BYTES];
        Ok(fill(&self.file, &mut head, self.place(number))?.then(|| FrameHead::of(&head)))
    }

    /// Whether the log goes on with a whole commit behind the frame `number`, whose checksum is
    /// `sum`.
    pub(super) fn has_commit_behind(&self, number: u64, sum: Sum) -> io::Result<bool> {
        let mut frames = self.frames_behind(number, sum);
        while let Some(frame) = frames.next()? {
            if frame.ends_commit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn frames_behind(&self, number: u64, sum: Sum) -> Frames<'_> {
        let sum = Checksum { sums: [word(&sum, 0), word(&sum, 4)], ..self.beginning() };
        let frame = vec![0; self.frame_bytes()];
        Frames { log: self, number, sum, frame }
    }

    fn beginning(&self) -> Checksum {
        Checksum { sums: [0; 2], is_big_endian: self.header[3] & 1 == 1 }
    }

    fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + word(&self.header, 8) as usize
    }

    fn place(&self, frame: u64) -> u64 {
        HEADER_BYTES as u64 + (frame - 1) * self.frame_bytes() as u64
    }
}

/// Fills the buffer; false where the file ends before that.
fn fill(file: &File, buffer: &mut [u8], place: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, place) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    std::array::from_fn(|place| bytes[at + place])
}

impl FrameHead {
    fn of(bytes: &[u8]) -> FrameHead {
        FrameHead {
            page: word(bytes, 0),
            ends_commit: word(bytes, 4) != 0,
            salts: eight(bytes, 8),
            sum: eight(bytes, 16),
        }
    }
}

/// The frames of a log one after the other, as long as they are as they were written.
struct Frames<'l> {
    log: &'l Log,
    /// The last one that was read.
    number: u64,
    sum: Checksum,
    frame: Vec<u8>,
}

impl Frames<'_> {
    fn next(&mut self) -> io::Result<Option<FrameHead>> {
        if !fill(&self.log.file, &mut self.frame, self.log.place(self.number + 1))? {
            return Ok(None);
        }
        let head = FrameHead::of(&self.frame);
        self.sum.add(&self.frame[..8]);
        self.sum.add(&self.frame[FRAME_HEADER_BYTES..]);
        self.number += 1;
        Ok((head.salts == self.log.salts() && head.sum == self.sum.bytes()).then_some(head))
    }
}

/// What of a log was read through and is as it was written.
pub(super) struct ReadLog {
    header: [u8; HEADER_BYTES],
    frames: u64,
    sum: Sum,
}

impl ReadLog {
    /// The log at `path` up to the frame `frames`; what was read `before` is not read again. `None`
    /// where a frame is missing, or is not as it was written.
    pub(super) fn read(
        path: &Path,
        before: Option<ReadLog>,
        frames: u64,
    ) -> io::Result<Option<ReadLog>> {
        let Some(log) = Log::open(path)? else { return Ok(None) };
        let (known, sum) = match before {
            Some(before) if before.is_of(&log)? && before.frames <= frames => {
                (before.frames, before.sum)
            }
            _ => (0, log.sum()),
        };
        let mut read = log.frames_behind(known, sum);
        while read.number < frames {
            if read.next()?.is_none() {
                return Ok(None);
            }
        }
        let sum = read.sum.bytes();
        Ok(Some(ReadLog { header: log.header, frames, sum }))
    }

    /// Whether it is the beginning of this log.
    fn is_of(&self, log: &Log) -> io::Result<bool> {
        let has_last = match self.frames {
            0 => true,
            frames => log.frame(frames)?.is_some_and(|frame| frame.sum == self.sum),
        };
        Ok(has_last && self.header == log.header)
    }
}

/// SQLite's checksum of a log: two sums over pairs of words.
struct Checksum {
    sums: [u32; 2],
    is_big_endian: bool,
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let word = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let [mut first, mut second] = self.sums;
        for &[a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
            first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
        }
        self.sums = [first, second];
    }

    fn bytes(&self) -> Sum {
        let [[a, b, c, d], [e, f, g, h]] = self.sums.map(u32::to_be_bytes);
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection};

    use super::*;
    use crate::store::connection::options;

    /// A log of SQLite's with two commits, and how many frames it has.
    async fn log() -> (Vec<u8>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let mut connection = options(&path).create_if_missing(true).connect().await.unwrap();
        for sql in ["PRAGMA journal_mode = wal", "CREATE TABLE a (b)", "INSERT INTO a VALUES (1)"] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        let (_, frames, _): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(&mut connection).await.unwrap();
        let bytes = std::fs::read(folder.path().join("a.sqlite-wal")).unwrap();
        connection.close().await.unwrap();
        (bytes, frames.unsigned_abs())
    }

    fn is_whole(log: &[u8], frames: u64) -> bool {
        read(log, None, frames).is_some()
    }

    fn read(log: &[u8], before: Option<ReadLog>, frames: u64) -> Option<ReadLog> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, log).unwrap();
        ReadLog::read(&path, before, frames).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_whole_as_sqlite_has_written_it_and_in_no_other_way() {
        let (log, frames) = log().await;
        assert!(frames >= 2 && is_whole(&log, frames));
        assert!(!is_whole(&log, frames + 1), "there is no further one");
        for length in [0, 20, HEADER_BYTES, log.len() - 1] {
            assert!(!is_whole(&log[..length], frames), "cut to {length}");
        }
        for at in [0, 9, 17, 25, 33, 41, 49, 60, log.len() - 1] {
            let mut spoiled = log.clone();
            spoiled[at] ^= 4;
            assert!(!is_whole(&spoiled, frames), "byte {at}");
        }
        assert!(!is_whole(&vec![0; log.len()], frames));
    }
    #[tokio::test]
    async fn what_was_read_before_is_not_read_again_but_for_its_end() {
        let (log, frames) = log().await;
        let half = || read(&log, None, frames / 2);
        assert!(read(&log, half(), frames).is_some());
        let frame_bytes = (log.len() - HEADER_BYTES) / frames as usize;
        let spoiled = |frame: u64| {
            let mut spoiled = log.clone();
            spoiled[HEADER_BYTES + frame as usize * frame_bytes - 1] ^= 4;
            spoiled
        };
        assert!(read(&spoiled(1), half(), frames).is_some(), "it is not looked at again");
        assert!(read(&spoiled(frames), half(), frames).is_none());
        let mut other = log.clone();
        other[HEADER_BYTES + frames as usize / 2 * frame_bytes - frame_bytes + 17] ^= 4;
        assert!(read(&other, half(), frames).is_none(), "another log, as its checksum tells");
        assert!(read(&log[..HEADER_BYTES + frame_bytes - 1], half(), frames / 2).is_none());
    }

    #[tokio::test]
    async fn a_commit_behind_a_frame_is_found_where_it_is_whole() {
        let (bytes, frames) = log().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, &bytes).unwrap();
        let log = Log::open(&path).unwrap().expect("a log");
        assert!(log.has_commit_behind(0, log.sum()).unwrap());
        let last = log.frame(frames).unwrap().expect("the last frame");
        let before = log.frame(frames - 1).unwrap().expect("the one before");
        assert!(log.has_commit_behind(frames - 1, before.sum).unwrap());
        assert!(!log.has_commit_behind(frames, last.sum).unwrap(), "the log ends there");
        assert!(!log.has_commit_behind(frames - 1, last.sum).unwrap(), "another checksum");
    }
}
