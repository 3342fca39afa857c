//! Hashes the model beside the renders, the first time that it is used.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use super::events::Events;
use crate::engine::model_hash::{cached, compute};
use crate::engine::weight_files::WeightFiles;
use crate::worker::protocol::WorkerEvent;

/// The hash of the loaded model, once it is known.
#[derive(Clone, Default)]
pub struct ModelHash(Arc<OnceLock<String>>);

impl ModelHash {
    /// As the cache at `cache` has it.
    pub fn cached(files: &WeightFiles, cache: &Path) -> ModelHash {
        let hash = ModelHash::default();
        if let Some(known) = cached(files, cache) {
            hash.0.get_or_init(|| known);
        }
        hash
    }

    pub fn known(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Computes it on threads of its own, unless it is known, and then tells the supervisor. Where
    /// that fails the model stays without a hash until the next start.
    pub fn compute(&self, files: &WeightFiles, cache: &Path, events: &Arc<Events>) {
        if self.known().is_some() {
            return;
        }
        let hash = Arc::clone(&self.0);
        let files = files.clone();
        let cache = cache.to_owned();
        let events = Arc::clone(events);
        let hashing = move || match compute(&files, &cache) {
            Ok(computed) => {
                let model_hash = hash.get_or_init(|| computed).clone();
                events.send(&WorkerEvent::ModelHashed { model_hash });
            }
            Err(error) => tracing::warn!("the model cannot be hashed: {error}"),
        };
        if let Err(error) = thread::Builder::new().name("hash".to_owned()).spawn(hashing) {
            tracing::warn!("the model cannot be hashed: {error}");
        }
    }
}
