//! The parameters of a render. A parameter is a field of [`Recipe`] or of [`Render`], with its
//! default, and an entry in [`PARAMETERS`]: the queue's columns, the messages to the worker, the
//! keys of what is kept and the text in a picture all follow from these.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toml::de::DeValue;

use self::Column::{Json, Real, Text, Whole};
use super::lora::{self, Loras};
use super::spec::fields::{self, Bounds};
use super::{AskedPrecision, Format, OnOom, SamplerKind, name};
use crate::table::{Check, Table, check};

/// What an engine is asked for; size and steps come with the rung. Whatever was made for one
/// recipe is never used for another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
// A picture made before a parameter was added says nothing of it: it was made with the default.
#[serde(default)]
pub struct Recipe {
    /// What is painted.
    pub prompt: String,
    /// Empty when none was given.
    pub negative_prompt: String,
    /// Classifier-free guidance; 0 is off.
    pub guidance: f64,
    /// The norm of a guided prediction is at most this times that of the prompt's own; 0 is off.
    pub guidance_normalization: f64,
    /// No guidance in the steps after this time (0 is noise, 1 the picture); 1 is off.
    pub guidance_truncation: f64,
    /// How a step goes along the model's velocity.
    pub sampler: SamplerKind,
    /// The picture that it begins with: the SHA-256 of the file's content. In a job that is not
    /// taken in yet, the file's path; empty where there is none.
    pub init_image: String,
    /// The picture that says where `init_image` is painted over; as that.
    pub mask: String,
    /// How much of what it begins with is noise: 1 is all of it.
    pub strength: f64,
    /// What changes the model for this picture.
    pub lora: Loras,
    /// At most `i64::MAX`, so that TOML and SQLite can hold it.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            prompt: String::new(),
            negative_prompt: String::new(),
            guidance: 0.0,
            guidance_normalization: 0.0,
            guidance_truncation: 1.0,
            sampler: SamplerKind::Euler,
            init_image: String::new(),
            mask: String::new(),
            strength: 1.0,
            lora: Loras::default(),
            seed: 0,
        }
    }
}

impl Recipe {
    /// Whether the negative prompt has any effect.
    pub fn is_guided(&self) -> bool {
        self.guidance > 0.0
    }

    /// Whether it begins with a picture, and not with noise alone.
    pub fn begins_with_picture(&self) -> bool {
        !self.init_image.is_empty()
    }

    /// Whether a part of the picture that it begins with stays as it is.
    pub fn is_masked(&self) -> bool {
        !self.mask.is_empty()
    }

    /// How many of so many steps are left out, because a picture stands where they lead. As the
    /// reference implementation counts: `int(steps - min(steps * strength, steps))`.
    pub fn first_step(&self, steps: u32) -> u32 {
        if !self.begins_with_picture() {
            return 0;
        }
        let all = f64::from(steps);
        (all - (all * self.strength).min(all)).max(0.0) as u32
    }
}

/// One picture asked for, with nothing left to decide. The unit that is claimed and run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Render {
    #[serde(flatten)]
    pub recipe: Recipe,
    /// Pixels, a multiple of the model's granularity.
    pub width: u32,
    /// Pixels, a multiple of the model's granularity.
    pub height: u32,
    /// How often the picture is denoised.
    pub steps: u32,
    /// In how many bits it is computed.
    pub precision: AskedPrecision,
    /// How far the ladder may go.
    pub on_oom: OnOom,
    /// The ladder never makes the shorter side smaller than this.
    pub min_side: u32,
    /// The ladder never goes below this many steps.
    pub min_steps: u32,
    /// Name template under the output folder, without extension; docs/job-file.md says what it
    /// holds.
    pub output: String,
    /// The format of its file.
    pub format: Format,
    /// By which model, as daemon.toml names it; empty for the one of `[model]`.
    pub model: String,
    /// No parameter: the prompt before the choices in it were made, where there were any. The
    /// recipe has what came of it.
    #[serde(skip)]
    pub asked_prompt: Option<String>,
}

/// What is asked where neither the job, nor `daemon.toml`, nor the model says anything. There is
/// no prompt in it.
impl Default for Render {
    fn default() -> Render {
        Render {
            recipe: Recipe::default(),
            width: 1024,
            height: 1024,
            steps: 8,
            precision: AskedPrecision::Full,
            on_oom: OnOom::Downgrade,
            min_side: 512,
            // Fewer are not worth a picture to the Turbo model.
            min_steps: 4,
            output: name::DEFAULT_TEMPLATE.to_owned(),
            format: Format::Png,
            model: String::new(),
            asked_prompt: None,
        }
    }
}

/// What is known of each parameter beside its field.
pub struct Parameter {
    /// The field's name, which is also the key in a job file and the column in the database.
    pub name: &'static str,
    pub column: Column,
    /// Whether the renders of one job may differ in it: a list of values under `[matrix]`.
    pub is_axis: bool,
    /// Whether `daemon.toml` may have a default for it.
    pub has_default: bool,
    check: fn(&DeValue, &Bounds) -> Check<Value>,
}

/// The type of a parameter's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Text,
    /// A whole number of at most 63 bits.
    Whole,
    Real,
    /// A list or an object, as a text.
    Json,
}

/// Values of parameters, by name.
pub type ParameterValues = Map<String, Value>;

/// All of them. Axes stand in the order in which a matrix is gone through, the last one fastest.
pub const PARAMETERS: [Parameter; 21] = [
    without_default(axis("prompt", Text, |value, bounds| json(fields::prompt(value, bounds)))),
    axis("negative_prompt", Text, |value, bounds| json(fields::negative_prompt(value, bounds))),
    axis("width", Whole, |value, bounds| json(fields::side(value, bounds))),
    axis("height", Whole, |value, bounds| json(fields::side(value, bounds))),
    axis("steps", Whole, |value, bounds| json(fields::steps(value, bounds))),
    axis("guidance", Real, |value, _| json(check::number(value, 0.0..=GUIDANCE_MAX))),
    axis("guidance_normalization", Real, |value, _| json(check::number(value, 0.0..=10.0))),
    axis("guidance_truncation", Real, |value, _| json(check::number(value, 0.0..=1.0))),
    axis("sampler", Text, |value, _| json(fields::sampler(value))),
    axis("precision", Text, |value, _| json(fields::precision(value))),
    without_default(axis("init_image", Text, |value, _| json(fields::input_path(value)))),
    without_default(axis("mask", Text, |value, _| json(fields::input_path(value)))),
    without_default(axis("strength", Real, |value, _| json(fields::strength(value)))),
    without_default(shared("lora", Json, |value, _| json(lora::loras(value)))),
    without_default(axis("seed", Whole, |value, _| json(fields::seed(value)))),
    shared("on_oom", Text, |value, _| json(fields::on_oom(value))),
    shared("min_side", Whole, |value, bounds| json(fields::min_side(value, bounds))),
    shared("min_steps", Whole, |value, bounds| json(fields::steps(value, bounds))),
    shared("output", Text, |value, _| json(fields::output(value))),
    shared("format", Text, |value, _| json(fields::format(value))),
    without_default(shared(MODEL, Text, |value, _| json(fields::model_name(value)))),
];

/// What else a job asks for depends on it.
pub const MODEL: &str = "model";

/// Higher guidance than this only burns the picture.
const GUIDANCE_MAX: f64 = 30.0;

type CheckValue = fn(&DeValue, &Bounds) -> Check<Value>;

/// The renders of a job may differ in it.
const fn axis(name: &'static str, column: Column, check: CheckValue) -> Parameter {
    Parameter { name, column, is_axis: true, has_default: true, check }
}

/// All renders of a job share it.
const fn shared(name: &'static str, column: Column, check: CheckValue) -> Parameter {
    Parameter { is_axis: false, ..axis(name, column, check) }
}

/// Each job says it itself, or leaves it open.
const fn without_default(parameter: Parameter) -> Parameter {
    Parameter { has_default: false, ..parameter }
}

/// The values that `table` gives to the `wanted` ones of the parameters.
pub fn read_values(
    table: &mut Table,
    bounds: &Bounds,
    wanted: impl Fn(&Parameter) -> bool,
) -> ParameterValues {
    let mut values = ParameterValues::new();
    for parameter in PARAMETERS.iter().filter(|parameter| wanted(parameter)) {
        let value = table.read(parameter.name, |value| parameter.check(value, bounds));
        values.extend(value.map(|value| (parameter.name.to_owned(), value)));
    }
    fields::settle_extension(table, &mut values);
    values
}

/// A checked value in the form that it has in a render.
fn json<T: Serialize>(checked: Check<T>) -> Check<Value> {
    checked.map(|value| json!(value))
}

impl Parameter {
    /// The value that a job file, or `daemon.toml`, gives it.
    pub fn check(&self, value: &DeValue, bounds: &Bounds) -> Check<Value> {
        (self.check)(value, bounds)
    }
}

impl Render {
    /// The value of every parameter.
    pub fn values(&self) -> ParameterValues {
        match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            other => unreachable!("a render is an object with names for keys: {other:?}"),
        }
    }

    /// The same render with other values for some of its parameters, which have been checked.
    pub fn with(&self, values: ParameterValues) -> Render {
        let mut all = self.values();
        all.extend(values);
        Render::from_values(all).expect("a checked value is of its parameter's type")
    }

    /// The render of these values; an error where one is missing or of another type.
    pub fn from_values(values: ParameterValues) -> serde_json::Result<Render> {
        serde_json::from_value(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_of_a_render_is_a_parameter_and_fits_its_column() {
        let values = Render::default().values();
        let fields: BTreeSet<&str> = values.keys().map(String::as_str).collect();
        assert_eq!(fields, PARAMETERS.iter().map(|parameter| parameter.name).collect());
        for Parameter { name, column, .. } in PARAMETERS {
            let fits = match column {
                Column::Text => values[name].is_string(),
                Column::Whole => values[name].is_i64(),
                Column::Real => values[name].is_f64(),
                Column::Json => values[name].is_array(),
            };
            assert!(fits, "{name}: {} in a column of type {column:?}", values[name]);
        }
    }

    #[test]
    fn a_render_comes_back_from_its_values() {
        let recipe = Recipe { prompt: "狐".into(), seed: i64::MAX as u64, ..Recipe::default() };
        let render = Render { recipe, on_oom: OnOom::Fail, ..Render::default() };
        assert_eq!(Render::from_values(render.values()).unwrap(), render);
    }

    #[test]
    fn steps_are_left_out_as_the_reference_counts_them() {
        let first = |strength, steps| {
            let init_image = "a.png".to_owned();
            Recipe { init_image, strength, ..Recipe::default() }.first_step(steps)
        };
        // 8 * 0.6 is 4.8; 50 * 0.3 is a little less than 15 in floating point.
        let found = [first(0.6, 8), first(1.0, 8), first(0.01, 8), first(0.7, 6), first(0.3, 50)];
        assert_eq!(found, [3, 0, 7, 1, 35]);
        assert_eq!(Recipe { strength: 0.1, ..Recipe::default() }.first_step(8), 0);
    }

    #[test]
    fn a_recipe_from_before_a_parameter_has_its_default() {
        let recipe: Recipe = serde_json::from_str(r#"{"prompt": "a fox"}"#).unwrap();
        assert_eq!(recipe, Recipe { prompt: "a fox".into(), ..Recipe::default() });
    }
}
