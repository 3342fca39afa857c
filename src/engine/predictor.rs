//! What renders of one model need of a device's memory, asked without an engine.

use std::path::Path;

use super::z_image::config::{ModelConfig, turbo};
use super::z_image::host;
use super::z_image::predict::{Work, block_weights_bytes, capabilities, predict};
use super::{Backend, EngineKind};
use crate::job::Render;
use crate::ladder::{Capabilities, Decode, Prefer, Residency, Rung, rungs};
use crate::planner::{Corrections, Planner, Prediction};

/// Predicts for one model on one kind of device.
#[derive(Clone, Debug)]
pub enum Predictor {
    ZImage(Box<ModelConfig>, Backend),
    Fake,
}

impl Predictor {
    /// For the model in folder `model`. Errors name the file and what is wrong with it.
    pub fn new(engine: EngineKind, model: &Path, backend: Backend) -> Result<Predictor, String> {
        match engine {
            EngineKind::ZImage => {
                Ok(Predictor::ZImage(Box::new(ModelConfig::read(model)?), backend))
            }
            EngineKind::Fake => Ok(Predictor::Fake),
        }
    }

    /// For Z-Image-Turbo, without its files.
    pub fn turbo(backend: Backend) -> Predictor {
        Predictor::ZImage(Box::new(turbo()), backend)
    }

    /// What the ladder may ask of an engine with this model; nothing of the scripted one without
    /// asking it.
    pub fn capabilities(&self) -> Option<Capabilities> {
        match self {
            Predictor::ZImage(model, backend) => Some(capabilities(model, *backend)),
            Predictor::Fake => None,
        }
    }

    /// Plans `render` on a device where it may use `budget_bytes` (`None` where nobody knows), by
    /// predictions with `corrections`.
    pub fn planner<'a>(
        &'a self,
        render: &'a Render,
        prefer: Prefer,
        capabilities: &Capabilities,
        corrections: &'a Corrections,
        budget_bytes: Option<u64>,
    ) -> Planner<'a> {
        let predict = Box::new(|rung: &Rung| corrections.apply(rung, self.predict(render, rung)));
        Planner { rungs: rungs(render, prefer, capabilities), budget_bytes, predict }
    }

    /// What the host should have free for `rung` beside a card: room to pin the streamed layers,
    /// and what stays with others. With less of it, layers are read at each step.
    pub fn host_bytes(&self, rung: &Rung) -> u64 {
        match (self, rung.residency) {
            (Predictor::ZImage(model, Backend::Cuda), Residency::Streamed { resident_blocks }) => {
                let config = &model.transformer;
                let streamed = config.n_layers.saturating_sub(resident_blocks as usize);
                let block = block_weights_bytes(config, Backend::Cuda, rung.precision);
                (streamed * block) as u64 + host::RESERVE_BYTES
            }
            _ => 0,
        }
    }

    /// What `render` needs on `rung`.
    pub fn predict(&self, render: &Render, rung: &Rung) -> Prediction {
        match self {
            Predictor::ZImage(model, backend) => {
                predict(model, *backend, rung, Work::of(&render.recipe))
            }
            Predictor::Fake => scripted(rung),
        }
    }
}

/// The scripted engine's: a few bytes a pixel, so that a smaller picture or tile needs less.
fn scripted(rung: &Rung) -> Prediction {
    let pixels = u64::from(rung.width) * u64::from(rung.height);
    let at_once = match rung.decode {
        Decode::Whole => pixels,
        Decode::Stripes { height } => u64::from(rung.width) * u64::from(height),
        Decode::Tiles { side } => u64::from(side) * u64::from(side),
    };
    Prediction {
        weights_bytes: 0,
        text_encode_bytes: 1,
        denoise_bytes: 4 * pixels,
        vae_decode_bytes: 16 * at_once,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::z_image::config::turbo;
    use crate::ladder::Precision;

    #[test]
    fn streaming_to_a_card_pins_the_hosts_memory() {
        let predictor = |backend| Predictor::ZImage(Box::new(turbo()), backend);
        let (precision, decode) = (Precision::Full, Decode::Whole);
        let rung =
            |residency| Rung { residency, precision, decode, width: 1024, height: 1024, steps: 8 };
        let streamed = rung(Residency::Streamed { resident_blocks: 12 });
        let pinned_gb =
            (predictor(Backend::Cuda).host_bytes(&streamed) - host::RESERVE_BYTES) as f64 / 1e9;
        assert!((6.4..6.6).contains(&pinned_gb), "{pinned_gb}");
        assert_eq!(predictor(Backend::Cuda).host_bytes(&rung(Residency::TextReleased)), 0);
        assert_eq!(predictor(Backend::this_cpu()).host_bytes(&streamed), 0);
    }
}
