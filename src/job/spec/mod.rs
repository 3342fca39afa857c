//! TOML text -> resolved renders, or every error at once with line and column. `docs/job-file.md`
//! is the reference.

mod axes;
pub mod edits;
pub mod fields;
pub mod inputs;
mod outside;
pub mod prompts;
pub mod template;
mod times;
#[cfg(test)]
mod tests;
mod wildcards;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use self::axes::Axes;
use self::fields::Bounds;
pub use self::fields::Limits;
pub use self::outside::Outside;
pub use self::times::{times_of_day, with_moments};
use self::wildcards::Choices;
use super::parameters::{MODEL, read_values};
use super::times::Times;
use super::{Job, Render, hints, lora};
use crate::problem::{self, Problem};
use crate::table::{self, Check, Mistake, Table, check};

/// Everything that a job file is checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What a job without any key asks for, beside its prompt and its seed.
    pub defaults: Render,
    pub limits: Limits,
    /// Both sides must be multiples of this (pixels).
    pub granularity: u32,
    /// Of times that a job file gives without an offset.
    pub time_zone: TimeZone,
    /// The folder of the lists that `__name__` in a prompt stands for.
    pub wildcards: PathBuf,
    /// What is otherwise where a job names a model.
    pub models: BTreeMap<String, ModelRules>,
}

/// What a job that names a model is checked against.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelRules {
    Usable {
        defaults: Box<Render>,
        side_max: u32,
        granularity: u32,
    },
    /// Why it cannot be used.
    Unusable(String),
}

impl Rules {
    /// What single values are checked against.
    pub fn bounds(&self) -> Bounds<'_> {
        Bounds { limits: &self.limits, granularity: self.granularity }
    }

    /// Those of a job that names this model.
    fn of_model(&self, name: &str) -> Check<Rules> {
        match self.models.get(name) {
            Some(ModelRules::Usable { defaults, side_max, granularity }) => Ok(Rules {
                defaults: Render { model: name.to_owned(), ..(**defaults).clone() },
                limits: Limits { side_max: *side_max, ..self.limits.clone() },
                granularity: *granularity,
                ..self.clone()
            }),
            Some(ModelRules::Unusable(why)) => {
                let mistake = Mistake::new(format!("{name} cannot be used: {why}"));
                Err(mistake.help("mend it, or leave the key out for the model of [model]"))
            }
            None => {
                Err(Mistake::new(format!("daemon.toml names no model {}", check::quoted(name)))
                    .help(self.models_there_are(name)))
            }
        }
    }

    fn models_there_are(&self, name: &str) -> String {
        let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => format!(
                "it names none; add [models.{name}] with its path there, or leave the key out for \
                 the model of [model]"
            ),
            false => {
                format!("use {}, or leave the key out for the model of [model]", names.join(", "))
            }
        }
    }
}

/// Seeds are numbers below 2^63, so that TOML and SQLite can hold them; counting up wraps round.
const SEED_MASK: u64 = i64::MAX as u64;

/// No job can ask for this strength: nothing would be painted.
const STRENGTH_LEFT_OPEN: f64 = 0.0;

/// So much of a picture is painted anew where nothing is said.
const IMAGE_TO_IMAGE_STRENGTH: f64 = 0.6;

/// Far enough apart for any order, small enough to be read.
const PRIORITY_MAX: i64 = 1_000_000;

/// A job, and what only its text tells.
#[derive(Clone, Debug)]
pub struct ResolvedJob {
    pub job: Job,
    /// Whether the seed was left open, for each of the job's renders.
    pub seed_is_drawn: Vec<bool>,
    /// The prompts of the list that the text names, where it names one.
    pub listed: Option<Vec<String>>,
}

/// The job of [`resolve_bytes`] alone.
pub fn parse_bytes(
    content: &[u8],
    rules: &Rules,
    now_ms: i64,
    outside: &mut dyn Outside,
) -> Result<Job, Vec<Problem>> {
    Ok(resolve_bytes(content, rules, now_ms, outside)?.job)
}

/// Parses and resolves a job file. A time of day is the next one after `now_ms` (UTC, since the
/// epoch); `outside` is asked for each seed left open, and for the list of prompts.
pub fn resolve_bytes(
    content: &[u8],
    rules: &Rules,
    now_ms: i64,
    outside: &mut dyn Outside,
) -> Result<ResolvedJob, Vec<Problem>> {
    if let Some(problem) = too_long(content, rules.limits.file_bytes_max) {
        return Err(vec![problem]);
    }
    let text = problem::utf8(content).map_err(|problem| vec![problem])?;
    let hint = hints::key_hint;
    let request = table::read(text, hint, |top| Request::read(top, rules, now_ms, outside))?;
    request.resolve(text, outside)
}

/// What is wrong with content of which there is more than may be, as far as it was read.
pub fn too_long(content: &[u8], bytes_max: u64) -> Option<Problem> {
    let help = "it is not read any further: is it a job file?".to_owned();
    let message = format!("the file has more than {bytes_max} bytes");
    (content.len() as u64 > bytes_max).then(|| Problem::at("", 0, message, Some(help)))
}

/// A job file's content, checked, its matrix not expanded yet.
struct Request {
    priority: i64,
    times: Times,
    tags: Vec<String>,
    num_images: u32,
    /// What the renders differ in.
    axes: Axes,
    listed: Option<Vec<String>>,
    /// What is chosen in the prompts.
    choices: Choices,
    /// What all renders share, and what they ask for where no axis says it.
    shared: Render,
}

impl Request {
    fn read(
        top: &mut Table,
        rules: &Rules,
        now_ms: i64,
        outside: &mut dyn Outside,
    ) -> Option<Request> {
        let priority = read_priority(top);
        let of_model = top.read(MODEL, |value| rules.of_model(&fields::model_name(value)?));
        let rules = of_model.as_ref().unwrap_or(rules);
        let limits = &rules.limits;
        let times = times::read(top, &rules.time_zone, now_ms);
        let num_images = top
            .read("num_images", |value| check::whole(value, 1..=limits.renders_max))
            .unwrap_or(1);
        let tags = fields::tags(top);
        let shared = read_values(top, &rules.bounds(), |parameter| {
            !parameter.is_axis && parameter.name != MODEL
        });
        let mut shared = rules.defaults.with(shared);
        shared.recipe.strength = STRENGTH_LEFT_OPEN;
        let listed = prompts::read_file(top, &rules.bounds(), outside);
        let prompts = listed.as_ref().map(|listed| listed.prompts.as_slice());
        let axes = Axes::read(top, &rules.bounds(), prompts);
        refuse_without_picture(top, &axes);
        let choices = Choices::read(top, axes.prompts(), listed.as_ref(), &rules.bounds(), outside);
        if let Err(mistake) = axes.check_count(num_images, limits.renders_max) {
            let key = ["matrix", "num_images", "prompt_file"]
                .into_iter()
                .find(|key| top.has(key))
                .unwrap_or("prompt");
            top.mistake(key, mistake);
        }
        let priority = priority.unwrap_or(0);
        let listed = listed.map(|listed| listed.prompts);
        Some(Request { priority, times, tags, num_images, axes, listed, choices, shared })
    }

    /// `text` is what it was read from.
    fn resolve(self, text: &str, outside: &mut dyn Outside) -> Result<ResolvedJob, Vec<Problem>> {
        let mut renders = Vec::with_capacity(self.axes.count() * self.num_images as usize);
        let mut seed_is_drawn = Vec::with_capacity(renders.capacity());
        for mut values in self.axes.combinations() {
            let seed = values.remove("seed").and_then(|seed| seed.as_u64());
            seed_is_drawn.extend((0..self.num_images).map(|_| seed.is_none()));
            let seed = seed.unwrap_or_else(|| outside.seed() & SEED_MASK);
            let render = with_strength(with_floors(self.shared.with(values)));
            for picture in 0..self.num_images {
                let mut render = render.clone();
                render.recipe.seed = (seed + u64::from(picture)) & SEED_MASK;
                let made = choose(&self.choices, &mut render);
                made.map_err(|mistake| vec![self.choices.blame(&render, text, mistake)])?;
                renders.push(render);
            }
        }
        let Times { not_before_ms, not_after_ms, window } = self.times;
        let Request { priority, tags, listed, .. } = self;
        let job = Job { priority, not_before_ms, not_after_ms, window, tags, renders };
        Ok(ResolvedJob { job, seed_is_drawn, listed })
    }
}

fn read_priority(top: &mut Table) -> Option<i64> {
    top.read("priority", |value| check::whole(value, -PRIORITY_MAX..=PRIORITY_MAX))
}

/// Notes what counts only beside a picture that is begun with.
fn refuse_without_picture(top: &mut Table, axes: &Axes) {
    // One that is wrong is told as such.
    if axes.has("init_image") || top.has("init_image") {
        return;
    }
    for key in ["mask", "strength"].into_iter().filter(|key| axes.has(key)) {
        let (place, subject) = if top.has(key) { (key, "") } else { ("matrix", key) };
        let message = format!("{subject} counts only with init_image");
        let mistake = Mistake::new(message.trim_start());
        top.mistake(
            place,
            mistake.help("name the picture to begin with: init_image = \"fox.png\""),
        );
    }
}

/// Where the job leaves the strength open, it is what the reference implementation has.
fn with_strength(mut render: Render) -> Render {
    let recipe = &mut render.recipe;
    if recipe.strength == STRENGTH_LEFT_OPEN {
        let keeps = recipe.begins_with_picture() && !recipe.is_masked();
        recipe.strength = if keeps { IMAGE_TO_IMAGE_STRENGTH } else { 1.0 };
    }
    render
}

/// Makes the choices in the render's prompt, and takes the LoRAs that it names behind the job's own
/// ones. Only a choice can have spoilt one of these: the prompt was checked.
fn choose(choices: &Choices, render: &mut Render) -> Check<()> {
    render.asked_prompt = choices.make(&mut render.recipe)?;
    let (prompt, tagged) = lora::take_tags(&render.recipe.prompt)?;
    render.recipe.prompt = fields::not_empty(prompt)?;
    render.recipe.lora.0.extend(tagged.0);
    Ok(())
}

/// A floor above what is asked means: no less than asked.
fn with_floors(render: Render) -> Render {
    Render {
        min_side: render.min_side.min(render.width).min(render.height),
        min_steps: render.min_steps.min(render.steps),
        ..render
    }
}
