//! The values that the renders of a job differ in, from the top of the file or from lists under
//! `[matrix]`.

use toml::de::DeValue;

use super::combinations::{Combinations, Sizes};
use super::{Defaults, Rules, fields};
use crate::table::{Check, Mistake, Table};

/// Keys that stand at the top with one value, or under `[matrix]` with a list.
const KEYS: [&str; 7] =
    ["prompt", "negative_prompt", "width", "height", "steps", "guidance", "seed"];

/// What the file gives; `None` where it says nothing, or something wrong.
pub(super) struct Axes {
    prompts: Option<Vec<String>>,
    negative_prompts: Option<Vec<String>>,
    widths: Option<Vec<u32>>,
    heights: Option<Vec<u32>>,
    sizes: Option<Vec<(u32, u32)>>,
    steps: Option<Vec<u32>>,
    guidances: Option<Vec<f64>>,
    seeds: Option<Vec<Option<u64>>>,
}

impl Axes {
    /// Reads both places, and notes what stands in both or, for the prompt, in neither.
    pub(super) fn read(top: &mut Table, rules: &Rules) -> Axes {
        let given: Vec<&str> = KEYS.into_iter().filter(|key| top.has(key)).collect();
        let at_top = Axes::read_level(top, Level::Top, rules);
        let (has_prompt, in_matrix) = top.section("matrix", |matrix| {
            refuse_conflicts(matrix, &given);
            (matrix.has("prompt"), Axes::read_level(matrix, Level::Matrix, rules))
        });
        if !has_prompt && !top.has("prompt") {
            top.mistake(
                "prompt",
                Mistake::new("missing").help("say what to paint: prompt = \"a red fox\""),
            );
        }
        at_top.or(in_matrix)
    }

    fn read_level(table: &mut Table, level: Level, rules: &Rules) -> Axes {
        let limits = &rules.limits;
        Axes {
            prompts: level.read_prompts(table, |value| fields::prompt(value, limits)),
            negative_prompts: level
                .read(table, "negative_prompt", |value| fields::negative_prompt(value, limits)),
            widths: level.read(table, "width", |value| fields::side(value, rules)),
            heights: level.read(table, "height", |value| fields::side(value, rules)),
            sizes: level.read_sizes(table, |value| fields::size(value, rules)),
            steps: level.read(table, "steps", |value| fields::steps(value, limits)),
            guidances: level.read(table, "guidance", fields::guidance),
            seeds: level.read(table, "seed", fields::seed),
        }
    }

    fn or(self, other: Axes) -> Axes {
        Axes {
            prompts: self.prompts.or(other.prompts),
            negative_prompts: self.negative_prompts.or(other.negative_prompts),
            widths: self.widths.or(other.widths),
            heights: self.heights.or(other.heights),
            sizes: self.sizes.or(other.sizes),
            steps: self.steps.or(other.steps),
            guidances: self.guidances.or(other.guidances),
            seeds: self.seeds.or(other.seeds),
        }
    }

    /// Fills in the defaults. `None` without a prompt.
    pub(super) fn combine(self, defaults: &Defaults) -> Option<Combinations> {
        Some(Combinations {
            prompts: self.prompts?,
            negative_prompts: self
                .negative_prompts
                .unwrap_or_else(|| vec![defaults.negative_prompt.clone()]),
            sizes: match self.sizes {
                Some(sizes) => Sizes::Listed(sizes),
                None => Sizes::Crossed {
                    widths: self.widths.unwrap_or_else(|| vec![defaults.width]),
                    heights: self.heights.unwrap_or_else(|| vec![defaults.height]),
                },
            },
            steps: self.steps.unwrap_or_else(|| vec![defaults.steps]),
            guidances: self.guidances.unwrap_or_else(|| vec![defaults.guidance]),
            seeds: self.seeds.unwrap_or_else(|| vec![None]),
        })
    }
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
    for side in ["width", "height"] {
        if matrix.has("size") && (matrix.has(side) || given.contains(&side)) {
            matrix.mistake(
                "size",
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
    fn read<'d, T>(
        self,
        table: &mut Table<'d>,
        key: &'static str,
        check: impl Fn(&DeValue<'d>) -> Check<T>,
    ) -> Option<Vec<T>> {
        match self {
            Level::Top => {
                table.read(key, |value| not_a_list(value).and_then(&check)).map(|value| vec![value])
            }
            Level::Matrix => {
                let values = table.read_list(key, check);
                not_empty(table, key, values)
            }
        }
    }

    fn read_prompts<'d>(
        self,
        table: &mut Table<'d>,
        check: impl Fn(&DeValue<'d>) -> Check<String>,
    ) -> Option<Vec<String>> {
        let prompts = match self {
            Level::Top => table.read_one_or_list("prompt", check),
            Level::Matrix => table.read_list("prompt", check),
        };
        not_empty(table, "prompt", prompts)
    }

    /// The top has `width` and `height` instead.
    fn read_sizes<'d, T>(
        self,
        table: &mut Table<'d>,
        check: impl Fn(&DeValue<'d>) -> Check<T>,
    ) -> Option<Vec<T>> {
        match self {
            Level::Top => None,
            Level::Matrix => self.read(table, "size", check),
        }
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
