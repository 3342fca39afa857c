//! TOML text -> resolved renders, or every error at once with line and column. `docs/job-file.md`
//! is the reference.

mod axes;
mod combinations;
pub mod fields;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use self::axes::Axes;
use self::combinations::{Combination, Combinations};
use super::{Format, Job, OnOom, Render};
use crate::problem::{self, Problem};
use crate::table::{self, Table, check};

/// What a job file may leave out, resolved from `daemon.toml` and the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    pub negative_prompt: String,
    pub on_oom: OnOom,
    pub min_side: u32,
    pub min_steps: u32,
    pub output: String,
    pub format: Format,
}

impl Defaults {
    /// What a job without any key but its prompt asks for.
    pub fn render(&self, prompt: &str) -> Render {
        Render {
            prompt: prompt.to_owned(),
            negative_prompt: self.negative_prompt.clone(),
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: self.guidance,
            seed: 0,
            on_oom: self.on_oom,
            min_side: self.min_side,
            min_steps: self.min_steps,
            output: self.output.clone(),
            format: self.format,
        }
    }
}

/// Bounds on what one job may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub file_bytes_max: u64,
    pub renders_max: u32,
    pub prompt_bytes_max: usize,
    pub side_max: u32,
    pub steps_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes_max: 1 << 20,
            renders_max: 10_000,
            // The model reads at most 512 tokens, some 2 KiB; the rest is room for other
            // tokenizers.
            prompt_bytes_max: 16 << 10,
            side_max: 4096,
            steps_max: 100,
        }
    }
}

/// Everything that a job file is checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub defaults: Defaults,
    pub limits: Limits,
    /// Both sides must be multiples of this (pixels).
    pub granularity: u32,
    /// Of times that a job file gives without an offset.
    pub time_zone: TimeZone,
}

/// Seeds are numbers below 2^63, so that TOML and SQLite can hold them; counting up wraps round.
const SEED_MASK: u64 = i64::MAX as u64;

/// Far enough apart for any order, small enough to be read.
const PRIORITY_MAX: i64 = 1_000_000;

/// Parses and resolves a job file. A time of day is the next one after `now_ms` (UTC, since the
/// epoch); `random_seed` is asked for each seed left open.
pub fn parse_bytes(
    content: &[u8],
    rules: &Rules,
    now_ms: i64,
    random_seed: &mut dyn FnMut() -> u64,
) -> Result<Job, Vec<Problem>> {
    let bytes_max = rules.limits.file_bytes_max;
    if content.len() as u64 > bytes_max {
        let message = format!("the file has {} bytes", content.len());
        return Err(vec![Problem::at(
            "",
            0,
            message,
            Some(format!("at most {bytes_max} are read")),
        )]);
    }
    let text = problem::utf8(content).map_err(|problem| vec![problem])?;
    parse(text, rules, now_ms, random_seed)
}

/// As [`parse_bytes`], for a text.
pub fn parse(
    text: &str,
    rules: &Rules,
    now_ms: i64,
    random_seed: &mut dyn FnMut() -> u64,
) -> Result<Job, Vec<Problem>> {
    let request = table::read(text, |top| Request::read(top, rules, now_ms))?;
    Ok(request.resolve(random_seed))
}

/// A job file's content, checked, its matrix not expanded yet.
struct Request {
    priority: i64,
    not_before_ms: Option<i64>,
    tags: Vec<String>,
    num_images: u32,
    /// What the renders vary in.
    combinations: Combinations,
    /// What all renders share.
    shared: Shared,
}

struct Shared {
    on_oom: OnOom,
    min_side: u32,
    min_steps: u32,
    output: String,
    format: Format,
}

impl Request {
    fn read(top: &mut Table, rules: &Rules, now_ms: i64) -> Option<Request> {
        let limits = &rules.limits;
        let priority =
            top.read("priority", |value| check::whole(value, -PRIORITY_MAX..=PRIORITY_MAX));
        let not_before_ms =
            top.read("not_before", |value| fields::time_ms(value, &rules.time_zone, now_ms));
        let num_images = top
            .read("num_images", |value| check::whole(value, 1..=limits.renders_max))
            .unwrap_or(1);
        let tags = fields::tags(top);
        let shared = Shared::read(top, rules);
        let combinations = Axes::read(top, rules).combine(&rules.defaults)?;
        if let Err(mistake) = combinations.check_count(num_images, limits.renders_max) {
            let key =
                ["matrix", "num_images"].into_iter().find(|key| top.has(key)).unwrap_or("prompt");
            top.mistake(key, mistake);
        }
        let priority = priority.unwrap_or(0);
        Some(Request { priority, not_before_ms, tags, num_images, combinations, shared })
    }

    fn resolve(self, random_seed: &mut dyn FnMut() -> u64) -> Job {
        let mut renders = Vec::with_capacity(self.combinations.count() * self.num_images as usize);
        for combination in self.combinations.iter() {
            let seed = combination.seed.unwrap_or_else(|| random_seed() & SEED_MASK);
            let seeds = (0..self.num_images).map(|picture| (seed + u64::from(picture)) & SEED_MASK);
            renders.extend(seeds.map(|seed| self.shared.render(&combination, seed)));
        }
        Job { priority: self.priority, not_before_ms: self.not_before_ms, tags: self.tags, renders }
    }
}

impl Shared {
    fn read(top: &mut Table, rules: &Rules) -> Shared {
        let Rules { defaults, limits, .. } = rules;
        let output = top.read("output", fields::output);
        Shared {
            on_oom: top.read("on_oom", fields::on_oom).unwrap_or(defaults.on_oom),
            min_side: top
                .read("min_side", |value| fields::min_side(value, limits))
                .unwrap_or(defaults.min_side),
            min_steps: top
                .read("min_steps", |value| fields::steps(value, limits))
                .unwrap_or(defaults.min_steps),
            output: output.unwrap_or_else(|| defaults.output.clone()),
            format: top.read("format", fields::format).unwrap_or(defaults.format),
        }
    }

    /// A floor above what is asked means: no less than asked.
    fn render(&self, combination: &Combination, seed: u64) -> Render {
        let &Combination { prompt, negative_prompt, width, height, steps, guidance, seed: _ } =
            combination;
        Render {
            prompt: prompt.to_owned(),
            negative_prompt: negative_prompt.to_owned(),
            width,
            height,
            steps,
            guidance,
            seed,
            on_oom: self.on_oom,
            min_side: self.min_side.min(width).min(height),
            min_steps: self.min_steps.min(steps),
            output: self.output.clone(),
            format: self.format,
        }
    }
}
