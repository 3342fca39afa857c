//! `zimaged history`, `backup`, `restore`.

use std::path::Path;

use anyhow::anyhow;
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde::Serialize;

use super::{EXIT_NOT_DONE, Failure, Outcome, ask, print, short};
use crate::config::Config;
use crate::queue::{self, PruneRequest, Pruned, Queue, Restored};
use crate::spelling::memory;
use crate::store::Forgettable;

#[derive(clap::Subcommand, Debug)]
pub(super) enum HistoryCommand {
    /// Forget jobs that ended long ago, with their pictures; what is queued is not touched
    Prune(PruneArgs),
    /// Begin with an empty queue and history, where the database is missing
    Begin,
}

#[derive(clap::Args, Debug)]
pub(super) struct PruneArgs {
    /// How long ago a job has ended, in hours, days or weeks: 12h, 90d, 2w; 0h: whatever has ended
    #[arg(long, value_name = "AGE", value_parser = age_ms)]
    older_than: i64,
    /// Leave the pictures
    #[arg(long)]
    keep_pictures: bool,
    /// Also jobs of which a picture has a star
    #[arg(long)]
    starred: bool,
    /// Only say what would be forgotten
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on a terminal
    #[arg(long)]
    yes: bool,
}

/// An empty queue and history.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Begun {
    /// Always true.
    begun: bool,
}

pub(super) async fn history(config: &Config, command: &HistoryCommand, json: bool) -> Outcome {
    match command {
        HistoryCommand::Prune(args) => prune(config, args, json).await,
        HistoryCommand::Begin => {
            queue::begin_history(config).await?;
            let text = "an empty queue and history: start the daemon with zimaged run";
            print::answer(&Begun { begun: true }, text, json)?;
            Ok(0)
        }
    }
}

async fn prune(config: &Config, args: &PruneArgs, json: bool) -> Outcome {
    let request = PruneRequest {
        jobs: Forgettable {
            before_ms: Timestamp::now().as_millisecond() - args.older_than,
            with_starred: args.starred,
        },
        keep_pictures: args.keep_pictures,
        dry_run: args.dry_run,
    };
    let queue = Queue::open_or_empty(config).await?;
    if !args.yes && !args.dry_run && !json && ask::can_ask() {
        let would_be = queue.prune(PruneRequest { dry_run: true, ..request }).await?;
        let is_something = would_be.jobs > 0 || would_be.rejections > 0;
        if is_something && !ask::is_meant(&format!("{}: forget them?", told(&would_be)))? {
            return Err(Failure { code: EXIT_NOT_DONE, error: anyhow!("nothing was forgotten") });
        }
    }
    let pruned = queue.prune(request).await?;
    print::answer(&pruned, &told(&pruned), json)?;
    Ok(0)
}

fn told(pruned: &Pruned) -> String {
    let Pruned { jobs, renders, starred, pictures, bytes, left, rejections, dry_run } = *pruned;
    let room = if pictures > 0 { format!(" of {}", memory(bytes)) } else { String::new() };
    let [jobs, renders, pictures] = [(jobs, "job"), (renders, "render"), (pictures, "picture")]
        .map(|(n, what)| print::count(n, what));
    let verb = if dry_run { "would be forgotten" } else { "forgotten" };
    let mut text = format!("{jobs} with {renders} {verb}, {pictures}{room} removed");
    if dry_run {
        text = text.replace(" removed", "");
    }
    if left > 0 {
        let files = print::count(left, "file");
        text += &format!("; {files} left that are not as they were recorded");
    }
    if starred > 0 {
        let kept = print::count(starred, "old job");
        text += &format!("; {kept} with a starred picture left: forget them with --starred");
    }
    if rejections > 0 {
        let notes = print::count(rejections, "note");
        text += &format!("; {notes} of files that were set aside {verb}, the files stay");
    }
    text
}

pub(super) async fn backup(config: &Config, file: &Path, json: bool) -> Outcome {
    let made = Queue::open(config).await?.backup(file).await?;
    let mut text = format!(
        "{}: {}, {}, read through and whole",
        short(&made.file),
        print::count(made.jobs.unsigned_abs(), "job"),
        memory(made.bytes)
    );
    if made.inputs > 0 {
        let folder = short(&made.file.with_added_extension("inputs"));
        text += &format!("\n{folder}: {}; keep it beside the backup", inputs(made.inputs));
    }
    text += &told_missing(made.inputs_missing);
    print::answer(&made, &text, json)?;
    Ok(0)
}

pub(super) async fn restore(config: &Config, file: &Path, json: bool) -> Outcome {
    let restored = queue::restore(config, file).await?;
    print::answer(&restored, &put_back(config, file, &restored), json)?;
    Ok(0)
}

fn put_back(config: &Config, file: &Path, restored: &Restored) -> String {
    let Restored { jobs, waiting, made_since, unchanged, kept, newer, inputs_missing, .. } =
        restored;
    let is_put_back = match unchanged {
        true => "is put back and changes nothing, the queue was as in it already",
        false => "is put back",
    };
    let mut text = format!(
        "{} {is_put_back}: {}, {} waiting",
        file.display(),
        print::count(jobs.unsigned_abs(), "job"),
        print::count(waiting.unsigned_abs(), "render")
    );
    if *waiting > 0 {
        let made = match made_since {
            0 => String::new(),
            _ => format!(", {made_since} of them for the second time"),
        };
        text += &format!(
            "\nwhat waits is rendered by the next zimaged run{made}: pictures that were made after \
             the backup stay in {}, and new ones get numbered names; to render nothing of it, \
             zimaged cancel --all first",
            short(&config.outputs)
        );
    }
    if let Some(kept) = kept {
        text += &format!("\nthe database of before is kept as {}", short(kept));
    }
    if *newer > 0 {
        let files = print::count(*newer as u64, "job file");
        text += &format!(
            "\n{files} in {} came after the backup: to run one again, move it into {}",
            short(&config.jobs.join("accepted")),
            short(&config.jobs)
        );
    }
    text += &told_missing(*inputs_missing);
    text
}

fn inputs(count: u64) -> String {
    format!("{} that renders begin with", print::count(count, "picture"))
}

fn told_missing(count: u64) -> String {
    match count {
        0 => String::new(),
        _ => format!("\nmissing or damaged: {}; these renders will fail", inputs(count)),
    }
}

/// How an age may be written, whatever its number: in words and letters, or as ISO 8601 has it.
const AGE_UNITS: [&str; 15] = [
    "h", "hr", "hrs", "hour", "hours", "d", "day", "days", "w", "wk", "wks", "week", "weeks", "p",
    "pt",
];

/// Milliseconds; a day has 24 hours.
fn age_ms(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "'{text}' is no age: one is in hours (12h), days (90d) or weeks (2w); m is minutes, and \
             3 months are 90d"
        )
    };
    let lower = text.to_lowercase();
    let mut units = lower.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
    if !units.all(|unit| AGE_UNITS.contains(&unit)) {
        return Err(wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    i64::try_from(age.as_millis()).ok().filter(|ms| *ms >= 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    // evening F3
    #[test]
    fn no_age_is_in_minutes_which_may_be_meant_as_months_however_few_they_are() {
        for text in ["1m", "3m", "2h 1m", "90s", "1s", "0s", "0m", "0h 5ms", "PT1M", "PT0S"] {
            let why = age_ms(text).expect_err(text);
            assert!(why.contains("m is minutes") && why.contains("3 months are 90d"), "{why}");
        }
    }

    #[test]
    fn ages_are_days_weeks_and_hours() {
        let day = 24 * 3_600_000;
        for (text, ms) in [
            ("90d", 90 * day),
            ("12h", day / 2),
            ("2w", 14 * day),
            ("2 weeks", 14 * day),
            ("PT12H", day / 2),
            ("0d", 0),
            ("0h", 0),
        ] {
            assert_eq!(age_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "90", "d", "-3d", "2mo", "soon"] {
            assert!(age_ms(text).is_err(), "{text}");
        }
    }
}
