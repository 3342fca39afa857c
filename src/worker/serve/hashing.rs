//! Hashes the model beside the renders, the first time that it is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::Stop;
use super::events::Events;
use crate::engine::Engine;
use crate::engine::model_hash::{cached, cached_of_part, compute};
use crate::engine::provenance::{PartOrigin, WeightPart};
use crate::engine::weight_files::WeightFiles;
use crate::output::metadata::PictureModel;
use crate::worker::protocol::{HashedModel, WorkerEvent};

/// Between two looks at whether the hash is known, by whoever waits for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is known of the loaded model's content.
#[derive(Clone)]
pub struct ModelHash {
    files: WeightFiles,
    parts: Vec<WeightPart>,
    /// The file that hashes are cached in.
    cache: PathBuf,
    /// Of the parts as far as they are known at the load.
    origins: Vec<PartOrigin>,
    /// `None` in it where the files cannot be hashed.
    hashed: Arc<OnceLock<Option<HashedModel>>>,
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
            let parts = hash.origins.clone();
            hash.hashed.get_or_init(|| Some(HashedModel { model_hash, parts }));
        }
        hash
    }

    fn whole(&self) -> Option<&HashedModel> {
        self.hashed.get()?.as_ref()
    }

    pub fn known(&self) -> Option<&str> {
        self.whole().map(|hashed| hashed.model_hash.as_str())
    }

    /// What the parts are, with the hashes that are known by now.
    pub fn origins(&self) -> &[PartOrigin] {
        self.whole().map_or(&self.origins, |hashed| &hashed.parts)
    }

    /// Waits until the hashing has ended, but not past `end`, nor when all is to stop. A row can
    /// be completed later, and a picture that has its name is never written again.
    pub fn wait(&self, end: Instant, stop: &Stop) {
        while self.hashed.get().is_none() && Instant::now() < end && !stop.all_asked() {
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What a picture says of the model `name`.
    pub fn told_of(&self, name: &str) -> PictureModel {
        PictureModel {
            name: name.to_owned(),
            hash: self.known().map(str::to_owned),
            parts: self.origins().to_vec(),
        }
    }

    /// Computes it on threads of its own, unless it is known, and then tells the supervisor. Where
    /// that fails the model stays without a hash until the next start.
    pub fn compute(&self, events: &Arc<Events>) {
        if self.known().is_some() {
            return;
        }
        let (hash, events) = (self.clone(), Arc::clone(events));
        let hashing = move || {
            let computed = compute(&hash.files, &hash.cache).inspect_err(not_hashed).ok();
            let with_parts = |model_hash| {
                let parts = origins(&hash.parts, &hash.cache);
                HashedModel { model_hash, parts }
            };
            if let Some(hashed) = hash.hashed.get_or_init(|| computed.map(with_parts)) {
                events.send(&WorkerEvent::ModelHashed(hashed.clone()));
            }
        };
        if let Err(error) = thread::Builder::new().name("hash".to_owned()).spawn(hashing) {
            not_hashed(&error);
            self.hashed.get_or_init(|| None);
        }
    }
}

fn not_hashed(error: &io::Error) {
    tracing::warn!("the model cannot be hashed: {error}");
}

fn origins(parts: &[WeightPart], cache: &Path) -> Vec<PartOrigin> {
    parts.iter().map(|part| part.origin(cached_of_part(&part.files, cache))).collect()
}
