//! Whether a model's weights can be computed with: every value is read.

use serde::Serialize;

use super::model_files::ModelFiles;
use crate::engine::provenance::Part;
use crate::engine::{ModelError, ModelPlace};

/// So many tensors that are wrong are told of a part.
const PROBLEMS_MAX: usize = 20;

/// A part of a model of which all values were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifiedPart {
    /// Which part.
    pub part: Part,
    /// How many tensors it has.
    pub tensors: usize,
    /// What they take in the files.
    pub bytes: u64,
    /// Tensors that cannot be read, or hold values that are no finite numbers; each with its file.
    /// The first twenty.
    pub problems: Vec<String>,
}

/// Reads every tensor of the model at `place`. Takes a few megabytes of memory. An error says why
/// it is no whole model.
pub fn verify_weights(place: &ModelPlace) -> Result<Vec<VerifiedPart>, ModelError> {
    let files = ModelFiles::find(place)?;
    files.weight_paths()?;
    let parts = [&files.transformer, &files.text_encoder, &files.vae];
    let verified = parts.into_iter().map(|files| {
        let tensors = files.tensors()?;
        let problems = tensors.values().filter_map(|tensor| tensor.check_finite().err());
        Ok(VerifiedPart {
            part: files.part,
            tensors: tensors.len(),
            bytes: tensors.values().map(|tensor| tensor.bytes() as u64).sum(),
            problems: problems.take(PROBLEMS_MAX).map(|error| error.to_string()).collect(),
        })
    });
    verified.collect()
}
