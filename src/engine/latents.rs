//! Finished latents of a render, kept on disk so that a failed decode is repeated without the
//! denoising.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cache::{self, Values};
use super::{Latents, Recipe};
use crate::files::Unsynced;
use crate::ladder::Precision;

/// Everything that latents depend on. Those on disk are used only where all of it is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentsKey {
    /// [`super::Engine::fingerprint`].
    pub fingerprint: String,
    pub recipe: Recipe,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub precision: Precision,
}

impl LatentsKey {
    /// Compared as text: a number read back from JSON may differ in its last bit.
    fn text(&self) -> io::Result<String> {
        serde_json::to_string(self).map_err(io::Error::other)
    }
}

/// The name of the file that keeps the latents of the render with this id.
pub fn file_name(render_id: i64) -> String {
    format!("{render_id}.safetensors")
}

/// The id in a name of [`file_name`]'s, or in that of its temporary file; `None` for every other
/// name.
pub fn render_id(name: &OsStr) -> Option<i64> {
    let name = name.to_str()?;
    let name = name.strip_suffix(".part").unwrap_or(name);
    let render_id = name.strip_suffix(".safetensors")?.parse().ok()?;
    // Not 007 or +7.
    (name == file_name(render_id)).then_some(render_id)
}

/// Keeps `latents` at `path`. They outlast the process at once, and a power cut when they are
/// synced.
pub fn put(path: &Path, key: &LatentsKey, latents: &Latents) -> io::Result<Unsynced> {
    let values = Values { shape: latents.shape.to_vec(), values: latents.values.clone() };
    cache::put(path, &key.text()?, &values)
}

/// The latents kept at `path`, if the file is whole and was made for `key`.
pub fn load(path: &Path, key: &LatentsKey) -> Option<Latents> {
    let Values { shape, values } = cache::load(path, &key.text().ok()?)?;
    Some(Latents { shape: shape.try_into().ok()?, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_say_whose_latents_they_keep() {
        for name in [file_name(7), file_name(7) + ".part"] {
            assert_eq!(render_id(OsStr::new(&name)), Some(7), "{name}");
        }
        for name in [
            "7",
            "007.safetensors",
            "+7.safetensors",
            "fox.safetensors",
            "7.safetensors.bak",
            ".part",
        ] {
            assert_eq!(render_id(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn latents_are_used_for_exactly_what_they_were_made_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.safetensors");
        let recipe =
            Recipe {
                prompt: "一只猫".into(), guidance: 0.1 + 0.2, seed: 7, ..Recipe::default()
            };
        let precision = Precision::Full;
        let key = LatentsKey {
            fingerprint: "m".into(),
            recipe,
            width: 32,
            height: 16,
            steps: 8,
            precision,
        };
        let latents =
            Latents { shape: [2, 2, 4], values: (0..16).map(|n| n as f32 / 3.0).collect() };
        put(&path, &key, &latents).unwrap();
        assert_eq!(load(&path, &key).as_ref(), Some(&latents));
        let mut other = key.clone();
        other.recipe.seed = 8;
        assert_eq!(load(&path, &other), None);
        let mut with_lora = key.clone();
        let lora = r#"[{"name": "ink", "weight": 0.5, "sha256": "a"}]"#;
        with_lora.recipe.lora = serde_json::from_str(lora).unwrap();
        assert_eq!(load(&path, &with_lora), None);
        put(&path, &with_lora, &latents).unwrap();
        for other in [lora.replace("0.5", "0.6"), lora.replace("\"a\"", "\"b\"")] {
            let mut other_lora = key.clone();
            other_lora.recipe.lora = serde_json::from_str(&other).unwrap();
            assert_eq!(load(&path, &other_lora), None);
        }
        put(&path, &key, &latents).unwrap();
        assert_eq!(load(&path, &LatentsKey { steps: 9, ..key.clone() }), None);
        assert_eq!(load(&path, &LatentsKey { precision: Precision::Q8, ..key }), None);
    }
}
