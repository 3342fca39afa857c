//! What renders of one model need of a device's memory, asked without an engine.

use std::path::Path;

use super::EngineKind;
use super::z_image::config::{ModelConfig, turbo};
use super::z_image::predict::{Arithmetic, Work, offers, predict};
use crate::job::Render;
use crate::ladder::{Decode, Offers, Rung};
use crate::memory::Prediction;

/// Predicts for one model on one kind of device.
#[derive(Clone, Debug)]
pub enum Predictor {
    ZImage(Box<ModelConfig>, Arithmetic),
    Fake,
}

impl Predictor {
    /// For the model in folder `model`. Errors name the file and what is wrong with it.
    pub fn new(engine: EngineKind, model: &Path, arithmetic: Arithmetic) -> Result<Predictor, String> {
        match engine {
            EngineKind::ZImage => Ok(Predictor::ZImage(Box::new(ModelConfig::read(model)?), arithmetic)),
            EngineKind::Fake => Ok(Predictor::Fake),
        }
    }

    /// For Z-Image-Turbo, without its files.
    pub fn turbo(arithmetic: Arithmetic) -> Predictor {
        Predictor::ZImage(Box::new(turbo()), arithmetic)
    }

    /// What the ladder may ask of an engine with this model; nothing of the scripted one without asking it.
    pub fn offers(&self) -> Option<Offers> {
        match self {
            Predictor::ZImage(model, arithmetic) => Some(offers(model, *arithmetic)),
            Predictor::Fake => None,
        }
    }

    /// What `render` needs on `rung`.
    pub fn predict(&self, render: &Render, rung: &Rung) -> Prediction {
        match self {
            Predictor::ZImage(model, arithmetic) => {
                let work = Work::of(&render.prompt, &render.negative_prompt, render.guidance);
                predict(model, *arithmetic, rung, work)
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
    Prediction { weights_bytes: 0, text_encode_bytes: 1, denoise_bytes: 4 * pixels, vae_decode_bytes: 16 * at_once }
}
