//! Whether a write-ahead log still holds what was written into it.
//!
//! SQLite reads the checksums in a log when it makes the log's index. From then on it goes by the
//! index alone: where somebody cuts the log short meanwhile, zeros are pages to it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Magic, version, length of a page, number, salt (8 bytes) and checksum (8 bytes).
const HEADER_BYTES: usize = 32;

/// Of each frame, before its page: number of the page, length of the database, the log's salt and
/// the checksum of the log up to here.
const FRAME_HEADER_BYTES: usize = 24;

/// But for the lowest bit, which says in which order the bytes of a word are summed up.
const MAGIC: u32 = 0x377f_0682;

/// SQLite has no longer ones.
const PAGE_BYTES_MAX: u32 = 65_536;

/// Whether the first `frames` frames of the log at `path` are there as they were written.
pub(super) fn are_whole(path: &Path, frames: u64) -> io::Result<bool> {
    match read_through(BufReader::new(File::open(path)?), frames) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read,
    }
}

fn read_through(mut log: impl Read, frames: u64) -> io::Result<bool> {
    let mut header = [0; HEADER_BYTES];
    log.read_exact(&mut header)?;
    let magic = word(&header, 0);
    let page_bytes = word(&header, 8);
    let mut sum = Checksum { sums: [0; 2], is_big_endian: magic & 1 == 1 };
    sum.add(&header[..24]);
    if magic & !1 != MAGIC || page_bytes > PAGE_BYTES_MAX || header[24..] != sum.bytes() {
        return Ok(false);
    }
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    for _ in 0..frames {
        log.read_exact(&mut frame)?;
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER_BYTES..]);
        if frame[8..16] != header[16..24] || frame[16..24] != sum.bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
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

    /// As it stands in a log.
    fn bytes(&self) -> [u8; 8] {
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, log).unwrap();
        are_whole(&path, frames).unwrap()
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
}
