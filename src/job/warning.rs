//! What is no mistake in a job, but hardly meant. Pure.

mod lack;
mod tell;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use serde::{Serialize, Serializer};

pub use self::lack::Lack;
use super::hints::prompt::{ForeignSyntax, foreign_syntax};
use super::name::{self, NameFacts};
use super::spec::ResolvedJob;
use super::times::{Opening, Times};
use super::{Recipe, Render};
use crate::problem::one_line;

/// What is hardly meant. As JSON it has a `kind`, and the sentence for people as `message`.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// A key that counts only with guidance, in so many pictures without.
    WithoutGuidance { key: &'static str, pictures: usize },
    /// Guidance with a model that wants none; `guidance` is the highest of these pictures'.
    UnwantedGuidance { guidance: f64, pictures: usize, model: String, model_steps: u32 },
    /// Far more steps than the model wants; `steps` are the most of these pictures'.
    ManySteps { steps: u32, pictures: usize, model: String, model_steps: u32 },
    /// The largest seed has bits that change nothing.
    LongSeed { seed: u64 },
    /// So many pictures repeat an earlier one of the job; `first` and `second` are two of them,
    /// counted from 1.
    EqualPictures { pictures: usize, first: usize, second: usize },
    /// So many pictures ask for a name that an earlier one of the job has.
    EqualNames { pictures: usize, output: String },
    /// Syntax of another program in so many prompts, with an example.
    ForeignSyntax { syntax: ForeignSyntax, example: String, prompts: usize },
    /// A prompt, of which this is the beginning, is longer than what the model reads.
    CutPrompt { beginning: String, tokens_max: usize },
    /// Nothing is started for long. A time of day alone may have been meant as today's.
    LongWait { is_tomorrow: bool },
    /// The begin that it asks for has passed: it may be started at once.
    PassedBegin,
    /// The daemon's clock, by which its times are meant, shows this and not what the asker's does.
    OtherClock { there_now: String },
    /// The daemon goes by another configuration than whoever asks. It reads that anew where the
    /// process `reload_pid` is told to; these keys need a restart.
    UnreadConfiguration { reload_pid: Option<u32>, needs_restart: Vec<String> },
    /// The machine may go to sleep by itself in the middle of the work, and why.
    MaySleep { why: String },
    /// Something may be started for long yet. A time of day alone may have been meant as today's.
    LateEnd { is_tomorrow: bool },
    /// So many pictures do not fit the memory as they were asked for.
    Memory { lack: Lack, pictures: u64 },
}

/// What a model wants to be asked for, by its own word.
#[derive(Clone, Copy, Debug)]
pub struct ModelWants<'a> {
    pub name: &'a str,
    /// 0 of a model that is trained to do without.
    pub guidance: f64,
    pub steps: u32,
}

/// More steps than this times the model's own are hardly meant.
const STEPS_FACTOR: u32 = 2;

/// A job that waits longer is hardly meant to: who names a time of day that has just passed means
/// today's, and gets tomorrow's.
const WAIT_MS_MAX: i64 = 12 * HOUR_MS;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Whether a job of these `times`, taken in `now`, waits for too long, ends too late, or has a
/// begin that keeps nothing back. `times_of_day` are the keys that name no date.
pub fn of_times(times: &Times, times_of_day: &[&'static str], now: &ZonedDateTime) -> Vec<Warning> {
    let now_ms = now.timestamp().as_millisecond();
    let Some(Opening { from_ms, .. }) = times.opening(now_ms, now.time_zone()) else {
        return Vec::new();
    };
    let day = |at_ms: i64| clock_day(at_ms, now);
    let has_passed = times.not_before_ms.is_some_and(|begin_ms| begin_ms <= now_ms);
    let mut found: Vec<Warning> = has_passed.then_some(Warning::PassedBegin).into_iter().collect();
    let wait_ms = from_ms - now_ms;
    if wait_ms > WAIT_MS_MAX {
        let is_begin = times.not_before_ms == Some(from_ms) && times_of_day.contains(&"not_before");
        let is_tomorrow = is_begin && day(from_ms) != day(now_ms);
        found.push(Warning::LongWait { is_tomorrow });
    }
    // Counted from the begin that is said: from 22:00, not after 07:00, is one night.
    let begin_ms = times.not_before_ms.unwrap_or(now_ms).max(now_ms);
    if let Some(end_ms) = times.not_after_ms.filter(|end_ms| end_ms - begin_ms > WAIT_MS_MAX) {
        let is_tomorrow = times_of_day.contains(&"not_after") && day(end_ms) != day(begin_ms);
        found.push(Warning::LateEnd { is_tomorrow });
    }
    found
}

/// The date of a moment by the clock that shows `now`.
fn clock_day(at_ms: i64, now: &ZonedDateTime) -> Option<Date> {
    let at = Timestamp::from_millisecond(at_ms).ok()?;
    Some(now.time_zone().to_datetime(at).date())
}

/// All that the job itself shows. `defaults` are what it would ask if it said nothing: what stands
/// there is not the author's.
pub fn warnings(job: &ResolvedJob, defaults: &Recipe, wants: ModelWants) -> Vec<Warning> {
    let renders = &job.job.renders;
    let mut found = without_guidance(renders, defaults);
    found.extend(unwanted_guidance(renders, wants));
    found.extend(many_steps(renders, wants));
    let seed = renders.iter().map(|render| render.recipe.seed).max();
    let long = seed.filter(|seed| *seed > u32::MAX.into());
    found.extend(long.map(|seed| Warning::LongSeed { seed }));
    found.extend(equal_pictures(job));
    found.extend(equal_names(job));
    found.extend(foreign(renders));
    found
}

fn without_guidance(renders: &[Render], defaults: &Recipe) -> Vec<Warning> {
    type IsGiven = fn(&Recipe, &Recipe) -> bool;
    let keys: [(&str, IsGiven); 3] = [
        ("negative_prompt", |recipe, _| !recipe.negative_prompt.is_empty()),
        ("guidance_normalization", |recipe, defaults| {
            recipe.guidance_normalization != defaults.guidance_normalization
        }),
        ("guidance_truncation", |recipe, defaults| {
            recipe.guidance_truncation != defaults.guidance_truncation
        }),
    ];
    let unguided: Vec<&Recipe> =
        renders.iter().map(|render| &render.recipe).filter(|recipe| !recipe.is_guided()).collect();
    let of_key = |(key, is_given): (&'static str, IsGiven)| {
        let pictures = unguided.iter().filter(|recipe| is_given(recipe, defaults)).count();
        (pictures > 0).then_some(Warning::WithoutGuidance { key, pictures })
    };
    keys.into_iter().filter_map(of_key).collect()
}

fn unwanted_guidance(renders: &[Render], wants: ModelWants) -> Option<Warning> {
    let guided = renders.iter().filter(|render| render.recipe.is_guided());
    let pictures = guided.clone().count();
    let guidance = guided.map(|render| render.recipe.guidance).fold(0.0, f64::max);
    let model = wants.name.to_owned();
    let warning = Warning::UnwantedGuidance { guidance, pictures, model, model_steps: wants.steps };
    (pictures > 0 && wants.guidance == 0.0).then_some(warning)
}

/// A model that is trained to do without guidance is trained for few steps, too.
fn many_steps(renders: &[Render], wants: ModelWants) -> Option<Warning> {
    let is_many = |steps: &u32| *steps > STEPS_FACTOR * wants.steps;
    let many = renders.iter().map(|render| render.steps).filter(is_many);
    let steps = many.clone().max().filter(|_| wants.guidance == 0.0)?;
    let model = wants.name.to_owned();
    Some(Warning::ManySteps { steps, pictures: many.count(), model, model_steps: wants.steps })
}

/// Seeds that are drawn are not equal to any other.
fn equal_pictures(job: &ResolvedJob) -> Option<Warning> {
    let mut first_of = BTreeMap::new();
    let mut equal = Vec::new();
    for (place, render) in job.job.renders.iter().enumerate() {
        if !job.seed_is_drawn[place] {
            let number = place + 1;
            let first = *first_of.entry(picture_key(render)).or_insert(number);
            equal.extend((first != number).then_some((first, number)));
        }
    }
    let (first, second) = *equal.first()?;
    Some(Warning::EqualPictures { pictures: equal.len(), first, second })
}

/// The same text for renders of the same picture.
fn picture_key(render: &Render) -> String {
    // Only so many bits of a seed count.
    let seed = u64::from(render.recipe.seed as u32);
    let recipe = Recipe { seed, ..render.recipe.clone() };
    format!("{}x{} {} {recipe:?}", render.width, render.height, render.steps)
}

fn equal_names(job: &ResolvedJob) -> Option<Warning> {
    let mut names = BTreeSet::new();
    let mut pictures = 0;
    for (place, render) in job.job.renders.iter().enumerate() {
        let name = name_of(render, place, job.seed_is_drawn[place]);
        pictures += usize::from(!names.insert(name));
    }
    let output = job.job.renders.first()?.output.clone();
    (pictures > 0).then_some(Warning::EqualNames { pictures, output })
}

/// The name as far as it differs within a job: pictures are begun one after the other, and seeds
/// that are drawn differ.
fn name_of(render: &Render, place: usize, seed_is_drawn: bool) -> String {
    let midnight = date(2026, 1, 1).at(0, 0, 0, 0);
    let drawn = u64::from(u32::MAX) + 1 + place as u64;
    let facts = NameFacts {
        job: 1,
        index: place as u32 + 1,
        seed: if seed_is_drawn { drawn } else { render.recipe.seed },
        begun: midnight.saturating_add((place as i64).seconds()),
        width: render.width,
        height: render.height,
        steps: render.steps,
        prompt: &render.recipe.prompt,
        name: "job",
    };
    name::expand(&render.output, &facts)
}

/// Each kind of syntax once, however many prompts have it.
fn foreign(renders: &[Render]) -> Vec<Warning> {
    let recipes = renders.iter().map(|render| &render.recipe);
    let prompts: BTreeSet<&str> =
        recipes.flat_map(|recipe| [&*recipe.prompt, &*recipe.negative_prompt]).collect();
    let mut found: BTreeMap<ForeignSyntax, (String, usize)> = BTreeMap::new();
    for prompt in prompts {
        for (syntax, example) in foreign_syntax(prompt) {
            let example = || one_line(example);
            found.entry(syntax).or_insert_with(|| (example(), 0)).1 += 1;
        }
    }
    let warning =
        |(syntax, (example, prompts))| Warning::ForeignSyntax { syntax, example, prompts };
    found.into_iter().map(warning).collect()
}

impl Warning {
    /// The word for what kind of warning it is, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Warning::WithoutGuidance { .. } => "without_guidance",
            Warning::UnwantedGuidance { .. } => "unwanted_guidance",
            Warning::ManySteps { .. } => "many_steps",
            Warning::LongSeed { .. } => "long_seed",
            Warning::EqualPictures { .. } => "equal_pictures",
            Warning::EqualNames { .. } => "equal_names",
            Warning::ForeignSyntax { .. } => "foreign_syntax",
            Warning::CutPrompt { .. } => "cut_prompt",
            Warning::LongWait { .. } => "long_wait",
            Warning::PassedBegin => "passed_begin",
            Warning::MaySleep { .. } => "may_sleep",
            Warning::OtherClock { .. } => "other_clock",
            Warning::UnreadConfiguration { .. } => "unread_configuration",
            Warning::LateEnd { .. } => "late_end",
            Warning::Memory { .. } => "memory",
        }
    }
}

impl Warning {
    /// The keys of a job that it is about: what the author has said. None where it is about the
    /// daemon or the machine.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Warning::WithoutGuidance { key, .. } => std::slice::from_ref(key),
            Warning::UnwantedGuidance { .. } => &["guidance"],
            Warning::ManySteps { .. } => &["steps"],
            Warning::LongSeed { .. } => &["seed"],
            Warning::EqualPictures { .. } => &["prompt", "seed"],
            Warning::EqualNames { .. } => &["output"],
            Warning::ForeignSyntax { .. } | Warning::CutPrompt { .. } => &["prompt"],
            Warning::LongWait { .. } => &["not_before", "window"],
            Warning::PassedBegin => &["not_before"],
            Warning::LateEnd { .. } => &["not_after"],
            Warning::OtherClock { .. } => &["not_before", "not_after", "window"],
            Warning::Memory { .. } => &["width", "height"],
            Warning::UnreadConfiguration { .. } | Warning::MaySleep { .. } => &[],
        }
    }
}

/// The form that a warning has in JSON, for the page that describes it.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "only its form is asked for")]
pub struct WarningText {
    /// What it is about, for programs.
    pub kind: String,
    /// What it is about, for people.
    pub message: String,
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("kind", self.kind()), ("message", &self.to_string())])
    }
}

#[cfg(test)]
mod tests;
