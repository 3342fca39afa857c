//! What lies in the jobs folder and is rendered by nobody: files that were set aside, and what is
//! no job file.

use super::{Aspect, Finding};
use crate::config::Config;
use crate::queue::{JobsFolder, OtherFile, Queue, status_of};
use crate::store::RejectionRow;

/// So many are named.
const NAMED_MAX: usize = 3;

/// What of it a user should look at; the daemon works all the same.
pub(super) async fn dropped(config: &Config) -> Vec<Finding> {
    let rejected = match Queue::open(config).await {
        Ok(queue) => queue.rejected().await.unwrap_or_default(),
        // What is wrong with the database is told elsewhere.
        Err(_) => Vec::new(),
    };
    let told = [set_aside(&rejected), left_alone(&status_of(config).jobs_folder)];
    told.into_iter().flatten().map(|told| Finding::warning(Aspect::Jobs, told)).collect()
}

fn set_aside(rejected: &[RejectionRow]) -> Option<String> {
    let names = named(rejected.iter().map(|file| file.file_name.clone()))?;
    Some(format!("set aside for their mistakes: {names}; why: zimaged list --rejected"))
}

fn left_alone(folder: &JobsFolder) -> Option<String> {
    let told = |file: &OtherFile| format!("{} ({})", file.file, file.what_to_do);
    let names = named(folder.others.iter().map(told))?;
    Some(format!("left alone in {}: {names}", folder.path.display()))
}

/// The first of them, and whether there are others; `None` where there is none.
fn named(mut names: impl Iterator<Item = String>) -> Option<String> {
    let first: Vec<String> = names.by_ref().take(NAMED_MAX).collect();
    let others = if names.next().is_some() { " and others" } else { "" };
    (!first.is_empty()).then(|| first.join(", ") + others)
}
