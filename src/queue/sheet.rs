//! A job's pictures on one contact sheet.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::axes::{Arrangement, arrange, in_order};
use super::{Queue, QueueError, Summary};
use crate::files;
use crate::job::state::State;
use crate::output;
use crate::problem::printable;
use crate::sheet::{Cell, Sheet};
use crate::spelling::count;
use crate::store::{HistoryRow, Selection, StoreError};

/// A sheet that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SheetAnswer {
    /// The sheet's file.
    pub path: PathBuf,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// How many pictures are on it.
    pub pictures: usize,
    /// How many of the job's pictures are not there: not done, or not readable.
    pub missing: usize,
    /// How many of those have failed.
    pub failed: usize,
    /// How many of those were cancelled.
    pub cancelled: usize,
    /// How many of those are still to be made.
    pub waiting: usize,
}

impl Queue<'_> {
    /// Puts the pictures of a job on a sheet at `path`. No file is replaced: where there is one the
    /// sheet gets a number behind its name if it `may_be_numbered`, and else there is none.
    pub async fn sheet(
        &self,
        job_id: i64,
        path: &Path,
        may_be_numbered: bool,
    ) -> Result<SheetAnswer, QueueError> {
        let rows = self.store.history(Selection::Job(job_id)).await?;
        let job = self.store.job(job_id).await?;
        if rows.iter().all(|row| row.path.is_none()) {
            let why = format!("no picture of job {job_id} is made, of {}", rows.len());
            return Err(StoreError::NothingToDo(why).into());
        }
        let name = format!("job {job_id} ({})", printable(&job.file_name));
        let shown: Vec<HistoryRow> = rows.iter().filter(|row| has_place(row)).cloned().collect();
        let name = match shown.len() == rows.len() {
            true => name,
            false => {
                let made = rows.iter().filter(|row| row.path.is_some()).count();
                format!("{name}, {made} of {} made", rows.len())
            }
        };
        let drawn = [arrange, in_order].into_iter().find_map(|arrangement| {
            let sheet = self.laid_out(&name, &shown, arrangement(&shown));
            sheet.draw().map(|drawn| (sheet, drawn))
        });
        let too_many = || {
            let why = format!("job {job_id} has too many pictures for one sheet: {}", shown.len());
            QueueError::NoAnswer(why)
        };
        let (sheet, drawn) = drawn.ok_or_else(too_many)?;
        let there = sheet.cells.iter().filter(|cell| cell.picture.is_some()).count();
        let pictures = there - drawn.unreadable;
        if pictures == 0 {
            return Err(all_missing(job_id, there, &self.config.outputs).into());
        }
        let encoded = drawn.encoded(path);
        let put = encoded.and_then(|encoded| put(path, may_be_numbered, &encoded));
        let path = put.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => {
                let why = format!("{} exists: a sheet replaces nothing", path.display());
                QueueError::NoAnswer(why)
            }
            _ => QueueError::File { path: path.to_owned(), source },
        })?;
        let (width, height) = drawn.size();
        let missing = rows.len() - pictures;
        let Summary { failed, cancelled, .. } = Summary::of(&rows);
        let waits = |row: &&HistoryRow| matches!(row.state, State::Queued | State::Running);
        let waiting = rows.iter().filter(waits).count();
        Ok(SheetAnswer { path, width, height, pictures, missing, failed, cancelled, waiting })
    }

    fn laid_out(
        &self,
        name: &str,
        rows: &[HistoryRow],
        Arrangement { common, heads, labels, columns, cells, captions }: Arrangement,
    ) -> Sheet {
        let cell = |place: Option<usize>| match place {
            Some(place) => cell(&self.config.outputs, &rows[place], &captions[place]),
            None => Cell::default(),
        };
        let cells = cells.into_iter().map(cell).collect();
        let title = format!("{name}: {}", common.join(", "));
        Sheet { title, heads, labels, columns, cells, aspect: aspect(rows) }
    }
}

/// A sheet without a picture would be no answer.
fn all_missing(job_id: i64, made: usize, outputs: &Path) -> StoreError {
    let pictures = count(made as u64, "picture");
    StoreError::NothingToDo(format!(
        "there is no sheet: of the {pictures} of job {job_id} none is in {} any more, or none can \
         be read; to render what is missing again: zimaged retry --missing {job_id}",
        outputs.display()
    ))
}

/// The path under which the file lies.
fn put(path: &Path, may_be_numbered: bool, content: &[u8]) -> io::Result<PathBuf> {
    if !may_be_numbered {
        return files::write_new(path, content).map(|()| path.to_owned());
    }
    files::first_free(|number| {
        let path = PathBuf::from(files::numbered(&path.to_string_lossy(), number));
        files::write_new(&path, content)?;
        Ok(path)
    })
}

/// Whether a picture has a place on the sheet: one that is made, or whose failure is told. What
/// was never made would only be hundreds of empty places while a long job goes on.
fn has_place(row: &HistoryRow) -> bool {
    row.path.is_some() || row.state == State::Failed
}

fn cell(outputs: &Path, row: &HistoryRow, caption: &str) -> Cell {
    let below = row.path.as_deref().map(Path::new).filter(|path| output::is_below(path));
    let word = row.error_code.map_or_else(|| row.state.to_string(), |code| code.to_string());
    Cell { picture: below.map(|path| outputs.join(path)), note: word, caption: caption.to_owned() }
}

/// The tallest picture's height as a multiple of its width.
fn aspect(rows: &[HistoryRow]) -> f64 {
    let of = |row: &HistoryRow| {
        let (width, height) =
            (row.width.unwrap_or(row.asked_width), row.height.unwrap_or(row.asked_height));
        height as f64 / (width as f64).max(1.0)
    };
    rows.iter().map(of).fold(0.0, f64::max)
}
