//! Predicts the memory that renders need, without an engine.

use super::config::{ModelConfig, turbo};
use super::host;
use super::model_files::ModelFiles;
use super::predict::{Work, block_weights_bytes, capabilities, guided_steps, operations, predict};
use crate::engine::{Backend, ModelError, ModelPlace};
use crate::job::Render;
use crate::ladder::{Capabilities, Residency, Rung};
use crate::planner::{Prediction, RenderOperations, WRITING_BYTES_PER_PIXEL};

/// Predicts for one model on one backend.
#[derive(Clone, Debug)]
pub struct ZImagePredictor {
    model: ModelConfig,
    backend: Backend,
}

impl ZImagePredictor {
    /// For the model at `model`. Errors name the file and what is wrong with it.
    pub fn read(model: &ModelPlace, backend: Backend) -> Result<ZImagePredictor, ModelError> {
        Ok(ZImagePredictor { model: ModelFiles::find(model)?.config()?, backend })
    }

    /// For Z-Image-Turbo, without its files.
    pub fn turbo(backend: Backend) -> ZImagePredictor {
        ZImagePredictor { model: turbo(), backend }
    }

    /// What the ladder may ask of an engine with this model.
    pub fn capabilities(&self) -> Capabilities {
        capabilities(&self.model, self.backend)
    }

    /// Memory that the host should have free for `rung` beside a card: room to pin the streamed
    /// layers, and what is left to other programs. With less of it, layers are read at each step.
    pub fn host_bytes(&self, rung: &Rung) -> u64 {
        let (Backend::Cuda, Residency::Streamed { resident_blocks }) =
            (self.backend, rung.residency)
        else {
            return 0;
        };
        let config = &self.model.transformer;
        let streamed = config.n_layers.saturating_sub(resident_blocks as usize);
        let block = block_weights_bytes(config, Backend::Cuda, rung.precision);
        (streamed * block) as u64 + host::RESERVE_BYTES
    }

    /// What `render` on `rung` asks of the device; `None` on the host beside a card.
    pub fn operations(&self, render: &Render, rung: &Rung) -> Option<RenderOperations> {
        operations(&self.model, self.backend, rung, &render.recipe)
    }

    /// In how many of so many steps guidance counts that is cut off at `truncation`.
    pub fn guided_steps(&self, steps: u32, truncation: f64) -> u32 {
        guided_steps(&self.model, steps, truncation)
    }

    /// Memory of the device that `render` needs on `rung`. On a processor the picture before it,
    /// which is of the same size as a rule, may still be on its way to the disk.
    pub fn predict(&self, render: &Render, rung: &Rung) -> Prediction {
        let own = predict(&self.model, self.backend, rung, Work::of(&render.recipe));
        let pixels = rung.width as usize * rung.height as usize;
        let writing =
            self.backend.host_buffer_bytes(WRITING_BYTES_PER_PIXEL as usize * pixels) as u64;
        Prediction {
            text_encode_bytes: own.text_encode_bytes + writing,
            denoise_bytes: own.denoise_bytes + writing,
            vae_decode_bytes: own.vae_decode_bytes + writing,
            ..own
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ladder::{Decode, Precision, Prefer, rungs};

    /// newcomer 28
    #[test]
    fn the_memory_document_names_the_smallest_tiles() {
        let document = include_str!("../../../docs/memory.md");
        let mini = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
        let mini =
            ZImagePredictor::read(&ModelPlace::at(&mini), Backend::Cuda).expect("the miniature");
        for (predictor, smallest) in [(ZImagePredictor::turbo(Backend::Cuda), 256), (mini, 512)] {
            let rungs = rungs(&Render::default(), Prefer::Quality, &predictor.capabilities());
            let tile = rungs.iter().filter_map(|rung| match rung.decode {
                Decode::Tiles { side } => Some(side),
                _ => None,
            });
            assert_eq!(tile.min(), Some(smallest));
        }
        assert!(document.contains("`tiles512`, and `tiles256` with Turbo"));
        assert!(document.contains("(256 pixels with Turbo, 512 with the miniature)"));
    }

    #[test]
    fn streaming_to_a_card_pins_the_hosts_memory() {
        let host_bytes = |backend, residency| {
            let (precision, decode) = (Precision::Full, Decode::Whole);
            let rung = Rung { residency, precision, decode, width: 1024, height: 1024, steps: 8 };
            ZImagePredictor::turbo(backend).host_bytes(&rung)
        };
        let streamed = Residency::Streamed { resident_blocks: 12 };
        let pinned_gb = (host_bytes(Backend::Cuda, streamed) - host::RESERVE_BYTES) as f64 / 1e9;
        assert!((6.4..6.6).contains(&pinned_gb), "{pinned_gb}");
        assert_eq!(host_bytes(Backend::Cuda, Residency::TextReleased), 0);
        assert_eq!(host_bytes(Backend::this_cpu(false), streamed), 0);
    }
}
