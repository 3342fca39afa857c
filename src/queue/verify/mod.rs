//! The pictures in the output folder against what the history says of them. The daemon may run
//! meanwhile.

mod again;
mod file;
mod lost;
mod strangers;

use serde::Serialize;

pub use self::again::{Again, AgainFate};
pub use self::file::{PictureFault, WrongPicture};
pub use self::lost::LostPictures;
pub use self::strangers::{Stranger, StrangerKind};
use super::{Queue, QueueError};
use crate::files;
use crate::store::{DonePicture, Selection};

/// So many rows are asked for at once.
const ROWS_MAX: u32 = 200;

/// So many of a kind are listed; the others are counted.
const LISTED_MAX: usize = 1000;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verified {
    /// How many pictures the history has.
    pub pictures: u64,
    /// How many of them are there, can be decoded and have the recorded hash.
    pub right: u64,
    /// How many are wrong, and nothing that is right has been rendered in their place.
    pub wrong: u64,
    /// How many are gone and were rendered again by a retry, whose picture is right.
    pub replaced: u64,
    /// How many of the wrong ones are missing, and are of no retry yet: `zimaged retry --missing
    /// --all` renders them again.
    pub missing: u64,
    /// What is wrong with the first thousand of the wrong ones.
    pub wrong_pictures: Vec<WrongPicture>,
    /// How many files in the output folder belong to no row.
    pub strangers: u64,
    /// The first thousand of these.
    pub stranger_files: Vec<Stranger>,
    /// Pictures that were rendered again to be compared.
    pub again: Vec<Again>,
}

impl Verified {
    /// Whether all is as it was recorded. Strangers are not held against it.
    pub fn is_right(&self) -> bool {
        self.wrong == 0 && self.again.iter().all(|again| again.fate != AgainFate::Different)
    }
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyStep {
    /// So many of all rows.
    Rows { looked_at: u64, of: u64 },
    /// So many files in the output folder.
    Files { looked_at: u64 },
    /// So many of those that are rendered again.
    Again { compared: usize, of: usize },
}

impl Queue<'_> {
    /// Compares every picture of the history with its file, looks for files without a row, and
    /// renders `again` pictures again, drawn by chance, to compare their pixels. Says to `tell` how
    /// far it is.
    pub async fn verify(
        &self,
        again: u32,
        tell: &mut dyn FnMut(VerifyStep),
    ) -> Result<Verified, QueueError> {
        let mut found = Verified::default();
        self.verify_rows(&mut found, tell).await?;
        self.find_strangers(&mut found, tell).await?;
        if again > 0 {
            found.again = self.render_again(again, tell).await?;
        }
        Ok(found)
    }

    async fn verify_rows(
        &self,
        found: &mut Verified,
        tell: &mut dyn FnMut(VerifyStep),
    ) -> Result<(), QueueError> {
        let of = self.store.done_count().await?;
        if of > 0 {
            self.check_folder()?;
        }
        let mut last = 0;
        loop {
            let rows = self.store.done_after(last, ROWS_MAX).await?;
            let Some(newest) = rows.last() else { return Ok(()) };
            last = newest.attempt_id;
            for row in rows {
                found.pictures += 1;
                match self.fault_of(row).await? {
                    None => found.right += 1,
                    Some(wrong) if self.is_replaced(&wrong).await? => found.replaced += 1,
                    Some(wrong) => {
                        let again = self.again_as(&wrong).await?;
                        found.note(wrong, again);
                    }
                }
                tell(VerifyStep::Rows { looked_at: found.pictures, of });
            }
        }
    }

    /// Where the folder itself is not there, a disk may be: no picture is missing for that.
    fn check_folder(&self) -> Result<(), QueueError> {
        let path = self.config.outputs.clone();
        match files::open_folder(&path) {
            Ok(_) => Ok(()),
            Err(source) => Err(QueueError::File { path, source }),
        }
    }

    /// What is wrong with the picture, if anything is.
    async fn fault_of(&self, row: DonePicture) -> Result<Option<WrongPicture>, QueueError> {
        let outputs = self.config.outputs.clone();
        // It reads and decodes the whole picture.
        let checked = tokio::task::spawn_blocking(move || file::check(&outputs, &row));
        checked.await.map_err(|error| QueueError::NoAnswer(error.to_string()))
    }

    /// Whether the picture is gone and was rendered again as one that is right. That may have taken
    /// its very name, by which there is another content then.
    async fn is_replaced(&self, wrong: &WrongPicture) -> Result<bool, QueueError> {
        let Some(row) = self.store.made_again(wrong.job, wrong.picture).await? else {
            return Ok(false);
        };
        let is_gone = wrong.fault == PictureFault::Missing || row.path == wrong.path;
        Ok(is_gone && self.fault_of(row).await?.is_none())
    }

    /// The last job that renders the picture again, where it is missing.
    async fn again_as(&self, wrong: &WrongPicture) -> Result<Option<i64>, QueueError> {
        match *wrong {
            WrongPicture { job, picture, fault: PictureFault::Missing, .. } => {
                let picture = Selection::Render { job_id: job, index: picture };
                Ok(self.store.again(picture).await?)
            }
            _ => Ok(None),
        }
    }
}

impl Verified {
    /// Counts a picture that is wrong, with the job that renders it again.
    fn note(&mut self, mut wrong: WrongPicture, again: Option<i64>) {
        self.wrong += 1;
        match again {
            Some(job) => wrong.text += &format!("; rendered again as job {job}"),
            None => self.missing += u64::from(wrong.fault == PictureFault::Missing),
        }
        if self.wrong_pictures.len() < LISTED_MAX {
            self.wrong_pictures.push(wrong);
        }
    }
}
