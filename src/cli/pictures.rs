//! Pictures and tries as text for people.

use std::collections::BTreeMap;

use super::table::{self, Give, TableColumn, is_narrow, table, terminal_width};
use crate::attempt::Outcome as Ended;
use crate::engine::provenance::{PartOrigin, PartSource};
use crate::job::state::State;
use crate::moment;
use crate::problem::printable;
use crate::queue::beginning;
use crate::store::{AttemptRow, HistoryRow, JobRow};

/// So many different failures are told in full.
const FAILURES_MAX: usize = 10;

/// So many pictures are named with a failure.
const NAMED_MAX: usize = 5;

const PICTURES: [TableColumn<'static>; 10] = [
    ("render", Give::Nothing),
    ("state", Give::Nothing),
    ("size", Give::All),
    ("varies", Give::All),
    ("tries", Give::All),
    ("s", Give::All),
    ("peak MiB", Give::All),
    ("ended", Give::All),
    ("picture", Give::Ends),
    // What people look for.
    ("prompt", Give::Last),
];

/// A row for each picture, and under it why some have failed.
pub(super) fn list(pictures: &[&HistoryRow], has_daemon: bool) -> String {
    list_apart(pictures, &[], has_daemon)
}

/// As [`list`], with what sets each picture `apart`.
pub(super) fn list_apart(pictures: &[&HistoryRow], apart: &[String], has_daemon: bool) -> String {
    let apart = apart.iter().map(String::as_str).chain(std::iter::repeat(""));
    let rows = pictures.iter().zip(apart);
    let width = terminal_width();
    let state = |picture| state_in(picture, has_daemon, is_narrow(width));
    let rows: Vec<Vec<String>> =
        rows.map(|(picture, apart)| row(picture, state(picture), apart)).collect();
    let moments = pictures.iter().flat_map(|picture| moments(picture));
    let mut text = table::with_zone(table(&PICTURES, &rows, width), moments);
    if let Some(failures) = failures(pictures) {
        text += &format!("\n\n{failures}");
    }
    text
}

/// The times in the row of a picture, by column.
fn moments(picture: &HistoryRow) -> impl Iterator<Item = (&'static str, i64)> {
    let waits = waits_until(picture).map(|at_ms| ("state", at_ms));
    picture.finished_at_ms.map(|at_ms| ("ended", at_ms)).into_iter().chain(waits)
}

fn waits_until(picture: &HistoryRow) -> Option<i64> {
    let is_to_come = picture.state == State::Queued && moment::is_to_come(picture.run_after_ms);
    is_to_come.then_some(picture.run_after_ms)
}

fn row(picture: &HistoryRow, state: String, apart: &str) -> Vec<String> {
    vec![
        name(picture),
        state,
        size(picture),
        apart.to_owned(),
        picture.attempts.to_string(),
        picture.took_s().map_or(String::new(), |seconds| format!("{seconds:.2}")),
        picture.took_bytes().map_or(String::new(), |bytes| (bytes >> 20).to_string()),
        picture.finished_at_ms.map_or(String::new(), moment::date_and_time),
        what_became(picture),
        prompt(picture),
    ]
}

/// What a part of a model is and where it was fetched from, with hashes cut to what tells them
/// apart.
pub(super) fn origin(part: &PartOrigin) -> String {
    let PartOrigin { part, sha256, source } = part;
    let sha256 = sha256.as_deref().map_or("not hashed yet", start_of_hash);
    let source = source.as_ref().map_or(String::new(), |source| {
        let PartSource { hub, repository, revision } = source;
        let revision = start_of_hash(revision);
        printable(&format!(", from {repository} at {revision} ({hub})"))
    });
    format!("{}: {sha256}{source}", part.word())
}

/// Two files or revisions that anybody has differ in so many characters.
const HASH_CHARS: usize = 12;

fn start_of_hash(hash: &str) -> &str {
    &hash[..hash.floor_char_boundary(HASH_CHARS)]
}

/// The picture's path, or in a few words why it has failed.
fn what_became(picture: &HistoryRow) -> String {
    let words = picture.error_code.map(|code| format!("({})", code.to_string().replace('_', " ")));
    picture.path.clone().or(words).unwrap_or_default()
}

fn name(picture: &HistoryRow) -> String {
    format!("{}.{}", picture.job, picture.picture)
}

/// The word for a job's or a picture's state while it is `stopping`: what a dead daemon left is
/// cancelled by the next one.
fn stopping_word(has_daemon: bool) -> &'static str {
    if has_daemon { "stopping" } else { "to be cancelled" }
}

/// The word for a job's state; `has_daemon` says whether anything can be running.
pub(super) fn job_state(job: &JobRow, has_daemon: bool) -> String {
    match job.is_stopping() {
        true => stopping_word(has_daemon).to_owned(),
        false => state_word(job.state, has_daemon),
    }
}

/// The counts of a job's pictures that are running, in words.
pub(super) fn running(job: &JobRow, has_daemon: bool) -> [(i64, String); 2] {
    let running = state_word(State::Running, has_daemon);
    let stopping = stopping_word(has_daemon).to_owned();
    [(job.running - job.stopping, running), (job.stopping, stopping)]
}

/// The word for a state; `has_daemon` says whether anything can be running.
pub(super) fn state_word(state: State, has_daemon: bool) -> String {
    match state {
        State::Running if !has_daemon => "interrupted".to_owned(),
        state => state.to_string(),
    }
}

/// Its state; `has_daemon` says whether anything can be running.
pub(super) fn state(picture: &HistoryRow, has_daemon: bool) -> String {
    state_in(picture, has_daemon, false)
}

/// The same, with a short time where there `is_narrow` room.
fn state_in(picture: &HistoryRow, has_daemon: bool, is_narrow: bool) -> String {
    let from = if is_narrow { moment::from_short } else { moment::from };
    match waits_until(picture).and_then(from) {
        Some(waits) => waits,
        None if picture.stopping => stopping_word(has_daemon).to_owned(),
        None if picture.degraded => format!("{} (degraded)", picture.state),
        None => state_word(picture.state, has_daemon),
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

/// Each reason once, with the pictures that it is the reason for.
fn failures(pictures: &[&HistoryRow]) -> Option<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for picture in pictures {
        if let Some(reason) = &picture.error {
            by_reason.entry(reason).or_default().push(name(picture));
        }
    }
    let told = by_reason.iter().take(FAILURES_MAX);
    let mut lines: Vec<String> =
        told.map(|(reason, names)| format!("{}: {}", named(names), printable(reason))).collect();
    match by_reason.len().saturating_sub(FAILURES_MAX) {
        0 => (),
        more => lines.push(format!("and {more} other reasons")),
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn named(names: &[String]) -> String {
    let first = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

const ATTEMPTS: [TableColumn<'static>; 8] = [
    ("picture", Give::Nothing),
    ("try", Give::Nothing),
    ("outcome", Give::Nothing),
    ("rung", Give::Nothing),
    ("stage", Give::All),
    ("s", Give::All),
    ("peak MiB", Give::All),
    ("why", Give::Nothing),
];

/// As [`ATTEMPTS`], where rungs and reasons stand below.
const ATTEMPTS_NARROW: [TableColumn<'static>; 6] = [
    ("picture", Give::Nothing),
    ("try", Give::Nothing),
    ("outcome", Give::Ends),
    ("stage", Give::All),
    ("s", Give::All),
    ("peak MiB", Give::All),
];

/// The seconds of a try. Nobody knows those of one whose worker or daemon died.
fn took(attempt: &AttemptRow) -> String {
    match attempt.took_s() {
        Some(seconds) => format!("{seconds:.2}"),
        None if attempt.took_unknown() => "unknown".to_owned(),
        None => String::new(),
    }
}

/// A row for each try. Where a terminal is too narrow for it, how each was rendered and why it
/// ended stands below in whole sentences, for whoever folds them.
pub(super) fn attempts<'a>(
    attempts: impl Iterator<Item = &'a AttemptRow>,
    has_daemon: bool,
) -> String {
    let attempts: Vec<&AttemptRow> = attempts.collect();
    let rows: Vec<Vec<String>> =
        attempts.iter().map(|attempt| attempt_row(attempt, has_daemon)).collect();
    let width = terminal_width();
    let whole = table(&ATTEMPTS, &rows, None);
    if table::fits(&whole, width) {
        return whole;
    }
    let names = ATTEMPTS_NARROW.map(|(name, _)| name);
    let kept = |(cell, (name, _)): (&String, &TableColumn<'static>)| {
        names.contains(name).then(|| cell.clone())
    };
    let narrow: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().zip(&ATTEMPTS).filter_map(kept).collect()).collect();
    let reasons: Vec<String> = attempts.iter().map(|attempt| reason(attempt)).collect();
    format!("{}\n\n{}", table(&ATTEMPTS_NARROW, &narrow, width), reasons.join("\n"))
}

fn attempt_row(attempt: &AttemptRow, has_daemon: bool) -> Vec<String> {
    let outcome = match attempt.outcome {
        Ended::Running if !has_daemon => Ended::Interrupted,
        outcome => outcome,
    };
    vec![
        attempt.picture.to_string(),
        attempt.number.to_string(),
        outcome.to_string(),
        attempt.rung.clone(),
        attempt.stage.map_or(String::new(), |stage| stage.to_string()),
        took(attempt),
        attempt.took_bytes().map_or(String::new(), |bytes| (bytes >> 20).to_string()),
        printable(attempt.message.as_deref().unwrap_or_default()),
    ]
}

/// "picture 1, try 2: device/full/whole 256x256 8 steps; out of memory".
fn reason(attempt: &AttemptRow) -> String {
    let AttemptRow { picture, number, rung, message, .. } = attempt;
    let why = message.as_deref().map(|why| format!("; {}", printable(why))).unwrap_or_default();
    format!("picture {picture}, try {number}: {rung}{why}")
}
