//! A job file's mistakes, and what its author may not have meant, without running it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::QueueError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::engine::{EngineKind, TOKENS_MAX, Tokenizer};
use crate::job::{Job, Render, spec};
use crate::problem::{Problem, Report, printable};
use crate::table::check::shortened;

/// A job text without mistakes.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedJob {
    /// What people call the file.
    #[serde(rename = "file")]
    pub name: String,
    #[serde(skip)]
    pub content: Vec<u8>,
    /// Seeds that the text leaves open are 0 here: they are drawn when the job is taken in.
    #[serde(rename = "renders", serialize_with = "renders")]
    pub job: Job,
    #[serde(serialize_with = "texts")]
    pub warnings: Vec<Warning>,
}

fn renders<S: Serializer>(job: &Job, serializer: S) -> Result<S::Ok, S::Error> {
    job.renders.serialize(serializer)
}

fn texts<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(ToString::to_string))
}

/// What is no mistake, but hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A negative prompt without guidance, in so many pictures.
    UnheardNegativePrompt { pictures: usize },
    /// The largest seed has bits that change nothing.
    LongSeed { seed: u64 },
    /// A prompt, of which this is the beginning, is longer than what the model reads.
    CutPrompt { beginning: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnheardNegativePrompt { pictures } => write!(
                f,
                "negative_prompt does nothing in {pictures} picture{}: it counts only with \
                 guidance above 0",
                if *pictures == 1 { "" } else { "s" }
            ),
            Warning::LongSeed { seed } => write!(
                f,
                "only the lower 32 bits of a seed count, as in torch: {seed} repeats the picture \
                 of {}",
                *seed as u32
            ),
            Warning::CutPrompt { beginning } => write!(
                f,
                "a prompt is longer than the {TOKENS_MAX} tokens that the model reads, its end is \
                 not seen: {beginning}"
            ),
        }
    }
}

/// A job text with mistakes. For people, its text shows each of them with its line.
#[derive(Clone, Debug, Serialize)]
pub struct JobMistakes {
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

/// Reads the `content` of what people call `name` as the daemon of this configuration would.
pub fn check(config: &Config, name: String, content: Vec<u8>) -> Result<CheckedJob, QueueError> {
    let rules = config.job_rules()?;
    // The daemon draws the seeds; here only the form counts.
    match spec::parse_bytes(&content, &rules, SystemClock.now_ms(), &mut || 0) {
        Ok(job) => Ok(CheckedJob { warnings: warnings(config, &job.renders), name, content, job }),
        Err(problems) => Err(QueueError::Mistakes(JobMistakes { name, content, problems })),
    }
}

fn warnings(config: &Config, renders: &[Render]) -> Vec<Warning> {
    let unheard =
        |render: &&Render| !render.recipe.is_guided() && !render.recipe.negative_prompt.is_empty();
    let pictures = renders.iter().filter(unheard).count();
    let mut warnings = Vec::new();
    if pictures > 0 {
        warnings.push(Warning::UnheardNegativePrompt { pictures });
    }
    let seed = renders.iter().map(|render| render.recipe.seed).max();
    if let Some(seed) = seed.filter(|seed| *seed > u32::MAX.into()) {
        warnings.push(Warning::LongSeed { seed });
    }
    for prompt in cut_prompts(config, renders) {
        warnings.push(Warning::CutPrompt { beginning: beginning(prompt) });
    }
    warnings
}

/// The prompts that the model's tokenizer, where it is at hand, cuts.
fn cut_prompts<'r>(config: &Config, renders: &'r [Render]) -> Vec<&'r str> {
    let prompts =
        renders.iter().flat_map(|render| [&render.recipe.prompt, &render.recipe.negative_prompt]);
    // No token is shorter than a byte, and the template takes some: shorter prompts are never cut.
    let long: BTreeSet<&str> =
        prompts.map(String::as_str).filter(|prompt| prompt.len() > TOKENS_MAX / 2).collect();
    if long.is_empty() || config.engine != EngineKind::ZImage {
        return Vec::new();
    }
    let Ok(model) = config.model_texts() else { return Vec::new() };
    let Ok(tokenizer) = Tokenizer::read(model.path()) else { return Vec::new() };
    let is_cut = |prompt: &&str| tokenizer.encode(prompt).is_ok_and(|tokens| tokens.cut);
    long.into_iter().filter(is_cut).collect()
}

/// The beginning of a prompt in one line.
pub fn beginning(prompt: &str) -> String {
    shortened(&printable(&prompt.replace('\n', " ")))
}
