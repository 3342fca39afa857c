//! Finished latents kept in a small file beside the attempt, so that a failed decode is repeated alone.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Latents, Recipe};

/// What the latents depend on: kept latents are used only for exactly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentsKey {
    pub model_hash: String,
    pub recipe: Recipe,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
}

/// Keeps `latents` at `path` (temporary file, fsync, rename).
pub fn save(_path: &Path, _key: &LatentsKey, _latents: &Latents) -> io::Result<()> {
    todo!()
}

/// The latents kept at `path`, if the file is whole (its hash fits) and was made for `key`.
pub fn load(_path: &Path, _key: &LatentsKey) -> Option<Latents> {
    todo!()
}
