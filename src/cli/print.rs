//! Answers as text for people or JSON for programs.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::fold::folded;
use super::pictures;
use super::table::{self, Give, TableColumn, is_narrow, table, terminal_width};
use crate::job::state::State;
use crate::moment;
use crate::problem::{printable, printable_lines};
use crate::queue::{
    CheckedJob, ExpectedWork, JobMistakes, SizedPictures, Submitted, Summary, Waited,
};
pub(super) use crate::spelling::count;
use crate::spelling::without_codes;
use crate::store::{HistoryRow, JobRow, RejectionRow};

/// So many failed pictures are told after a wait.
const FAILED_MAX: usize = 20;

/// One answer: `text` for people, `value` for programs. A closed pipe ends the program's output,
/// not the program. Whatever came from outside, nothing in the text can speak to the terminal; what
/// must not begin a line of its own either, whoever has put it into the text has made printable.
pub(super) fn answer(value: &impl Serialize, text: &str, json: bool) -> io::Result<()> {
    match json {
        true => line(&serde_json::to_string_pretty(value)?),
        false => line(&printable_lines(&without_codes(text))),
    }
}

/// A text and the end of its line, see [`answer`].
pub(super) fn line(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

const JOBS: [TableColumn<'static>; 11] = [
    ("job", Give::Nothing),
    ("state", Give::Nothing),
    // What became of it is kept longest.
    ("done", Give::All),
    ("failed", Give::All),
    ("degraded", Give::All),
    ("ended", Give::All),
    ("priority", Give::All),
    ("model", Give::All),
    ("accepted", Give::All),
    ("tags", Give::All),
    ("file", Give::EndsAndAll),
];

/// Jobs as text, where there are some. What stands still because no daemon runs (`has_daemon`) is
/// not called running. No more than `limit` were asked for.
pub(super) fn jobs(jobs: &[JobRow], limit: u32, has_daemon: bool) -> String {
    let width = terminal_width();
    let is_narrow = is_narrow(width);
    let rows: Vec<Vec<String>> = jobs.iter().map(|row| job(row, has_daemon, is_narrow)).collect();
    let mut text = table::with_zone(table(&JOBS, &rows, width), jobs.iter().flat_map(moments));
    if !has_daemon && jobs.iter().any(|job| job.running > job.stopping) {
        text += "\n\nno daemon is running; what was interrupted goes on with: zimaged run";
    }
    if jobs.len() as u64 == u64::from(limit) {
        text += &format!("\n\nno more than {limit} are listed: --limit");
    }
    text
}

/// The times in the row of a job, by column.
fn moments(job: &JobRow) -> impl Iterator<Item = (&'static str, i64)> {
    let ended = job.ended_at_ms.map(|at_ms| ("ended", at_ms));
    let waits = waits_until(job).map(|at_ms| ("state", at_ms));
    [("accepted", job.accepted_at_ms)].into_iter().chain(ended).chain(waits)
}

fn waits_until(job: &JobRow) -> Option<i64> {
    job.run_after_ms.filter(|at_ms| job.state == State::Queued && moment::is_to_come(*at_ms))
}

fn job(job: &JobRow, has_daemon: bool, is_narrow: bool) -> Vec<String> {
    let from = |at_ms| if is_narrow { moment::from_short(at_ms) } else { moment::from(at_ms) };
    let at = |at_ms| if is_narrow { moment::short(at_ms) } else { moment::date_and_time(at_ms) };
    let waits = waits_until(job).and_then(from);
    let unless_zero = |number: i64| if number == 0 { String::new() } else { number.to_string() };
    let of = job.retry_of.map_or(String::new(), |of| format!(" (retry of {of})"));
    vec![
        job.job.to_string(),
        waits.unwrap_or_else(|| pictures::job_state(job, has_daemon)),
        format!("{}/{}", job.done, job.renders),
        unless_zero(job.failed),
        unless_zero(job.degraded),
        job.ended_at_ms.map_or(String::new(), at),
        unless_zero(job.priority),
        job.model.clone(),
        at(job.accepted_at_ms),
        job.tags.0.join(" "),
        printable(&job.file_name) + &of,
    ]
}

pub(super) fn rejections(rejections: &[RejectionRow], json: bool) -> io::Result<()> {
    let text: Vec<String> = rejections
        .iter()
        .map(|row| format!("{}\n{}", printable(&row.file_name), folded_report(&row.reason)))
        .collect();
    let text = if text.is_empty() { "nothing was set aside".to_owned() } else { text.join("\n") };
    answer(&rejections, &text, json)
}

/// A report of mistakes, folded but for the lines of the file that it shows: the marks below them
/// stand at their columns.
fn folded_report(report: &str) -> String {
    let is_shown = |line: &&str| line.starts_with("    ");
    let cut =
        |line: &str| terminal_width().map_or(line.to_owned(), |width| table::cut(line, width));
    let lines = report.lines().map(|line| if is_shown(&line) { cut(line) } else { folded(line) });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text, and how many there are of each that there are any of: ", 1 failed".
pub(super) fn with_counts<N: Display + Default + PartialOrd>(
    mut text: String,
    counts: impl IntoIterator<Item = (N, impl Display)>,
) -> String {
    for (number, word) in counts {
        if number > N::default() {
            text += &format!(", {number} {word}");
        }
    }
    text
}

/// "2 of 3 pictures done, 1 failed".
pub(super) fn sum(summary: &Summary) -> String {
    let Summary { done, degraded, failed, cancelled, .. } = *summary;
    let text = format!("{done} of {} done", count(summary.pictures as u64, "picture"));
    with_counts(text, [(degraded, "degraded"), (failed, "failed"), (cancelled, "cancelled")])
}

/// How many ended how, and a row for each that has failed; all rows for programs.
pub(super) fn waited(waited: &Waited, json: bool) -> io::Result<()> {
    let mut text = sum(&waited.summary);
    let reasons = waited.pictures.iter().filter_map(|picture| picture.cancel_reason.as_deref());
    for reason in reasons.collect::<BTreeSet<_>>() {
        text += &format!("\ncancelled: {reason}");
    }
    let has_failed = |picture: &&HistoryRow| picture.state == State::Failed;
    let rows: Vec<&HistoryRow> =
        waited.pictures.iter().filter(has_failed).take(FAILED_MAX).collect();
    if !rows.is_empty() {
        text += &format!("\n\n{}", pictures::list(&rows, true));
    }
    let failed = waited.summary.failed;
    if failed > rows.len() {
        text += &format!("\n\nand {} more that failed", failed - rows.len());
    }
    answer(waited, &text, json)
}

/// What was handed over, and what is promised of it.
pub(super) fn submitted(submitted: &Submitted) -> String {
    let Submitted { jobs, waiting, starts, ends, stopped, .. } = submitted;
    let pictures = count(submitted.pictures as u64, "picture") + &asked(&submitted.asked);
    let work = pictures + &expected(submitted.expected);
    let mut lines: Vec<String> =
        jobs.iter().map(|taken| format!("{} is job {}", taken.file, taken.job)).collect();
    if !waiting.is_empty() {
        let names = left(submitted);
        let verb = if names.len() == 1 { "waits" } else { "wait" };
        let names = names.join(", ");
        lines.push(format!("{names} {verb} in the jobs folder for the daemon: zimaged run"));
    }
    let mut text = lines.join("\n");
    text += &match lines.len() + submitted.refused.len() {
        1 if waiting.is_empty() => format!(", {work}"),
        1 => format!("\n{work}"),
        _ => format!("\ntogether {work}"),
    };
    // Of a single job the turn says when it is begun, which is no earlier.
    let is_said = starts.len() == 1 && begins_later(submitted.expected);
    // Of a single job the line above has the name.
    let of = |file: &str| match lines.len() + submitted.refused.len() {
        1 => String::new(),
        _ => printable(file) + " ",
    };
    for job in starts.iter().filter(|_| !is_said) {
        if let Some(starts) = moment::starts(job.not_before_ms) {
            text += &format!("\n{}{starts}", of(&job.file));
        }
    }
    for job in ends {
        text += &format!("\n{}{}", of(&job.file), moment::ends(job.not_after_ms));
    }
    if let Some(stopped) = stopped {
        text += &format!("\n{stopped}");
    }
    text
}

/// The files that wait as they were handed over, and as they are called in the jobs folder where
/// that is not the same.
fn left(submitted: &Submitted) -> Vec<String> {
    let renamed = submitted.renamed.iter().map(|left| (left.name.as_str(), left.file.as_str()));
    let renamed: HashMap<&str, &str> = renamed.collect();
    let told = submitted.waiting.iter().map(|name| match renamed.get(name.as_str()) {
        Some(file) => printable(&format!("{file} (as {name})")),
        None => printable(name),
    });
    told.collect()
}

/// A job of a file is `called` so; of one that options make nobody knows a name.
pub(super) fn checked(good: &CheckedJob, called: Option<&str>, json: bool) -> io::Result<()> {
    let pictures = count(good.resolved.job.renders.len() as u64, "picture") + &asked(&good.asked);
    let called = called.map(|name| format!("{name}: ")).unwrap_or_default();
    let mut text = format!("{called}good, {pictures}{}", expected(good.expected));
    // The turn says when it is begun, which is no earlier.
    let starts = good.not_before_ms.filter(|_| !begins_later(good.expected));
    if let Some(starts) = starts.and_then(moment::starts) {
        text += &format!(", {starts}");
    }
    if let Some(not_after_ms) = good.not_after_ms {
        text += &format!(", {}", moment::ends(not_after_ms));
    }
    if let Some(stopped) = &good.stopped {
        text += &format!("\n  but: {stopped}");
    }
    for warning in &good.warnings {
        text += &format!("\n  but: {warning}");
    }
    answer(good, &text, json)
}

/// So many sizes, or models, are named.
const ASKED_MAX: usize = 3;

/// " of 256x256 by the miniature (zimage-mini)": whoever has configured no model hardly means it.
fn asked(asked: &[SizedPictures]) -> String {
    let sizes = each_once(asked.iter().map(|it| format!("{}x{}", it.width, it.height)));
    let models = each_once(asked.iter().map(|it| match it.miniature {
        true => format!("the miniature ({})", it.model),
        false => printable(&it.model),
    }));
    format!(" of {sizes} by {models}")
}

/// The first of them, each once, and how many more there are.
fn each_once(names: impl Iterator<Item = String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    let more = once.len().saturating_sub(ASKED_MAX);
    once.truncate(ASKED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    once.join(", ") + &more
}

/// Whether the turn of a job is known, and not just now.
fn begins_later(work: Option<ExpectedWork>) -> bool {
    work.and_then(|work| work.starts_at_ms).is_some_and(moment::is_later)
}

/// How long jobs take and when they are done, where that can be said.
fn expected(work: Option<ExpectedWork>) -> String {
    let Some(work) = work else {
        return ", how long it takes is known once the daemon has loaded the model".to_owned();
    };
    let ExpectedWork { work_ms, is_estimate, starts_at_ms, done_at_ms, .. } = work;
    let mut text = format!(", {}", moment::expected(work_ms, is_estimate));
    if let Some(starts_at_ms) = starts_at_ms.filter(|at_ms| moment::is_later(*at_ms)) {
        text += &format!(", begun at about {}", moment::soon(starts_at_ms));
    }
    if let Some(done_at_ms) = done_at_ms {
        text += &format!(", done at about {}", moment::soon(done_at_ms));
    }
    if let Some(done_ms) = work.done_if_started_ms {
        text += &if_started(done_ms, work.uncounted_files);
    }
    text + &self::too_late(work.too_late, "picture")
}

/// When all is done by a daemon that nobody has started yet.
fn if_started(done_ms: i64, uncounted_files: u64) -> String {
    let left = moment::until(done_ms);
    let at = moment::soon(done_ms);
    let besides = match uncounted_files {
        0 => String::new(),
        1 => ", not counting 1 other file that waits in the jobs folder".to_owned(),
        _ => format!(", not counting {uncounted_files} other files that wait in the jobs folder"),
    };
    format!(", no daemon runs: started now it would be done in about {left}, at {at}{besides}")
}

/// How many are not started, because their job's time is over before their turn.
pub(super) fn too_late(number: u64, thing: &str) -> String {
    match number {
        0 => String::new(),
        1 => format!(", 1 {thing} too late for its time"),
        _ => format!(", {} too late for their time", count(number, thing)),
    }
}

pub(super) fn mistakes(mistakes: &JobMistakes, json: bool) -> io::Result<()> {
    answer(mistakes, mistakes.to_string().trim_end(), json)
}

/// For people.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
