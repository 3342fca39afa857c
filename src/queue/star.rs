//! Pictures that somebody wants to find again.

use serde::Serialize;

use super::Queue;
use crate::store::{Result, Selection};

/// Whether a picture has a star.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StarAnswer {
    /// It has one now.
    pub starred: bool,
}

impl Queue<'_> {
    /// Gives one picture a star, or takes it. A starred picture is kept when the history is cleared
    /// of what is old. To ask for what is so already changes nothing. An error where there is no
    /// such render, or it is to have a star and is not done.
    pub async fn star(&self, job_id: i64, index: u32, starred: bool) -> Result<StarAnswer> {
        self.store.star(Selection::Render { job_id, index }, starred).await?;
        Ok(StarAnswer { starred })
    }
}
