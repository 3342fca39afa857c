//! Writes the file of the transformer's quantised matrices.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::{DType, Device, bail};
use serde::Serialize;

use super::model_files::ModelFiles;
use super::ops;
use super::quant::{ARCHITECTURE, MatrixFormat, QuantisedFile, QuantisedMatrix, SOURCE_HASH};
use super::weights::Weights;
use crate::engine::{ModelDescription, ModelPlace};
use crate::files;
use crate::ladder::Precision;

/// What [`quantise_model`] wrote, or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quantised {
    /// The file.
    pub path: PathBuf,
    /// How many matrices are in it.
    pub matrices: usize,
    /// What these matrices take in the model's own files.
    pub before_bytes: u64,
    /// What the written file takes.
    pub after_bytes: u64,
    /// False when a file that was made from these weights was there already.
    pub fresh: bool,
}

/// Quantises the transformer of the model at `model` into a file beside it, which loading at
/// `precision` then takes. Needs memory for the whole file. A file that is whole and of these
/// weights is left alone unless `force`.
///
/// Errors name the file and what is wrong.
pub fn quantise_model(
    model: &ModelPlace,
    precision: Precision,
    force: bool,
) -> Result<Quantised, String> {
    let files = ModelFiles::find(model)?;
    let name = ModelDescription::of(&files)?.name;
    let place = files.transformer.place();
    let weights = Weights::open(&files.transformer, DType::F32, &Device::Cpu)?;
    let Some(path) = QuantisedFile::path(place, precision) else {
        return Err("this precision has no file of its own".to_owned());
    };
    let hash = weights.fingerprint()?;
    let matrices = weights.quantised_matrices(precision);
    if matrices.is_empty() {
        return Err(format!("{}: holds no matrix that can be quantised", place.display()));
    }
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let fresh =
        force || !matches!(QuantisedFile::open(place, precision, &hash, &matrices), Ok(Some(_)));
    if fresh {
        let metadata =
            [("general.architecture", ARCHITECTURE), ("general.name", &name), (SOURCE_HASH, &hash)];
        let quantised = quantise(&weights, &matrices)?;
        files::replace(&path, |temporary| write(temporary, &metadata, &quantised))
            .map_err(|error| told(&error))?;
    }
    let after_bytes = fs::metadata(&path).map_err(|error| told(&error))?.len();
    let before_bytes = matrices.iter().map(|matrix| matrix.stored_bytes as u64).sum();
    Ok(Quantised { path, matrices: matrices.len(), before_bytes, after_bytes, fresh })
}

/// One after the other: only one is dense in memory at a time.
fn quantise(
    weights: &Weights,
    matrices: &[QuantisedMatrix],
) -> Result<Vec<(String, QTensor)>, String> {
    let quantise = |matrix: &QuantisedMatrix| {
        let MatrixFormat::Blocks(format) = matrix.format else { bail!("no file has these") };
        let dense = weights.get(&matrix.name, matrix.shape.clone())?;
        Ok((matrix.name.clone(), ops::quantise(&dense, format, &Device::Cpu)?))
    };
    matrices
        .iter()
        .map(quantise)
        .collect::<candle_core::Result<_>>()
        .map_err(|error| error.to_string())
}

/// Writes the file and fsyncs it.
fn write(
    path: &Path,
    metadata: &[(&str, &str)],
    matrices: &[(String, QTensor)],
) -> candle_core::Result<()> {
    let values: Vec<Value> =
        metadata.iter().map(|(_, text)| Value::String((*text).to_owned())).collect();
    let metadata: Vec<(&str, &Value)> =
        metadata.iter().zip(&values).map(|((key, _), value)| (*key, value)).collect();
    let matrices: Vec<(&str, &QTensor)> =
        matrices.iter().map(|(name, matrix)| (name.as_str(), matrix)).collect();
    let mut file = BufWriter::new(File::create(path)?);
    gguf_file::write(&mut file, &metadata, &matrices)?;
    file.flush()?;
    Ok(file.get_ref().sync_all()?)
}
