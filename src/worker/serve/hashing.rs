//! Hashes the model beside the renders, the first time that it is used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::events::Events;
use crate::engine::Engine;
use crate::engine::model_hash::{cached, cached_of_part, compute};
use crate::engine::provenance::{PartOrigin, WeightPart};
use crate::engine::weight_files::WeightFiles;
use crate::worker::protocol::{HashedModel, WorkerEvent};

/// What is known of the loaded model's content.
#[derive(Clone)]
pub struct ModelHash {
    files: WeightFiles,
    parts: Vec<WeightPart>,
    /// The file that hashes are cached in.
    cache: PathBuf,
    /// Of the parts as far as they are known at the load.
    origins: Vec<PartOrigin>,
    hashed: Arc<OnceLock<HashedModel>>,
}

impl ModelHash {
    /// As the cache at `cache`, and the records of fetches, have it.
    pub fn cached(engine: &dyn Engine, cache: &Path) -> ModelHash {
        let parts = engine.weight_parts().to_vec();
        let hash = ModelHash {
            files: engine.weight_files().clone(),
            origins: origins(&parts, cache),
            parts,
            cache: cache.to_owned(),
            hashed: Arc::default(),
        };
        if let Some(model_hash) = cached(&hash.files, cache) {
            hash.hashed.get_or_init(|| HashedModel { model_hash, parts: hash.origins.clone() });
        }
        hash
    }

    pub fn known(&self) -> Option<&str> {
        self.hashed.get().map(|hashed| hashed.model_hash.as_str())
    }

    /// What the parts are, with the hashes that are known by now.
    pub fn origins(&self) -> &[PartOrigin] {
        self.hashed.get().map_or(&self.origins, |hashed| &hashed.parts)
    }

    /// Computes it on threads of its own, unless it is known, and then tells the supervisor. Where
    /// that fails the model stays without a hash until the next start.
    pub fn compute(&self, events: &Arc<Events>) {
        if self.known().is_some() {
            return;
        }
        let (hash, events) = (self.clone(), Arc::clone(events));
        let hashing = move || match compute(&hash.files, &hash.cache) {
            Ok(model_hash) => {
                let parts = origins(&hash.parts, &hash.cache);
                let hashed = hash.hashed.get_or_init(|| HashedModel { model_hash, parts }).clone();
                events.send(&WorkerEvent::ModelHashed(hashed));
            }
            Err(error) => tracing::warn!("the model cannot be hashed: {error}"),
        };
        if let Err(error) = thread::Builder::new().name("hash".to_owned()).spawn(hashing) {
            tracing::warn!("the model cannot be hashed: {error}");
        }
    }
}

fn origins(parts: &[WeightPart], cache: &Path) -> Vec<PartOrigin> {
    parts.iter().map(|part| part.origin(cached_of_part(&part.files, cache))).collect()
}
