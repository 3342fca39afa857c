//! A model of any layout and format that is read, written in the hub's layout.

use std::path::Path;

use super::tensors::{EMBEDDINGS, ENCODER};
use super::{NewPart, Result, WrittenModel, make, texts};
use crate::engine::ModelPlace;
use crate::engine::provenance::Part;
use crate::engine::z_image::checkpoint::{
    Encoding, FloatFormat, NewTensor, StoredTensor, write_safetensors,
};
use crate::engine::z_image::config::ModelConfig;
use crate::engine::z_image::model_files::{ModelFiles, PartFiles};
use crate::engine::z_image::shapes::Tensors;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// The folder, which is made.
    pub to: &'a Path,
    pub format: FloatFormat,
}

/// Writes the model at `from` anew. A few megabytes of it are in memory at a time.
pub fn convert_model(from: &ModelPlace, conversion: Conversion) -> Result<WrittenModel> {
    let Conversion { to, format } = conversion;
    let files = ModelFiles::find(from).map_err(|error| error.to_string())?;
    files.weight_paths().map_err(|error| error.to_string())?;
    let config = files.config().map_err(|error| error.to_string())?;
    let mut parts = NewPart::all(&config);
    let sources = [&files.transformer, &files.text_encoder, &files.vae];
    let mut stored = Vec::with_capacity(sources.len());
    for (new, source) in parts.iter_mut().zip(sources) {
        stored.push(matched(new, source)?);
    }
    let mut texts = texts_of(&files, &config)?;
    texts::note_trained(&mut texts, trained(&parts[1], &stored[1]))?;
    make(to, &parts, format, |folder| {
        texts::write(folder, &texts)?;
        for (new, stored) in parts.iter().zip(&stored) {
            write(&new.path(folder), format, &new.tensors, stored)?;
        }
        Ok(())
    })
}

/// What floats the text encoder was trained in, which its embeddings are rounded to: those of its
/// file, or bf16 where that has been quantised.
fn trained(new: &NewPart, stored: &[StoredTensor]) -> &'static str {
    let pairs = new.tensors.iter().zip(stored);
    let embeddings = pairs.into_iter().find(|(tensor, _)| tensor.name == EMBEDDINGS);
    match embeddings.map(|(_, stored)| stored.encoding()) {
        Some(Encoding::F32) => "float32",
        Some(Encoding::F16) => "float16",
        _ => "bfloat16",
    }
}

/// The source of each tensor of the part. A VAE may be a decoder alone.
fn matched(new: &mut NewPart, source: &PartFiles) -> Result<Vec<StoredTensor>> {
    let tensors = source.tensors().map_err(|error| error.to_string())?;
    if new.part == Part::Vae && !tensors.keys().any(|name| name.starts_with(ENCODER)) {
        new.tensors.retain(|tensor| !tensor.name.starts_with(ENCODER));
    }
    new.tensors.iter().map(|tensor| find(&tensors, tensor, source.place())).collect()
}

fn find(tensors: &Tensors, wanted: &NewTensor, place: &Path) -> Result<StoredTensor> {
    let NewTensor { name, shape } = wanted;
    match tensors.get(name) {
        Some(stored) if stored.fits(shape) => Ok(stored.clone()),
        Some(stored) => Err(format!(
            "{}: {name} has the shape {:?}, not {shape:?}",
            place.display(),
            stored.shape()
        )),
        None => Err(format!("{}: {name} is missing", place.display())),
    }
}

fn texts_of(files: &ModelFiles, config: &ModelConfig) -> Result<Vec<texts::Text>> {
    let mut texts = texts::of_config(config)?;
    match &files.hub {
        Some(hub) => texts::of_hub(hub, &mut texts)?,
        None => texts.push(texts::of_program()?),
    }
    for (part, folder) in [
        (&files.transformer, "transformer"),
        (&files.text_encoder, "text_encoder"),
        (&files.vae, "vae"),
    ] {
        // Beside its own file only: elsewhere the folder may be called otherwise.
        if let Some(parent) = part.config_json().as_deref().and_then(Path::parent)
            && parent.file_name().is_some_and(|name| name == folder)
        {
            let above = parent.parent().unwrap_or(parent);
            texts::copy(above, &format!("{folder}/config.json"), &mut texts)?;
        }
    }
    Ok(texts)
}

fn write(
    path: &Path,
    format: FloatFormat,
    tensors: &[NewTensor],
    stored: &[StoredTensor],
) -> Result<()> {
    let written = write_safetensors(path, format, tensors, |place, first_row, out| {
        let columns = tensors[place].columns().max(1);
        stored[place].decode_from(first_row * columns, out)
    });
    written.map_err(|error| error.to_string())
}
