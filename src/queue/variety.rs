//! What sets the pictures of a job apart, for those who list them.

use serde::Serialize;

use super::axes::varying;
use super::beginning;
use crate::store::HistoryRow;

/// So many values of a parameter are told.
const VALUES_MAX: usize = 5;

/// A parameter that is not the same in all pictures of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Varying {
    /// Its first five values, in words.
    pub values: Vec<String>,
    /// How many values it has.
    pub count: usize,
}

/// What varies, and for each picture what it has of that where no other column says it.
pub(super) fn variety(pictures: &[HistoryRow]) -> (Vec<Varying>, Vec<String>) {
    let axes = varying(pictures);
    let varies = axes.iter().map(|(_, axis)| Varying {
        values: axis.values.iter().take(VALUES_MAX).map(|value| beginning(value)).collect(),
        count: axis.values.len(),
    });
    let apart = |picture: usize| {
        let own = axes.iter().filter(|(has_column, _)| !has_column);
        let own = own.map(|(_, axis)| beginning(&axis.values[axis.places[picture]]));
        own.collect::<Vec<_>>().join(", ")
    };
    (varies.collect(), (0..pictures.len()).map(apart).collect())
}
