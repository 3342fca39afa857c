//! A job file's mistakes, and what its author may not have meant, without running it.

use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::path::Path;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::agreement::{daemon_zone, other_clock};
use super::{ExpectedWork, QueueError, SizedPictures, prompt_length};
use crate::clock::{self, Clock, SystemClock};
use crate::config::{Config, Lists};
use crate::engine::{ModelDescription, TOKENS_MAX};
use crate::inputs::{InputLimits, InputUse, JobText, is_picture};
use crate::intake::random_seed;
use crate::job::spec::inputs::with_paths;
use crate::job::spec::{self, Outside, ResolvedJob, template};
use crate::job::times::Times;
use crate::job::warning::{self, ModelWants, Warning};
use crate::job::{Recipe, Render};
use crate::loras::LoraFolder;
use crate::named_files::NamedFiles;
use crate::problem::{self, Problem, Report, one_line};
use crate::table::check::shortened;

/// A job text without mistakes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckedJob {
    /// What people call the file.
    #[serde(rename = "file")]
    pub name: String,
    /// The text, with the prompts themselves in place of a file that it names.
    #[serde(skip)]
    pub content: Vec<u8>,
    /// What would be rendered; seeds that the text leaves open are null.
    #[serde(rename = "renders", serialize_with = "renders")]
    #[cfg_attr(test, schemars(with = "Vec<Render>"))]
    pub resolved: ResolvedJob,
    /// How many pictures it has, by model and size.
    pub asked: Vec<SizedPictures>,
    /// What is hardly meant.
    #[cfg_attr(test, schemars(with = "Vec<warning::WarningText>"))]
    pub warnings: Vec<Warning>,
    /// Its renders wait until then (UTC, milliseconds since the epoch); null where they need not.
    pub not_before_ms: Option<i64>,
    /// None of them is started after that (UTC, milliseconds since the epoch); null where that is
    /// not said.
    pub not_after_ms: Option<i64>,
    /// How long its pictures take; `None` where nobody can know, or did not ask.
    pub expected: Option<ExpectedWork>,
    /// Why nothing at all is started now, although a daemon runs: a pause, or a disk that takes
    /// nothing.
    pub stopped: Option<String>,
}

/// Seeds that the text leaves open are null.
fn renders<S: Serializer>(resolved: &ResolvedJob, serializer: S) -> Result<S::Ok, S::Error> {
    let renders = resolved.job.renders.iter().zip(&resolved.seed_is_drawn);
    serializer.collect_seq(renders.map(|(render, seed_is_drawn)| {
        let mut values = render.values();
        if *seed_is_drawn {
            values.insert("seed".to_owned(), Value::Null);
        }
        values
    }))
}

/// A job text with mistakes. For people, its text shows each of them with its line.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobMistakes {
    /// What people call the file.
    #[serde(rename = "file")]
    pub name: String,
    #[serde(skip)]
    pub content: Vec<u8>,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for JobMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobMistakes { name, content, problems } = self;
        Report { name, content, problems }.fmt(f)
    }
}

/// Reads the `content` of what people call `name` as the daemon of this configuration would; files
/// that it names are looked for from `folder`.
pub fn check(
    config: &Config,
    folder: &Path,
    name: String,
    content: Vec<u8>,
) -> Result<CheckedJob, QueueError> {
    // The daemon draws its own seeds; these are an example.
    let mut lists = Lists::beside(folder, &config.wildcards, random_seed);
    checked(config, folder, (name, content), &mut lists)
}

/// As [`check`], with what the text leaves open from `outside`.
pub(super) fn checked(
    config: &Config,
    folder: &Path,
    (name, content): (String, Vec<u8>),
    outside: &mut dyn Outside,
) -> Result<CheckedJob, QueueError> {
    let model = config.describe_model()?;
    let rules = config.rules(&model, daemon_zone(config))?;
    let now_ms = SystemClock.now_ms();
    let resolved = spec::resolve_bytes(&content, &rules, now_ms, outside);
    match with_files(config, resolved, &content, folder) {
        Ok(mut resolved) => {
            let times = resolved.job.times();
            let text = problem::utf8(&content).unwrap_or_default();
            let times_of_day = spec::times_of_day(text);
            let text = spec::with_moments(text, &times, &rules.time_zone);
            let content = whole(&text, folder, resolved.listed.take());
            let model = model_of(config, &resolved, model)?;
            let asked = SizedPictures::of(&model.name, &resolved.job.renders);
            let mut warnings = warnings_of(config, &model, &resolved)?;
            let zone = &rules.time_zone;
            let now = clock::within(now_ms, zone.clone());
            warnings.extend(warning::of_times(&times, &times_of_day, &now));
            warnings.extend(other_clock(zone, now_ms).filter(|_| times != Times::default()));
            let opening = times.opening(now_ms, &rules.time_zone);
            let not_before_ms = opening.map(|it| it.from_ms).filter(|from_ms| *from_ms > now_ms);
            let not_after_ms = times.not_after_ms;
            let (expected, stopped) = (None, None);
            Ok(CheckedJob {
                name,
                content,
                resolved,
                asked,
                warnings,
                not_before_ms,
                not_after_ms,
                expected,
                stopped,
            })
        }
        Err(_) if is_picture(&content) => Err(QueueError::Mistakes(not_a_job(name))),
        Err(mut problems) => {
            hint_at_lists(&name, &String::from_utf8_lossy(&content), &mut problems);
            Err(QueueError::Mistakes(JobMistakes { name, content, problems }))
        }
    }
}

/// The text that says everything itself, and means the same elsewhere: with the prompts of its
/// list, and with whole paths.
fn whole(text: &str, folder: &Path, listed: Option<Vec<String>>) -> Vec<u8> {
    let path = |path: &str| folder.join(path).to_string_lossy().into_owned();
    let text = with_paths(text, path);
    match listed {
        Some(prompts) => template::with_prompts(&text, &prompts).into_bytes(),
        None => text.into_bytes(),
    }
}

/// The job with its files looked at, or all that is wrong with it and with them.
fn with_files(
    config: &Config,
    mut resolved: Result<ResolvedJob, Vec<Problem>>,
    content: &[u8],
    folder: &Path,
) -> Result<ResolvedJob, Vec<Problem>> {
    let text = problem::utf8(content).unwrap_or_default();
    let files = NamedFiles {
        text: JobText { text, folder: Some(folder) },
        limits: InputLimits::from(&config.limits),
        pictures: InputUse::Check,
    };
    let job = resolved.as_mut().map(|resolved| &mut resolved.job).map_err(mem::take);
    // The texts of the miniature may lie in a folder that goes with them.
    let mut model = None;
    let loras = || match config.model_texts() {
        Ok(texts) => Ok(LoraFolder::of(config, model.insert(texts).place())),
        Err(error) => Err(vec![Problem::at(text, 0, format!("lora: {error}"), None)]),
    };
    // Nothing is kept, so nothing of the program's own can fail.
    files.take_in(job, loras).unwrap_or(Ok(())).and(resolved)
}

/// What a job is called that comes by standard input.
pub const STANDARD_INPUT: &str = "standard input";

/// What is told of a picture, of which no line is worth showing.
fn not_a_job(name: String) -> JobMistakes {
    let message = "this is a picture, and no job file".to_owned();
    let file = if name == STANDARD_INPUT { "PICTURE" } else { &name };
    let help = format!("to make it again, from what it says of itself: zimaged replay {file}");
    let problems = vec![Problem::at("", 0, message, Some(help))];
    JobMistakes { name, content: Vec::new(), problems }
}

/// A text that is no TOML at all, by its name either, may be a list of prompts.
fn hint_at_lists(name: &str, text: &str, problems: &mut [Problem]) {
    let [only] = problems else { return };
    let is_no_job = !name.ends_with(".toml") && only.message.starts_with("not valid TOML");
    let has_keys = |line: &str| line.contains('=') || line.starts_with('{');
    if is_no_job && !text.lines().any(has_keys) {
        let file = if name == STANDARD_INPUT { "-" } else { name };
        let help = format!("of a list of prompts, one a line: zimaged submit --prompts {file}");
        only.help = Some(help);
    }
}

/// How daemon.toml calls the model of a job, whose renders have it in common.
fn model_name(resolved: &ResolvedJob) -> &str {
    resolved.job.renders.first().map_or("", |render| render.model.as_str())
}

/// The job's own model; the `configured` one where it names none.
fn model_of(
    config: &Config,
    resolved: &ResolvedJob,
    configured: ModelDescription,
) -> Result<ModelDescription, QueueError> {
    let name = model_name(resolved);
    match config.with_model(name).filter(|_| !name.is_empty()) {
        Some(config) => Ok(config.describe_model()?),
        None => Ok(configured),
    }
}

/// By what the job's own model wants.
fn warnings_of(
    config: &Config,
    model: &ModelDescription,
    resolved: &ResolvedJob,
) -> Result<Vec<Warning>, QueueError> {
    let Some(config) = config.with_model(model_name(resolved)) else { return Ok(Vec::new()) };
    let defaults = config.rules(model, TimeZone::UTC)?.defaults;
    Ok(warnings(&config, model, &defaults.recipe, resolved))
}

fn warnings(
    config: &Config,
    model: &ModelDescription,
    defaults: &Recipe,
    resolved: &ResolvedJob,
) -> Vec<Warning> {
    let wants = ModelWants { name: &model.name, guidance: model.guidance, steps: model.steps };
    let mut warnings = warning::warnings(resolved, defaults, wants);
    let cut = cut_prompts(config, &resolved.job.renders);
    warnings.extend(
        cut.into_iter().map(|prompt| Warning::CutPrompt {
            beginning: beginning(prompt),
            tokens_max: TOKENS_MAX,
        }),
    );
    warnings
}

/// The prompts that the model's tokenizer, where it is at hand, cuts.
fn cut_prompts<'r>(config: &Config, renders: &'r [Render]) -> Vec<&'r str> {
    let prompts =
        renders.iter().flat_map(|render| [&render.recipe.prompt, &render.recipe.negative_prompt]);
    // No token is shorter than a byte, and the template takes some: shorter prompts are never cut.
    let long: BTreeSet<&str> =
        prompts.map(String::as_str).filter(|prompt| prompt.len() > TOKENS_MAX / 2).collect();
    if long.is_empty() {
        return Vec::new();
    }
    let Some(tokenizer) = prompt_length::of_model(config) else { return Vec::new() };
    let is_cut = |prompt: &&str| tokenizer.encode(prompt).is_ok_and(|tokens| tokens.cut);
    long.into_iter().filter(is_cut).collect()
}

/// The beginning of a prompt in one line.
pub fn beginning(prompt: &str) -> String {
    shortened(&one_line(prompt))
}
