//! `zimaged-q8.gguf` and `zimaged-q4.gguf`: files beside the transformer's own ones, which have its
//! quantised matrices; `NAME.zimaged-q8.gguf` beside a single file.
//!
//! What is not quantised is in the model's own files alone, which full precision needs anyway.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Result};

use super::{MatrixFormat, QuantisedMatrix, word};
use crate::files;
use crate::ladder::Precision;

/// What `general.architecture` says: the name that GGUF files of this model have.
pub const ARCHITECTURE: &str = "lumina2";
/// The key of the fingerprint of the weights that the matrices were made from.
pub const SOURCE_HASH: &str = "zimaged.source_hash";

/// An open file of quantised matrices that fits the model it lies in.
pub struct QuantisedFile {
    path: PathBuf,
    content: Content,
    file: Mutex<File>,
}

impl QuantisedFile {
    /// The path of the file at `precision` for the transformer at `place`, a folder or a single
    /// file; `None` at full precision.
    pub fn path(place: &Path, precision: Precision) -> Option<PathBuf> {
        let name = format!("zimaged-{}.gguf", word(precision)?);
        Some(if place.is_dir() { place.join(name) } else { place.with_extension(name) })
    }

    /// Opens the file where there is one, and checks that it was made from weights with this
    /// fingerprint and has all `matrices`. Errors name the file, what is wrong with it, and the
    /// command that makes it anew.
    pub fn open(
        place: &Path,
        precision: Precision,
        fingerprint: &str,
        matrices: &[QuantisedMatrix],
    ) -> std::result::Result<Option<QuantisedFile>, String> {
        let Some(path) = QuantisedFile::path(place, precision).filter(|path| path.exists()) else {
            return Ok(None);
        };
        match read(&path, fingerprint, matrices) {
            Ok((content, file)) => {
                Ok(Some(QuantisedFile { path, content, file: Mutex::new(file) }))
            }
            Err(what) => Err(format!(
                "{}: {what}; to mend it: {}",
                path.display(),
                command(place, precision)
            )),
        }
    }

    /// The matrix `name`, read onto `device`.
    pub fn matrix(&self, name: &str, device: &Device) -> Result<QTensor> {
        let matrix = self.content.tensor(
            &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner),
            name,
            device,
        );
        matrix.map_err(|error| error.with_path(&self.path))
    }
}

/// What makes the file of the transformer at `place`: a folder of a model's, or the model itself.
fn command(place: &Path, precision: Precision) -> String {
    let model = if place.is_dir() { place.parent().unwrap_or(place) } else { place };
    let word = word(precision).unwrap_or_default();
    format!("zimaged model quantize --precision {word} --model '{}'", model.display())
}

fn read(
    path: &Path,
    fingerprint: &str,
    matrices: &[QuantisedMatrix],
) -> std::result::Result<(Content, File), String> {
    let file = files::open_plain(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let content = Content::read(&mut BufReader::new(&file))
        .map_err(|error| format!("not a whole GGUF file: {error}"))?;
    let text =
        |key: &str| content.metadata.get(key).and_then(|value: &Value| value.to_string().ok());
    if text("general.architecture").is_none_or(|architecture| architecture != ARCHITECTURE) {
        return Err(format!("general.architecture is not {ARCHITECTURE}"));
    }
    if text(SOURCE_HASH).is_none_or(|hash| hash != fingerprint) {
        return Err(format!(
            "{SOURCE_HASH} is not that of the weights beside it: it was made from another model"
        ));
    }
    match matrices.iter().find_map(|matrix| problem(&content, matrix, length)) {
        Some(problem) => Err(problem),
        None => Ok((content, file)),
    }
}

fn problem(content: &Content, matrix: &QuantisedMatrix, length: u64) -> Option<String> {
    let name = &matrix.name;
    let Some(info) = content.tensor_infos.get(name) else {
        return Some(format!("{name} is missing"));
    };
    let format = MatrixFormat::Blocks(info.ggml_dtype);
    if (&info.shape, format) != (&matrix.shape, matrix.format) {
        let (shape, expected) = (info.shape.dims(), matrix.shape.dims());
        return Some(format!("{name} is {format} {shape:?}, not {} {expected:?}", matrix.format));
    }
    let end = content
        .tensor_data_offset
        .saturating_add(info.offset)
        .saturating_add(matrix.bytes() as u64);
    (end > length).then(|| format!("{name} ends at byte {end} of {length}: the file was cut short"))
}
