//! Embeddings of prompts, so that each prompt is encoded once: the last few in memory, more of them
//! on disk.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{self, Values, hex_hash};
use crate::files;

/// How many are kept in memory: a job's prompt and its negative prompt, and those of a few jobs
/// before it.
pub const IN_MEMORY_MAX: usize = 8;

/// How much is kept on disk: prompts of a hundred tokens of the full model take 1 MB each.
const ON_DISK_BYTES_MAX: u64 = 512 << 20;

/// The embeddings that one text encoder made.
pub struct Embeddings {
    /// The fingerprint of the encoder's files.
    encoder: String,
    folder: Option<PathBuf>,
    recent: VecDeque<(String, Values)>,
}

impl Embeddings {
    /// The embeddings of the text encoder with the fingerprint `encoder`, in memory only.
    pub fn new(encoder: String) -> Embeddings {
        Embeddings { encoder, folder: None, recent: VecDeque::new() }
    }

    /// Keeps them in `folder` too, of which the oldest are removed when it has grown too large.
    pub fn keep_in(&mut self, folder: &Path) {
        if let Err(error) = fs::create_dir_all(folder) {
            tracing::warn!("{}: embeddings are not kept: {error}", folder.display());
            return;
        }
        self.folder = Some(folder.to_owned());
    }

    /// The embedding (tokens, hidden) of `prompt`, made by `encode` where it is not known. `dtype`
    /// is the type that the encoder computes in: what a CPU makes in f32 is not what a card makes
    /// in bf16.
    pub fn get<E>(
        &mut self,
        prompt: &str,
        dtype: &str,
        encode: impl FnOnce() -> Result<Values, E>,
    ) -> Result<Values, E> {
        let key = self.key(prompt, dtype);
        let known = self
            .recent
            .iter()
            .position(|(known, _)| *known == key)
            .and_then(|place| self.recent.remove(place));
        let values = match known.map(|(_, values)| values).or_else(|| self.read(&key)) {
            Some(values) => values,
            None => {
                let values = encode()?;
                self.write(&key, &values);
                values
            }
        };
        self.remember(key, values.clone());
        Ok(values)
    }

    /// Whether the embedding of `prompt` is kept.
    pub fn has(&self, prompt: &str, dtype: &str) -> bool {
        let key = self.key(prompt, dtype);
        let is_recent = self.recent.iter().any(|(known, _)| *known == key);
        is_recent || self.path(&key).is_some_and(|path| path.exists())
    }

    /// Keeps an embedding that was made before anybody asked for it.
    pub fn keep(&mut self, prompt: &str, dtype: &str, values: Values) {
        let key = self.key(prompt, dtype);
        self.write(&key, &values);
        self.remember(key, values);
    }

    fn key(&self, prompt: &str, dtype: &str) -> String {
        format!("{} {dtype}\n{prompt}", self.encoder)
    }

    fn remember(&mut self, key: String, values: Values) {
        self.recent.truncate(IN_MEMORY_MAX - 1);
        self.recent.push_front((key, values));
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(hex_hash(key.as_bytes())).with_extension("safetensors"))
    }

    fn read(&self, key: &str) -> Option<Values> {
        cache::load(&self.path(key)?, key)
    }

    fn write(&self, key: &str, values: &Values) {
        let (Some(folder), Some(path)) = (&self.folder, self.path(key)) else { return };
        files::remove_oldest(folder, ON_DISK_BYTES_MAX);
        if let Err(error) = cache::save(&path, key, values) {
            tracing::warn!(
                "{}: embedding not kept, its prompt will be encoded again: {error}",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(value: f32) -> Values {
        Values { shape: vec![1, 2], values: vec![value, 0.5] }
    }

    fn never() -> Result<Values, String> {
        Err("asked to encode what was known".to_owned())
    }

    fn on_disk(encoder: &str, folder: &Path) -> Embeddings {
        let mut embeddings = Embeddings::new(encoder.to_owned());
        embeddings.keep_in(folder);
        embeddings
    }

    #[test]
    fn a_prompt_is_encoded_once_also_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = on_disk("a", folder.path());
        first.get("fox", "F32", || Ok::<_, String>(embedding(1.0))).unwrap();
        assert_eq!(first.get("fox", "F32", never), Ok(embedding(1.0)));
        assert_eq!(on_disk("a", folder.path()).get("fox", "F32", never), Ok(embedding(1.0)));
    }

    #[test]
    fn another_encoder_prompt_or_type_encodes_anew() {
        let folder = tempfile::tempdir().unwrap();
        on_disk("a", folder.path()).get("fox", "F32", || Ok::<_, String>(embedding(1.0))).unwrap();
        assert!(on_disk("b", folder.path()).get("fox", "F32", never).is_err());
        assert!(on_disk("a", folder.path()).get("cat", "F32", never).is_err());
        assert!(on_disk("a", folder.path()).get("fox", "BF16", never).is_err());
    }

    #[test]
    fn what_was_made_ahead_is_had_and_not_encoded_again() {
        let mut embeddings = Embeddings::new("a".to_owned());
        assert!(!embeddings.has("fox", "F32"));
        embeddings.keep("fox", "F32", embedding(1.0));
        assert!(embeddings.has("fox", "F32") && !embeddings.has("fox", "BF16"));
        assert_eq!(embeddings.get("fox", "F32", never), Ok(embedding(1.0)));
        let folder = tempfile::tempdir().unwrap();
        on_disk("a", folder.path()).keep("fox", "F32", embedding(2.0));
        assert!(on_disk("a", folder.path()).has("fox", "F32"));
    }

    #[test]
    fn memory_holds_a_few_and_disk_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let mut embeddings = on_disk("a", folder.path());
        for n in 0..IN_MEMORY_MAX + 3 {
            embeddings.get(&n.to_string(), "F32", || Ok::<_, String>(embedding(n as f32))).unwrap();
        }
        assert_eq!(embeddings.recent.len(), IN_MEMORY_MAX);
        assert_eq!(embeddings.get("0", "F32", never), Ok(embedding(0.0)));
    }
}
