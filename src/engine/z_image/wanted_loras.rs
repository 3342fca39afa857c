//! Which LoRAs an engine is asked for, and how its transformer comes to have them.

use std::sync::Arc;

use super::config::TransformerConfig;
use super::device_memory::DeviceMemory;
use super::lora::{Adapters, LoadError, LoadedLora, LoraFile, Modules, lora_size};
use super::oom::at;
use super::parts::Parts;
use crate::engine::weight_files::Stamp;
use crate::engine::{Backend, EngineError, ModelError, PlacedLora, Result, Stage, model_hash};

/// So many hashes of files are remembered.
const HASHES_MAX: usize = 64;

/// Those of the renders that come. A file that was read stays until it is no longer wanted, so that
/// another weight of the same LoRA costs nothing.
#[derive(Default)]
pub struct WantedLoras {
    wanted: Vec<PlacedLora>,
    /// The hashes of files that were read.
    hashes: Vec<(Stamp, String)>,
}

impl WantedLoras {
    /// Wants `loras` from now on; what `parts` have of others is dropped.
    pub fn set(&mut self, loras: Vec<PlacedLora>, parts: Option<&mut Parts>) {
        self.wanted = loras;
        let Some(parts) = parts else { return };
        let loaded = parts.transformer.adapters();
        if self.are_those_of(loaded) {
            return;
        }
        let kept = self
            .wanted
            .iter()
            .filter_map(|wanted| Some((loaded.loaded(&wanted.lora.sha256)?, wanted.lora.weight)));
        let kept = Adapters::new(kept.collect());
        parts.transformer.set_adapters(kept);
    }

    fn are_those_of(&self, adapters: &Adapters) -> bool {
        let wanted = self.wanted.iter().map(|it| (it.lora.sha256.as_str(), it.lora.weight));
        adapters.are(wanted)
    }

    /// Has the transformer of `parts` use what is wanted. Reads what it has not yet. What is wrong
    /// with a file is `Invalid`: no other render suffers from it.
    pub fn place(
        &mut self,
        config: &TransformerConfig,
        parts: &mut Parts,
        memory: &DeviceMemory,
    ) -> Result<()> {
        if self.are_those_of(parts.transformer.adapters()) {
            return Ok(());
        }
        let modules = Modules::of(config);
        let mut placed: Vec<(Arc<LoadedLora>, f64)> = Vec::with_capacity(self.wanted.len());
        for wanted in &self.wanted {
            let sha256 = &wanted.lora.sha256;
            let twin = placed.iter().map(|(lora, _)| lora).find(|lora| lora.sha256 == *sha256);
            let known = twin.cloned().or_else(|| parts.transformer.adapters().loaded(sha256));
            let lora = match known {
                Some(lora) => lora,
                None => Arc::new(read(wanted, &modules, parts, memory, &mut self.hashes)?),
            };
            placed.push((lora, wanted.lora.weight));
        }
        parts.transformer.set_adapters(Adapters::new(placed));
        Ok(())
    }
}

fn read(
    wanted: &PlacedLora,
    modules: &Modules,
    parts: &Parts,
    memory: &DeviceMemory,
    hashes: &mut Vec<(Stamp, String)>,
) -> Result<LoadedLora> {
    let PlacedLora { lora, path } = wanted;
    let file = LoraFile::read(path, modules).and_then(|file| {
        file.require_fit(lora.allow_unknown)?;
        require_hash(wanted, hashes)?;
        Ok(file)
    });
    let file = file.map_err(refused)?;
    tracing::info!("LoRA {}: {}", lora.name, file.summary(modules));
    if !file.unknown.is_empty() {
        tracing::warn!("LoRA {}: passed over: {}", lora.name, file.unknown_keys());
    }
    let value_bytes = super::device::dtype(&parts.device).size_in_bytes();
    let bytes = lora_size(&file, modules).values as usize * value_bytes;
    // On the host beside a card, the card's memory is not asked.
    if parts.device.is_cpu() == matches!(memory.backend(), Backend::Cpu { .. }) {
        memory.require(bytes).map_err(at(Stage::Load))?;
    }
    let loaded = LoadedLora::load(&file, &lora.sha256, modules, &parts.device);
    loaded.map_err(|error| match error {
        LoadError::File(error) => refused(error),
        LoadError::Device(error) => at(Stage::Load)(error),
    })
}

/// The file must be the one that the job was taken in with.
fn require_hash(
    wanted: &PlacedLora,
    hashes: &mut Vec<(Stamp, String)>,
) -> std::result::Result<(), ModelError> {
    let unreadable = |error| ModelError::of_io(&wanted.path, &error);
    let stamp = Stamp::of(&wanted.path).map_err(unreadable)?;
    if !hashes.iter().any(|(known, _)| *known == stamp) {
        let sha256 = model_hash::of_file(&stamp).map_err(unreadable)?;
        hashes.retain(|(known, _)| known.path != stamp.path);
        hashes.truncate(HASHES_MAX - 1);
        hashes.insert(0, (stamp.clone(), sha256));
    }
    let is_right =
        |(known, sha256): &(Stamp, String)| *known == stamp && *sha256 == wanted.lora.sha256;
    match hashes.iter().any(is_right) {
        true => Ok(()),
        false => Err(ModelError::wrong(
            &wanted.path,
            "has changed since the job was taken in; submit the job again",
        )),
    }
}

/// What a user must mend fails the render. The system's code would say that every render fails: it
/// stays only where the same call may succeed later.
fn refused(error: ModelError) -> EngineError {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((told, _)) if !error.may_pass() => EngineError::Invalid(told.to_owned()),
        _ => EngineError::Invalid(text),
    }
}
