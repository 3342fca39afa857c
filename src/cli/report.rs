//! What a run that ends by itself has done.

use std::io;

use serde::Serialize;

use super::{EXIT_NOT_DONE, EXIT_TEMPFAIL, Outcome, pictures, print, short, wait};
use crate::config::Config;
use crate::job::state::State;
use crate::problem::printable;
use crate::queue::{Queue, Summary};
use crate::store::{HistoryRow, LogMark, RejectionRow};

/// So many pictures are shown one by one; of more, only those that are not done, up to this number.
const ROWS_MAX: usize = 20;

/// What has ended since the run began.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct RunReport {
    /// How the pictures ended.
    summary: Summary,
    /// The pictures that ended, job by job.
    pictures: Vec<HistoryRow>,
    /// Files that were set aside.
    rejected: Vec<RejectionRow>,
    /// Renders that are still to be made: the run was stopped.
    left: u64,
}

/// Says what was done since `begun`; the exit code says how it ended.
pub(super) async fn report(config: &Config, begun: LogMark, json: bool) -> Outcome {
    let queue = Queue::open(config).await?;
    let store = queue.store();
    let pictures = store.ended_since(begun).await?;
    let report = RunReport {
        summary: Summary::of(&pictures),
        pictures,
        rejected: store.rejected_since(begun).await?,
        left: store.queued().await?,
    };
    report.print(config, json)?;
    Ok(report.exit_code())
}

impl RunReport {
    fn exit_code(&self) -> u8 {
        match wait::exit_code(&self.summary) {
            0 | super::EXIT_DEGRADED if !self.rejected.is_empty() => EXIT_NOT_DONE,
            0 | super::EXIT_DEGRADED if self.left > 0 => EXIT_TEMPFAIL,
            code => code,
        }
    }

    fn print(&self, config: &Config, json: bool) -> io::Result<()> {
        print::answer(self, &self.text(config), json)
    }

    fn text(&self, config: &Config) -> String {
        let mut parts = Vec::new();
        parts.extend(self.table());
        parts.extend(self.rejected.iter().take(ROWS_MAX).map(rejection));
        let more = self.rejected.len().saturating_sub(ROWS_MAX);
        parts.extend((more > 0).then(|| format!("and {more} more: zimaged list --rejected")));
        parts.push(self.sum(config));
        if self.summary.done > 0 {
            let folder = short(&config.outputs);
            parts.push(format!(
                "Pictures are in {folder}. Leave the daemon running with: zimaged run"
            ));
        }
        parts.join("\n\n")
    }

    fn table(&self) -> Option<String> {
        let all = self.pictures.len() <= ROWS_MAX;
        let is_shown = |picture: &&HistoryRow| all || picture.state != State::Done;
        let rows: Vec<&HistoryRow> = self.pictures.iter().filter(is_shown).collect();
        let more = rows.len().saturating_sub(ROWS_MAX);
        let shown = &rows[..rows.len() - more];
        let mut table = (!shown.is_empty()).then(|| pictures::list(shown, true))?;
        if more > 0 {
            let of = print::count(more as u64, "picture");
            table += &format!("\n\nand {of} more that are not done: zimaged list");
        }
        Some(table)
    }

    /// One line.
    fn sum(&self, config: &Config) -> String {
        let mut line = match self.pictures.len() {
            0 if self.rejected.is_empty() && self.left == 0 => {
                return "nothing was to be done".to_owned();
            }
            0 => "no picture was made".to_owned(),
            _ => print::sum(&self.summary),
        };
        if !self.rejected.is_empty() {
            let rejected = print::count(self.rejected.len() as u64, "file");
            line +=
                &format!(", {rejected} rejected (see {})", short(&config.jobs.join("rejected")));
        }
        if self.left > 0 {
            line += &format!(", {} left in the queue", print::count(self.left, "render"));
        }
        line
    }
}

fn rejection(row: &RejectionRow) -> String {
    format!("{} was rejected:\n{}", printable(&row.file_name), row.reason.trim_end())
}
