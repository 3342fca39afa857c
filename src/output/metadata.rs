//! The texts inside a picture: A1111 `parameters` for the tools that users have, our own JSON for everything.

use serde_json::{Map, Value};

use crate::engine::Recipe;
use crate::ladder::Rung;

/// What a picture says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    pub recipe: Recipe,
    /// On which rung, and so at which size and steps, it was made.
    pub rung: Rung,
    pub model_name: String,
    pub model_hash: String,
    /// Facts of the queue and the timings: merged into the JSON object.
    pub facts: Map<String, Value>,
}
