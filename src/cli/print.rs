//! Answers as text for people or JSON for programs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::time;
use crate::job::state::State;
use crate::problem::printable;
use crate::queue::{CheckedJob, ExpectedWork, JobMistakes, Submitted, Summary, beginning};
use crate::store::{AttemptRow, HistoryRow, JobRow, RejectionRow};

/// One answer: `text` for people, `value` for programs. A closed pipe ends the program's output,
/// not the program.
pub(super) fn answer(value: &impl Serialize, text: &str, json: bool) -> io::Result<()> {
    if json { line(&serde_json::to_string_pretty(value)?) } else { line(text) }
}

/// One line of text for people, see [`answer`].
pub(super) fn line(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

pub(super) fn jobs(jobs: &[JobRow], json: bool) -> io::Result<()> {
    let rows = jobs.iter().map(|job| {
        let pictures = format!("{}/{}", job.done, job.renders);
        let state =
            job.run_after_ms.filter(|_| job.state == State::Queued).and_then(time::waits_until);
        vec![
            job.job.to_string(),
            state.unwrap_or_else(|| job.state.to_string()),
            pictures,
            job.degraded.to_string(),
            time::date_and_time(job.accepted_at_ms),
            printable(&job.file_name),
        ]
    });
    answer(&jobs, &table(&["job", "state", "done", "degraded", "accepted", "file"], rows), json)
}

pub(super) fn rejections(rejections: &[RejectionRow], json: bool) -> io::Result<()> {
    let text: Vec<String> = rejections
        .iter()
        .map(|row| format!("{}\n{}", printable(&row.file_name), row.reason))
        .collect();
    answer(&rejections, &text.join("\n"), json)
}

/// How many ended how, and a row for each that is not done; all rows for programs.
pub(super) fn summary(summary: &Summary, pictures: &[HistoryRow], json: bool) -> io::Result<()> {
    let mut text = sum(summary);
    if !summary.is_done() {
        let rest = pictures.iter().filter(|picture| picture.state != State::Done);
        text += &format!("\n\n{}", history_table(rest));
    }
    answer(&pictures, &text, json)
}

/// "2 of 3 pictures done, 1 failed".
pub(super) fn sum(summary: &Summary) -> String {
    let Summary { done, degraded, failed, cancelled, .. } = *summary;
    let mut text = format!("{done} of {} done", count(summary.pictures as u64, "picture"));
    for (number, word) in [(degraded, "degraded"), (failed, "failed"), (cancelled, "cancelled")] {
        if number > 0 {
            text += &format!(", {number} {word}");
        }
    }
    text
}

pub(super) fn history_table<'p>(pictures: impl Iterator<Item = &'p HistoryRow>) -> String {
    let rows = pictures.map(|picture| {
        vec![
            format!("{}.{}", picture.job, picture.picture),
            state(picture),
            size(picture),
            picture.attempts.to_string(),
            picture.total_s.map_or(String::new(), |seconds| format!("{seconds:.2}")),
            picture.peak_bytes.map_or(String::new(), |bytes| (bytes >> 20).to_string()),
            picture.finished_at_ms.map_or(String::new(), time::date_and_time),
            what_became(picture).unwrap_or_default(),
            prompt(picture),
        ]
    });
    table(
        &["render", "state", "size", "tries", "s", "peak MiB", "ended", "picture", "prompt"],
        rows,
    )
}

/// The picture's path, or why there is none.
fn what_became(picture: &HistoryRow) -> Option<String> {
    let HistoryRow { path, error, cancel_reason, .. } = picture;
    path.clone().or_else(|| error.clone()).or_else(|| cancel_reason.clone())
}

fn state(picture: &HistoryRow) -> String {
    let waits = time::waits_until(picture.run_after_ms);
    match waits.filter(|_| picture.state == State::Queued) {
        Some(waits) => waits,
        None if picture.degraded => format!("{} (degraded)", picture.state),
        None => picture.state.to_string(),
    }
}

fn prompt(picture: &HistoryRow) -> String {
    let cut =
        if picture.prompt_cut == Some(true) { " (too long: its end was not seen)" } else { "" };
    beginning(&picture.prompt) + cut
}

/// What was made, or what was asked while nothing is made.
fn size(picture: &HistoryRow) -> String {
    let made = (picture.width, picture.height, picture.steps);
    match made {
        (Some(width), Some(height), Some(steps)) => format!("{width}x{height}/{steps}"),
        _ => format!("{}x{}/{}", picture.asked_width, picture.asked_height, picture.asked_steps),
    }
}

pub(super) fn show(pictures: &[HistoryRow], attempts: &[AttemptRow], json: bool) -> io::Result<()> {
    let rows = attempts.iter().map(|attempt| {
        vec![
            attempt.picture.to_string(),
            attempt.number.to_string(),
            attempt.outcome.to_string(),
            attempt.rung.clone(),
            attempt.stage.clone().unwrap_or_default(),
            format!("{:.2}", attempt.total_ms as f64 / 1000.0),
            (attempt.peak_bytes >> 20).to_string(),
            printable(attempt.message.as_deref().unwrap_or_default()),
        ]
    });
    let attempts_table =
        table(&["picture", "try", "outcome", "rung", "stage", "s", "peak MiB", "why"], rows);
    let text = format!("{}\n\n{attempts_table}", history_table(pictures.iter()));
    answer(&json!({ "pictures": pictures, "attempts": attempts }), &text, json)
}

pub(super) fn submitted(submitted: &Submitted, json: bool) -> io::Result<()> {
    let Submitted { jobs, waiting, warnings, .. } = submitted;
    let expected = expected(submitted.expected);
    if !waiting.is_empty() {
        let names = waiting.join(", ");
        let text =
            format!("{names} waits in the jobs folder for the daemon: zimaged run{expected}");
        let value = json!({
            "waiting": waiting, "expected": submitted.expected, "warnings": warnings,
        });
        return answer(&value, &text, json);
    }
    let lines: Vec<String> =
        jobs.iter().map(|taken| format!("{} is job {}", taken.file, taken.job)).collect();
    let ids: Vec<i64> = jobs.iter().map(|taken| taken.job).collect();
    let value = json!({ "jobs": ids, "expected": submitted.expected, "warnings": warnings });
    answer(&value, &(lines.join("\n") + &expected), json)
}

pub(super) fn checked(good: &CheckedJob, json: bool) -> io::Result<()> {
    let pictures = count(good.resolved.job.renders.len() as u64, "picture");
    let mut text = format!("{}: good, {pictures}{}", good.name, expected(good.expected));
    for warning in &good.warnings {
        text += &format!("\n  but: {warning}");
    }
    answer(good, &text, json)
}

/// How long a job takes, where that can be said.
fn expected(work: Option<ExpectedWork>) -> String {
    work.map_or(String::new(), |ExpectedWork { work_ms, is_estimate }| {
        format!(", {}", time::expected(work_ms, is_estimate))
    })
}

/// "1 picture", "2 pictures".
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn mistakes(mistakes: &JobMistakes, json: bool) -> io::Result<()> {
    answer(mistakes, mistakes.to_string().trim_end(), json)
}

/// Columns as wide as their widest cell; the last one as it is.
pub(super) fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    use unicode_width::UnicodeWidthStr;
    let rows: Vec<Vec<String>> =
        std::iter::once(heads.iter().map(ToString::to_string).collect()).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{:1$}", "", width - cell.width()));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
