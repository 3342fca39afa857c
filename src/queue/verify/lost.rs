//! Pictures that are gone, found by their names alone.

use std::io;
use std::path::Path;

use crate::queue::{Queue, QueueError};
use crate::store::DonePicture;

/// So many of the newest are looked for: their names are found in a moment.
const NEWEST_MAX: u32 = 2000;

/// Pictures of the history whose files are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostPictures {
    /// So many of the newest were looked for; 0 where there are none.
    pub looked_for: u64,
    /// So many of them are gone, and no retry has made them again.
    pub lost: u64,
}

impl Queue<'_> {
    /// Which of the newest pictures are gone. None is read: [`Queue::verify`] does that.
    pub async fn lost_pictures(&self) -> Result<LostPictures, QueueError> {
        let newest = self.store.newest_done(NEWEST_MAX).await?;
        let looked_for = newest.len() as u64;
        if newest.is_empty() {
            return Ok(LostPictures::default());
        }
        self.check_folder()?;
        let outputs = self.config.outputs.clone();
        let gone = move || newest.into_iter().filter(|it| is_gone(&outputs, it)).collect();
        let gone: Result<Vec<DonePicture>, _> = tokio::task::spawn_blocking(gone).await;
        let gone = gone.map_err(|error| QueueError::NoAnswer(error.to_string()))?;
        let mut lost = 0;
        for picture in gone {
            let again = self.store.made_again(picture.job, picture.picture).await?;
            lost += u64::from(again.is_none_or(|again| is_gone(&self.config.outputs, &again)));
        }
        Ok(LostPictures { looked_for, lost })
    }
}

fn is_gone(outputs: &Path, picture: &DonePicture) -> bool {
    let there = outputs.join(&picture.path).symlink_metadata();
    there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
