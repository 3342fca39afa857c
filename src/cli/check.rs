//! `zimaged check`: a job file's mistakes, and what its author may not have meant, without running
//! it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{EXIT_NOT_DONE, Failure, Outcome, print, short};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon;
use crate::engine::EngineKind;
use crate::engine::z_image::prompt::{TOKENS_MAX, Tokenizer};
use crate::job::{Job, spec};
use crate::problem::{Problem, Report};

/// In the place of a file's name: standard input.
const STDIN: &str = "-";

#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Job files; - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn check(config: &Config, args: &CheckArgs, json: bool) -> Outcome {
    let mut code = 0;
    for path in &args.files {
        match read(config, path)? {
            Ok(Checked { name, job, .. }) => {
                print::checked(&name, &job, &warnings(config, &job), json)?
            }
            Err(mistakes) => {
                print::mistakes(&mistakes, json)?;
                code = EXIT_NOT_DONE;
            }
        }
    }
    Ok(code)
}

/// A job file without mistakes.
pub(super) struct Checked {
    /// For people.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    pub(super) job: Job,
}

/// A job file with mistakes.
pub(super) struct Mistakes {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    pub(super) problems: Vec<Problem>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistakes { name, content, problems } = self;
        Report { name, content, problems }.fmt(f)
    }
}

/// The text and the job it means, or its mistakes.
pub(super) fn read(config: &Config, path: &Path) -> Result<Result<Checked, Mistakes>, Failure> {
    let rules = daemon::rules(config)?;
    let (name, content) = match path.as_os_str() == STDIN {
        true => ("standard input".to_owned(), read_stdin(rules.limits.file_bytes_max)),
        false => (short(path), fs::read(path)),
    };
    let content = content.with_context(|| format!("cannot read {name}"))?;
    // The daemon draws the seeds; here only the form counts.
    Ok(match spec::parse_bytes(&content, &rules, SystemClock.now_ms(), &mut || 0) {
        Ok(job) => Ok(Checked { name, content, job }),
        Err(problems) => Err(Mistakes { name, content, problems }),
    })
}

/// One byte more than is allowed tells that there are too many.
fn read_stdin(bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::stdin().take(bytes_max + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// What is no mistake, but hardly meant.
pub(super) fn warnings(config: &Config, job: &Job) -> Vec<String> {
    let unheard = job
        .renders
        .iter()
        .filter(|r| !r.recipe.is_guided() && !r.recipe.negative_prompt.is_empty())
        .count();
    let unheard = (unheard > 0).then(|| {
        let pictures = print::count(unheard, "picture");
        format!("negative_prompt does nothing in {pictures}: it counts only with guidance above 0")
    });
    let cut = cut_prompts(config, job);
    let cut = cut.iter().map(|prompt| {
        format!("a prompt is longer than the {TOKENS_MAX} tokens that the model reads, its end is not seen: {prompt}")
    });
    unheard.into_iter().chain(long_seed(job)).chain(cut).collect()
}

/// The largest seed, where it has bits that change nothing.
fn long_seed(job: &Job) -> Option<String> {
    let seed = job.renders.iter().map(|render| render.recipe.seed).max()?;
    (seed > u64::from(u32::MAX)).then(|| {
        format!(
            "only the lower 32 bits of a seed count, as in torch: {seed} repeats the picture of {}",
            seed as u32
        )
    })
}

/// The beginnings of the prompts that the model's tokenizer, where it is at hand, cuts.
fn cut_prompts(config: &Config, job: &Job) -> Vec<String> {
    let prompts = job
        .renders
        .iter()
        .flat_map(|render| [&render.recipe.prompt, &render.recipe.negative_prompt]);
    // No token is shorter than a byte, and the template takes some: shorter prompts are never cut.
    let long: BTreeSet<&String> = prompts.filter(|prompt| prompt.len() > TOKENS_MAX / 2).collect();
    if long.is_empty() || config.engine != EngineKind::ZImage {
        return Vec::new();
    }
    let Some(tokenizer) = config.model_folder().ok().and_then(|model| Tokenizer::read(&model).ok())
    else {
        return Vec::new();
    };
    let is_cut = |prompt: &&String| tokenizer.encode(prompt).is_ok_and(|tokens| tokens.cut);
    long.into_iter().filter(is_cut).map(|prompt| print::shortened(prompt)).collect()
}
