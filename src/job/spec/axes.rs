//! The values that the renders of a job differ in, from the top of the file or from lists under
//! `[matrix]`, and the product of them: counted before it is made.

use serde_json::{Value, json};
use toml::de::DeValue;

use super::fields::{self, Bounds};
use crate::job::parameters::{PARAMETERS, Parameter, ParameterValues};
use crate::table::{Check, Mistake, Table};

/// Stands for width and height.
const SIZE: &str = "size";

/// What is painted, and the file that says it in its place.
pub(super) const PROMPT: &str = "prompt";
pub(super) const PROMPT_FILE: &str = "prompt_file";

/// The axes of a job, slowest first.
pub(super) struct Axes(Vec<Axis>);

/// What the file has under one key.
struct Axis {
    key: &'static str,
    /// At least one. Each sets one parameter, or two that are listed together.
    points: Vec<Point>,
}

type Point = Vec<(&'static str, Value)>;

impl Axes {
    /// Reads both places, and notes what stands in both or, for the prompt, in neither; `listed`
    /// are the prompts of a file.
    pub(super) fn read(top: &mut Table, bounds: &Bounds, listed: Option<&[String]>) -> Axes {
        let keys = axes().map(|axis| axis.name).chain([SIZE]);
        let given: Vec<&str> = keys.filter(|key| top.has(key)).collect();
        refuse_two_sizes(top, &[]);
        let mut axes = read_level(top, Level::Top, bounds);
        let (has_prompt, in_matrix) = top.section("matrix", |matrix| {
            refuse_conflicts(matrix, &given);
            (matrix.has(PROMPT), read_level(matrix, Level::Matrix, bounds))
        });
        let has_prompt = has_prompt || top.has(PROMPT);
        if has_prompt && top.has(PROMPT_FILE) {
            top.mistake(
                PROMPT_FILE,
                Mistake::new("prompt is given too").help(
                    "keep one of the two: `prompt` says the prompts themselves, `prompt_file` names \
                     a file with one in each line",
                ),
            );
        }
        if !has_prompt && !top.has(PROMPT_FILE) {
            top.mistake(
                PROMPT,
                Mistake::new("missing").help("say what to paint: prompt = \"a red fox\""),
            );
        }
        axes.extend(in_matrix);
        axes.extend(listed.filter(|_| !has_prompt).map(Axis::of_prompts));
        axes.sort_by_key(|axis| rank(axis.key));
        Axes(axes)
    }

    /// Whether the file says the parameter.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|axis| axis.key == key)
    }

    /// What the file says to paint, each once.
    pub(super) fn prompts(&self) -> impl Iterator<Item = &str> {
        let points = self.0.iter().flat_map(|axis| &axis.points).flatten();
        points.filter(|(name, _)| *name == PROMPT).filter_map(|(_, value)| value.as_str())
    }

    /// How many combinations there are; `usize::MAX` stands for more than that.
    pub(super) fn count(&self) -> usize {
        self.0.iter().fold(1, |product, axis| product.saturating_mul(axis.points.len()))
    }

    /// Whether the renders, `num_images` for each combination, are at most `renders_max`.
    pub(super) fn check_count(&self, num_images: u32, renders_max: u32) -> Check<()> {
        let renders = self.count().saturating_mul(num_images as usize);
        if renders <= renders_max as usize {
            return Ok(());
        }
        let factors: Vec<String> = (self.0.iter().map(|axis| (axis.key, axis.points.len())))
            .chain([("num_images", num_images as usize)])
            .filter(|(_, length)| *length > 1)
            .map(|(key, length)| format!("{length} {key}"))
            .collect();
        let message = format!("{} make {renders} pictures", factors.join(" x "));
        Err(Mistake::new(message).help(format!("at most {renders_max} in one job: split it")))
    }

    /// Every point of each axis with every one of the others. The last axis changes fastest.
    pub(super) fn combinations(&self) -> impl Iterator<Item = ParameterValues> {
        (0..self.count()).map(|index| self.combination(index))
    }

    fn combination(&self, index: usize) -> ParameterValues {
        let mut values = ParameterValues::new();
        let mut rest = index;
        for Axis { points, .. } in self.0.iter().rev() {
            let point = &points[rest % points.len()];
            values.extend(point.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            rest /= points.len();
        }
        values
    }
}

impl Axis {
    fn of_prompts(prompts: &[String]) -> Axis {
        let points = prompts.iter().map(|prompt| vec![(PROMPT, json!(prompt))]);
        Axis { key: PROMPT, points: points.collect() }
    }
}

fn axes() -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().filter(|parameter| parameter.is_axis)
}

/// The place of an axis among the others.
fn rank(key: &str) -> Option<usize> {
    let name = if key == SIZE { "width" } else { key };
    axes().position(|axis| axis.name == name)
}

fn read_level(table: &mut Table, level: Level, bounds: &Bounds) -> Vec<Axis> {
    let mut found = Vec::new();
    for axis in axes() {
        let check = |value: &DeValue| Ok(vec![(axis.name, axis.check(value, bounds)?)]);
        let points = level.read(table, axis.name, check);
        found.extend(points.map(|points| Axis { key: axis.name, points }));
    }
    let points = level.read(table, SIZE, |value| size(value, bounds));
    found.extend(points.map(|points| Axis { key: SIZE, points }));
    found
}

fn size(value: &DeValue, bounds: &Bounds) -> Check<Point> {
    let (width, height) = fields::size(value, bounds)?;
    Ok(vec![("width", json!(width)), ("height", json!(height))])
}

/// `given` are the keys at the top of the file.
fn refuse_conflicts(matrix: &mut Table, given: &[&str]) {
    for key in given {
        if matrix.has(key) {
            matrix.mistake(
                key,
                Mistake::new("also given at the top of the file").help("keep one of the two"),
            );
        }
    }
    refuse_two_sizes(matrix, given);
    for side in ["width", "height"] {
        if given.contains(&SIZE) && matrix.has(side) {
            matrix.mistake(
                side,
                Mistake::new("size is given at the top of the file").help("keep one of the two"),
            );
        }
    }
}

/// Notes a size beside a width or a height, in the same table or among those `given` elsewhere.
fn refuse_two_sizes(table: &mut Table, given: &[&str]) {
    for side in ["width", "height"] {
        if table.has(SIZE) && (table.has(side) || given.contains(&side)) {
            table.mistake(
                SIZE,
                Mistake::new(format!("{side} is given too")).help("keep one of the two"),
            );
        }
    }
}

/// Where a key stands decides how it is written.
#[derive(Clone, Copy)]
enum Level {
    /// One value; for the prompt also a list.
    Top,
    /// A list.
    Matrix,
}

impl Level {
    fn read<'d>(
        self,
        table: &mut Table<'d>,
        key: &'static str,
        check: impl Fn(&DeValue<'d>) -> Check<Point>,
    ) -> Option<Vec<Point>> {
        let points = match self {
            Level::Top if key == PROMPT => table.read_one_or_list(key, check),
            Level::Top => {
                table.read(key, |value| not_a_list(value).and_then(&check)).map(|point| vec![point])
            }
            Level::Matrix => table.read_list(key, check),
        };
        not_empty(table, key, points)
    }
}

fn not_a_list<'v, 'i>(value: &'v DeValue<'i>) -> Check<&'v DeValue<'i>> {
    match value {
        DeValue::Array(_) => {
            Err(Mistake::new("expected one value, found a list")
                .help("put the list under [matrix]"))
        }
        other => Ok(other),
    }
}

fn not_empty<T>(table: &mut Table, key: &str, values: Option<Vec<T>>) -> Option<Vec<T>> {
    if values.as_ref().is_some_and(Vec::is_empty) {
        table.mistake(
            key,
            Mistake::new("the list is empty").help("give at least one, or leave the key out"),
        );
        return None;
    }
    values
}
