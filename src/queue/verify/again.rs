//! Pictures rendered again, to be compared pixel for pixel.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::VerifyStep;
use crate::queue::replay::{Here, ReplayUse, one};
use crate::queue::{Queue, QueueError, has_daemon};
use crate::store::{DonePicture, Selection};
use crate::{output, thumbnails};

/// Between two looks at a job that is waited for.
const POLL: Duration = Duration::from_millis(100);

/// A picture that was rendered again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Again {
    /// The picture's job.
    pub job: i64,
    /// Its position there, from 1.
    pub picture: u32,
    /// The job that rendered it again; null where none did.
    pub again: Option<i64>,
    /// What came of it.
    pub fate: AgainFate,
    /// The same for people; empty where they are the same.
    pub text: String,
}

/// What came of a picture that was rendered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgainFate {
    /// Each pixel is the same.
    Same,
    /// Some are not.
    Different,
    /// It was not tried: the same picture is not promised, or its file is wrong.
    NotPromised,
    /// The render made no picture.
    NotMade,
}

impl Queue<'_> {
    pub(super) async fn render_again(
        &self,
        number: u32,
        tell: &mut dyn FnMut(VerifyStep),
    ) -> Result<Vec<Again>, QueueError> {
        if !has_daemon(self.config) {
            let why = "a daemon is needed to render pictures again: zimaged run";
            return Err(QueueError::NoDaemon(why.to_owned()));
        }
        let (here, drawn) = (Here::of_queue(self).await, self.store.some_done(number).await?);
        let mut compared = Vec::with_capacity(drawn.len());
        tell(VerifyStep::Again { compared: 0, of: drawn.len() });
        for row in &drawn {
            compared.push(self.one_again(&here, row).await?);
            tell(VerifyStep::Again { compared: compared.len(), of: drawn.len() });
        }
        Ok(compared)
    }

    async fn one_again(&self, here: &Here<'_>, row: &DonePicture) -> Result<Again, QueueError> {
        let of = |again, fate, text: String| {
            let DonePicture { job, picture, .. } = *row;
            Again { job, picture, again, fate, text }
        };
        let path = self.config.outputs.join(&row.path);
        let job = match one(here, &path, ReplayUse::Verify).await {
            Ok(replay) => replay.job,
            Err(refusal) => return Ok(of(None, AgainFate::NotPromised, refusal.reason()?)),
        };
        let Some(job) = job else { return Ok(of(None, AgainFate::NotPromised, String::new())) };
        while !self.progress(job).await?.is_over() {
            if !has_daemon(self.config) {
                let why = format!("the daemon has ended before job {job} was done");
                return Err(QueueError::NoDaemon(why));
            }
            sleep(POLL).await;
        }
        let made = self.store.history(Selection::Job(job)).await?.into_iter().next();
        let Some(made) = made.as_ref().and_then(|made| made.path.as_deref()) else {
            let error = made.and_then(|made| made.error.or(made.cancel_reason));
            return Ok(of(Some(job), AgainFate::NotMade, error.unwrap_or_default()));
        };
        let outputs = self.config.outputs.clone();
        let (first, second) = (row.path.clone(), made.to_owned());
        let compared = tokio::task::spawn_blocking(move || differ(&outputs, &first, &second));
        let compared = compared.await.map_err(|error| QueueError::NoAnswer(error.to_string()))?;
        Ok(match compared {
            Ok(0) => of(Some(job), AgainFate::Same, String::new()),
            Ok(pixels) => of(Some(job), AgainFate::Different, format!("{pixels} pixels differ")),
            Err(error) => of(Some(job), AgainFate::Different, error.to_string()),
        })
    }
}

/// How many pixels of the two pictures are not the same; all where their sizes are not.
fn differ(outputs: &Path, first: &str, second: &str) -> std::io::Result<usize> {
    let read = |path: &str| thumbnails::read(output::open(outputs, path)?);
    let (first, second) = (read(first)?.into_rgb8(), read(second)?.into_rgb8());
    if first.dimensions() != second.dimensions() {
        return Ok(first.pixels().len().max(second.pixels().len()));
    }
    Ok(first.pixels().zip(second.pixels()).filter(|(one, other)| one != other).count())
}
