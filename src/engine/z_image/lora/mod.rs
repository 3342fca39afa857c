//! LoRAs and their kin: small files that change the transformer's linear layers.
//!
//! They are applied beside the layers' own matrices, which stay as they are: dense, quantised or
//! streamed. So another LoRA, or another weight, needs no other weights of the model.

mod adapter;
mod adapters;
mod file;
mod form;
pub mod inspect;
mod keys;
mod load;
mod modules;
mod peft;
mod size;

use std::path::Path;

pub use self::adapters::{Adapters, Beside};
pub use self::file::LoraFile;
pub use self::inspect::inspect_lora;
pub use self::load::{LoadError, LoadedLora};
pub use self::modules::Modules;
pub use self::size::of_file as lora_size;
use super::model_files::ModelFiles;
use crate::engine::{ModelError, ModelPlace};
use crate::job::lora::LoraSize;

/// Looks whether the LoRA at `path` fits the model at `model`, as far as headers tell; answers what
/// it takes. Errors name the file and what is wrong with it.
pub fn check_lora(
    path: &Path,
    model: &ModelPlace,
    allow_unknown: bool,
) -> Result<LoraSize, ModelError> {
    let modules = Modules::of(&ModelFiles::find(model)?.config()?.transformer);
    let file = LoraFile::read(path, &modules)?;
    file.require_fit(allow_unknown)?;
    Ok(lora_size(&file, &modules))
}
