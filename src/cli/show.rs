//! `zimaged show`: a job with its pictures and their tries, or all that is known of one picture.

use std::collections::BTreeSet;
use std::num::NonZero;

use clap_complete::engine::ArgValueCompleter;

use super::completions::job_ids;
use super::fold::folded;
use super::{Outcome, pictures, print, whole};
use crate::attempt::Outcome as Ended;
use crate::config::Config;
use crate::job::AskedPrecision;
use crate::job::state::{ShownState, State};
use crate::moment;
use crate::problem::{one_line, printable};
use crate::queue::{Queue, Shown, Varying, card_use};
use crate::store::{AttemptRow, HistoryRow, PictureFilter, Selection};

/// So many pictures are shown to people unless they ask for more.
const PICTURES_SHOWN: u32 = 50;

#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// A job (12) or one of its renders (12.3)
    #[arg(value_parser = str::parse::<Selection>, add = ArgValueCompleter::new(job_ids))]
    what: Selection,
    /// Only pictures in this state: queued, running, stopping, done, failed, cancelled
    #[arg(long)]
    state: Option<ShownState>,
    /// At most so many pictures; 50 unless given, all with --json
    #[arg(long, value_parser = whole::<NonZero<u32>>)]
    limit: Option<NonZero<u32>>,
}

pub(super) async fn show(config: &Config, args: &ShowArgs, json: bool) -> Outcome {
    let given = args.limit.map(NonZero::get);
    let limit = given.or((!json).then_some(PICTURES_SHOWN));
    let filter = PictureFilter { state: args.state, after: None, limit };
    let shown = Queue::open_or_empty(config).await?.show(args.what, &filter).await?;
    let mut text = match (args.what, shown.pictures.as_slice()) {
        (Selection::Render { .. }, [picture]) => render(&shown, picture),
        _ => job(&shown),
    };
    if let Some(state) = args.state.filter(|_| shown.pictures.is_empty()) {
        text += &format!("\n\nno picture of it is {state}");
    }
    print::answer(&shown, &folded(&text), json)?;
    Ok(0)
}

fn job(shown: &Shown) -> String {
    let mut text = summary(shown);
    if let Some(held) = &shown.held {
        text += &format!("\nwaits for its model: {}", printable(held));
    }
    for reason in &shown.cancel_reasons {
        text += &format!("\ncancelled: {}", printable(reason));
    }
    if !shown.varies.is_empty() {
        let varies = shown.varies.iter().map(|varying| values(varying, shown.job.renders));
        let varies: Vec<String> = varies.collect();
        let among = if shown.compares_all() { "varies" } else { "varies in these" };
        text += &format!("\n{among}: {}", varies.join(", "));
    }
    if !shown.pictures.is_empty() {
        text += &format!("\n\n{}", of(shown));
    }
    if shown.left_out > 0 {
        let all = shown.left_out + shown.pictures.len() as u64;
        text += &format!("\n\nand {} more: --limit {all} or --state", shown.left_out);
    }
    if !shown.missing.is_empty() {
        let pictures = print::count(shown.missing.len() as u64, "picture");
        text += &format!("\n\n{pictures} not in {} any more; {}", shown.outputs, again(shown));
    }
    let uneven = uneven(shown);
    if !uneven.is_empty() {
        text += &format!("\n\n{}", pictures::attempts(uneven.into_iter(), shown.has_daemon));
    }
    text
}

/// "guidance (0, 3.5)", "prompt (a fox, an owl and 98 more)", of so many pictures.
fn values(varying: &Varying, pictures: i64) -> String {
    let Varying { parameter, values, count } = varying;
    let more = count.saturating_sub(values.len());
    if more > 0 && usize::try_from(pictures).is_ok_and(|it| varying.is_own_seed(it)) {
        return "seed (each its own)".to_owned();
    }
    let own = format!("{parameter} ");
    let values: Vec<&str> =
        values.iter().map(|value| value.strip_prefix(&own).unwrap_or(value)).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{parameter} ({}{more})", values.join(", "))
}

fn of(shown: &Shown) -> String {
    let pictures: Vec<&HistoryRow> = shown.pictures.iter().collect();
    pictures::list_apart(&pictures, &shown.apart, shown.has_daemon)
}

/// What brings pictures back whose files are gone.
fn again(shown: &Shown) -> String {
    format!("to render what is missing again: zimaged retry --missing {}", shown.job.job)
}

/// The tries at pictures that were not simply made.
fn uneven(shown: &Shown) -> Vec<&AttemptRow> {
    let is_uneven = |attempt: &&AttemptRow| attempt.number > 1 || attempt.outcome != Ended::Done;
    let attempts = || shown.attempts.iter();
    let pictures: BTreeSet<i64> = attempts().filter(is_uneven).map(|it| it.picture).collect();
    attempts().filter(|attempt| pictures.contains(&attempt.picture)).collect()
}

/// What the job is and how far it is, before its pictures.
fn summary(shown: &Shown) -> String {
    let Shown { job, has_daemon, .. } = shown;
    let name = printable(&job.file_name);
    let first = format!("job {} ({name}): {} of {} done", job.job, job.done, job.renders);
    let [running, stopping] = pictures::running(job, *has_daemon);
    let counted = |number: i64, word: &str| (number, word.to_owned());
    let counts = [
        counted(job.degraded, "degraded"),
        counted(job.failed, "failed"),
        counted(job.cancelled, "cancelled"),
        running,
        stopping,
        counted(job.queued, "queued"),
    ];
    format!("{}\n{}", print::with_counts(first, counts), facts(shown).join(", "))
}

fn facts(shown: &Shown) -> Vec<String> {
    let Shown { job, time_zone, .. } = shown;
    let mut facts = vec![format!("taken in {}", moment::dated(job.accepted_at_ms))];
    facts.extend(job.ended_at_ms.map(|at_ms| format!("ended {}", moment::dated(at_ms))));
    facts.extend(job.run_after_ms.and_then(moment::starts));
    let is_left = !job.has_ended();
    let end = job.not_after_ms.filter(|_| is_left);
    facts.extend(end.map(|at_ms| format!("not after {}", moment::soon(at_ms))));
    let window = job.window.as_ref().filter(|_| is_left);
    facts.extend(window.map(|window| format!("window {window} {time_zone}")));
    if !job.model.is_empty() {
        facts.push(format!("model {}", printable(&job.model)));
    }
    facts.push(format!("priority {}", job.priority));
    if !job.tags.0.is_empty() {
        facts.push(format!("tags {}", job.tags.0.join(" ")));
    }
    facts.extend(job.retry_of.map(|of| format!("retry of job {of}")));
    facts
}

/// Everything about one picture, a line each.
fn render(shown: &Shown, picture: &HistoryRow) -> String {
    let mut lines = asked(shown, picture);
    lines.extend(made(shown, picture));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    let mut text = lines.join("\n");
    if !shown.attempts.is_empty() {
        text += &format!("\n\n{}", pictures::attempts(shown.attempts.iter(), shown.has_daemon));
    }
    text
}

type Line = (&'static str, String);

fn asked(shown: &Shown, picture: &HistoryRow) -> Vec<Line> {
    let job = &shown.job;
    let mut lines = vec![
        ("render", format!("{}.{} of {}", picture.job, picture.picture, printable(&job.file_name))),
        ("state", pictures::state(picture, shown.has_daemon)),
        ("prompt", one_line(&picture.prompt)),
    ];
    lines.extend(picture.asked_prompt.as_ref().map(|asked| ("asked as", one_line(asked))));
    if !picture.negative_prompt.is_empty() {
        lines.push(("negative prompt", one_line(&picture.negative_prompt)));
    }
    lines.push(("seed", picture.seed.to_string()));
    lines.push(("guidance", guidance(picture)));
    lines.push(("sampler", picture.sampler.word().to_owned()));
    if picture.precision != AskedPrecision::Full {
        lines.push(("precision", picture.precision.word().to_owned()));
    }
    lines.extend(picture.lora.0.iter().map(|lora| ("LoRA", format!("{lora}, {}", lora.sha256))));
    if !picture.init_image.is_empty() {
        lines.push(("begins with", picture.init_image.clone()));
        lines.push(("strength", picture.strength.to_string()));
    }
    if !picture.mask.is_empty() {
        lines.push(("mask", picture.mask.clone()));
    }
    let HistoryRow { asked_width, asked_height, asked_steps, .. } = picture;
    lines.push(("asked", format!("{asked_width}x{asked_height}, {asked_steps} steps")));
    if picture.starred {
        lines.push(("star", "yes: history prune keeps it".to_owned()));
    }
    // What has ended keeps the one that it had, whatever its job got later.
    let is_open = matches!(picture.state, State::Queued | State::Running);
    if is_open && picture.priority != job.priority {
        lines.push(("priority", format!("{}, of its own", picture.priority)));
    }
    lines.push(("job", facts(shown).join(", ")));
    let held = shown.held.iter().filter(|_| picture.state == State::Queued);
    lines.extend(held.map(|held| ("waits", printable(held))));
    lines
}

fn guidance(picture: &HistoryRow) -> String {
    let mut text = picture.guidance.to_string();
    if picture.guidance_normalization > 0.0 {
        text += &format!(", normalization {}", picture.guidance_normalization);
    }
    if picture.guidance_truncation < 1.0 {
        text += &format!(", truncation {}", picture.guidance_truncation);
    }
    text
}

fn made(shown: &Shown, picture: &HistoryRow) -> Vec<Line> {
    let mut lines = Vec::new();
    if let (Some(width), Some(height), Some(steps)) = (picture.width, picture.height, picture.steps)
    {
        let word = if picture.state == State::Done { "made" } else { "last tried" };
        lines.push((word, format!("{width}x{height}, {steps} steps")));
    }
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("rung", picture.rung.clone());
    add("model", picture.model.clone());
    for part in &picture.parts.0 {
        add("weights", Some(pictures::origin(part)));
    }
    add("device", picture.device.clone());
    add("seconds", picture.took_s().map(|total_s| seconds(total_s, picture)));
    add("peak", picture.took_bytes().map(|bytes| format!("{} MiB", bytes >> 20)));
    add("card", card_use(picture));
    add("ended", picture.finished_at_ms.map(moment::dated));
    let is_gone = shown.missing.contains(&picture.picture);
    let gone = if is_gone { format!(", which is gone; {}", again(shown)) } else { String::new() };
    add("picture", picture.path.as_ref().map(|path| format!("{}/{path}{gone}", shown.outputs)));
    add("cancelled", picture.cancel_reason.clone());
    add("failure", picture.error.as_ref().map(|error| printable(error)));
    lines
}

fn seconds(total_s: f64, picture: &HistoryRow) -> String {
    let parts = [
        ("text", picture.text_encode_s),
        ("denoising", picture.denoise_s),
        ("decoding", picture.vae_decode_s),
        ("file", picture.picture_encode_s),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter_map(|(name, seconds)| Some(format!("{name} {:.2}", (*seconds)?)))
        .collect();
    format!("{total_s:.2} ({})", parts.join(", "))
}
