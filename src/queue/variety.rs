//! What sets the pictures of a job apart, for those who list them.

use serde::Serialize;

use super::axes::{SEED, Varied, varying};
use super::beginning;
use crate::store::HistoryRow;

/// So many values of a parameter are told.
const VALUES_MAX: usize = 5;

/// A parameter that is not the same in all pictures of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Varying {
    /// What it is called.
    pub parameter: String,
    /// Its first five values, in words.
    pub values: Vec<String>,
    /// How many values it has.
    pub count: usize,
}

impl Varying {
    /// Whether it is the seed, and each of so many `pictures` has its own: nobody has chosen these
    /// numbers for what they are.
    pub fn is_own_seed(&self, pictures: usize) -> bool {
        is_own_seed(&self.parameter, self.count, pictures)
    }
}

fn is_own_seed(parameter: &str, values: usize, pictures: usize) -> bool {
    parameter == SEED && values == pictures
}

/// What varies, and for each picture what it has of that where no other column says it.
pub(super) fn variety(pictures: &[HistoryRow]) -> (Vec<Varying>, Vec<String>) {
    let varied = varying(pictures);
    let varies = varied.iter().map(|Varied { name, axis, .. }| Varying {
        parameter: (*name).to_owned(),
        values: axis.values.iter().take(VALUES_MAX).map(|value| beginning(value)).collect(),
        count: axis.values.len(),
    });
    // Where each picture has a seed of its own, and differs by more, that number is nobody's word.
    let is_drawn = |Varied { name, axis, .. }: &Varied| {
        is_own_seed(name, axis.values.len(), pictures.len()) && varied.len() > 1
    };
    let told: Vec<&Varied> = varied.iter().filter(|it| !it.has_column && !is_drawn(it)).collect();
    let apart = |picture: usize| {
        let own = told.iter().map(|it| beginning(&it.axis.values[it.axis.places[picture]]));
        own.collect::<Vec<_>>().join(", ")
    };
    (varies.collect(), (0..pictures.len()).map(apart).collect())
}
