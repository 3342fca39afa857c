//! Pictures as one zip file, which is written while it is sent: no more of it is in memory than
//! some pieces, and a client that reads slowly, or has gone, slows down or ends the writing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::civil::DateTime as LocalTime;
use tokio::sync::mpsc;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::app::App;
use super::problem::HttpProblem;
use crate::clock;
use crate::output::PictureFile;
use crate::store::{GalleryFilter, HistoryRow};

/// So many pictures are in one file: some gigabytes of large ones.
pub const PICTURES_MAX: u32 = 1_000;

/// Sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// So many pieces wait for the client.
const PIECES_MAX: usize = 4;

/// Who is waited for so long in all, while it takes less than so many bytes, gives its place to
/// another; single pictures come at whatever speed.
const PATIENCE: Duration = Duration::from_secs(60);
const TAKEN_MIN_BYTES: usize = 4 << 20;

/// What is to be told of the pictures stands in a file of its own, after them.
const NOTES: &str = "zimaged.txt";

/// The pictures that the filter lets through, at most `limit`, in their order.
pub async fn archive(
    app: &App,
    filter: &GalleryFilter,
    limit: u32,
) -> Result<Response, HttpProblem> {
    let slot = app.archive_slot()?;
    // One more tells whether that is all.
    let mut pictures = app.store().gallery(filter, limit + 1).await?;
    if pictures.is_empty() {
        return Err(HttpProblem::not_found("there is no such picture"));
    }
    let is_all = pictures.len() <= limit as usize;
    pictures.truncate(limit as usize);
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let (outputs, known) = (app.config().outputs.clone(), app.pictures().clone());
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let pieces = BufWriter::with_capacity(PIECE_BYTES, Pieces::to(sender.clone()));
        let open = |recorded: &PictureFile| known.open(&outputs, recorded);
        if let Err(error) = write(pieces, open, &pictures, is_all) {
            // The answer breaks off, so that nobody takes it for whole. Who has gone hears nothing.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let body = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }));
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"zimaged.zip\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

/// What is written goes to the client. Fails when it has gone, once: what the archive writes after
/// that, to end itself, goes nowhere, because the archive would complain of it on standard error.
struct Pieces {
    client: Option<mpsc::Sender<io::Result<Bytes>>>,
    speed: Speed,
}

impl Pieces {
    fn to(client: mpsc::Sender<io::Result<Bytes>>) -> Pieces {
        Pieces { client: Some(client), speed: Speed::default() }
    }
}

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let Some(client) = &self.client else { return Ok(piece.len()) };
        let began = Instant::now();
        let is_taken = client.blocking_send(Ok(Bytes::copy_from_slice(piece))).is_ok();
        if is_taken && self.speed.suffices(began.elapsed(), piece.len()) {
            return Ok(piece.len());
        }
        self.client = None;
        Err(if is_taken { io::ErrorKind::TimedOut } else { io::ErrorKind::BrokenPipe }.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How fast a client takes what is there for it.
#[derive(Default)]
struct Speed {
    waited: Duration,
    bytes: usize,
}

impl Speed {
    /// After so many bytes more, for which the client was waited for so long.
    fn suffices(&mut self, waited: Duration, bytes: usize) -> bool {
        (self.waited, self.bytes) = (self.waited + waited, self.bytes + bytes);
        if self.waited < PATIENCE {
            return true;
        }
        let taken = std::mem::take(self).bytes;
        taken >= TAKEN_MIN_BYTES
    }
}

type Archive = ZipWriter<StreamWriter<BufWriter<Pieces>>>;

fn write(
    pieces: BufWriter<Pieces>,
    open: impl Fn(&PictureFile) -> io::Result<File>,
    pictures: &[HistoryRow],
    is_all: bool,
) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(pieces);
    let mut notes = String::new();
    for picture in pictures {
        let Some(recorded) = picture.file() else { continue };
        let path = &recorded.path;
        match open(&recorded) {
            Ok(file) => add(&mut archive, picture, path, file)?,
            Err(error) => {
                let HistoryRow { job, picture: n, .. } = picture;
                notes += &format!("{job}.{n} is missing: {path}: {error}\n");
            }
        }
    }
    if let Some(last) = pictures.last().filter(|_| !is_all) {
        let HistoryRow { job, picture: n, .. } = last;
        notes += &format!("There are more pictures: ask again for those before {job}.{n}\n");
    }
    if !notes.is_empty() {
        archive.start_file(NOTES, SimpleFileOptions::default().compression_method(STORED))?;
        archive.write_all(notes.as_bytes())?;
    }
    archive.finish()?.into_inner().flush()
}

/// Pictures are compressed already.
const STORED: CompressionMethod = CompressionMethod::Stored;

fn add(archive: &mut Archive, of: &HistoryRow, path: &str, mut file: File) -> io::Result<()> {
    let mut options =
        SimpleFileOptions::default().compression_method(STORED).unix_permissions(0o644);
    if let Some(made) = of.finished_at_ms.and_then(|at_ms| zip_time(clock::local(at_ms).datetime()))
    {
        options = options.last_modified_time(made);
    }
    archive.start_file(name(of, path), options)?;
    io::copy(&mut file, archive)?;
    Ok(())
}

/// Its key comes first: so no two are the same, and they stand in their order.
fn name(of: &HistoryRow, path: &str) -> String {
    let HistoryRow { job, picture, .. } = of;
    let file = PathBuf::from(path);
    let file = file.file_name().unwrap_or_default().to_string_lossy();
    format!("{job}.{picture}-{file}")
}

/// `None` for times that the format cannot say.
fn zip_time(at: LocalTime) -> Option<DateTime> {
    let [month, day, hour, minute, second] =
        [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(i8::unsigned_abs);
    let year = u16::try_from(at.year()).ok()?;
    DateTime::from_date_and_time(year, month, day, hour, minute, second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a client goes on to the end that takes so much at once, so often.
    fn goes_on(kib: usize, every_ms: u64) -> bool {
        let mut speed = Speed::default();
        (0..1_000).all(|_| speed.suffices(Duration::from_millis(every_ms), kib << 10))
    }

    #[test]
    fn who_takes_little_gives_up_its_place_and_a_usual_line_keeps_it() {
        assert!(!goes_on(128, 8_000), "for minutes, with two such clients nobody else's turn came");
        assert!(!goes_on(1, 100));
        assert!(goes_on(64, 900), "half a megabit a second and more");
        assert!(goes_on(64, 0));
    }
}
