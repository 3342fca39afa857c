//! What renders need of a device's memory, asked without an engine.

use super::z_image::predictor::ZImagePredictor;
use super::{Backend, EngineKind, ModelError, ModelPlace, fake};
use crate::job::Render;
use crate::ladder::{Capabilities, Prefer, Rung, rungs};
use crate::planner::{Corrections, Planner, Prediction, RenderOperations};

/// Predicts for one model on one backend.
#[derive(Clone, Debug)]
pub enum Predictor {
    ZImage(Box<ZImagePredictor>),
    Fake,
}

impl Predictor {
    /// For the model at `model`. Errors name the file and what is wrong with it.
    pub fn new(
        engine: EngineKind,
        model: &ModelPlace,
        backend: Backend,
    ) -> Result<Predictor, ModelError> {
        match engine {
            EngineKind::ZImage => {
                Ok(Predictor::ZImage(Box::new(ZImagePredictor::read(model, backend)?)))
            }
            EngineKind::Fake => Ok(Predictor::Fake),
        }
    }

    /// For Z-Image-Turbo, without its files.
    pub fn turbo(backend: Backend) -> Predictor {
        Predictor::ZImage(Box::new(ZImagePredictor::turbo(backend)))
    }

    /// What the ladder may ask of an engine with this model. Only the scripted engine itself knows
    /// what it offers: `None`.
    pub fn capabilities(&self) -> Option<Capabilities> {
        match self {
            Predictor::ZImage(predictor) => Some(predictor.capabilities()),
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

    /// Memory that the host should have free for `rung`, beside a card.
    pub fn host_bytes(&self, rung: &Rung) -> u64 {
        match self {
            Predictor::ZImage(predictor) => predictor.host_bytes(rung),
            Predictor::Fake => 0,
        }
    }

    /// What `render` on `rung` asks of the device; `None` where that says nothing of the time it
    /// takes: on the host beside a card, and of the scripted engine.
    pub fn operations(&self, render: &Render, rung: &Rung) -> Option<RenderOperations> {
        match self {
            Predictor::ZImage(predictor) => predictor.operations(render, rung),
            Predictor::Fake => None,
        }
    }

    /// In how many of so many steps guidance counts that is cut off at `truncation`: those take the
    /// transformer twice.
    pub fn guided_steps(&self, steps: u32, truncation: f64) -> u32 {
        match self {
            Predictor::ZImage(predictor) => predictor.guided_steps(steps, truncation),
            Predictor::Fake => steps,
        }
    }

    /// Memory of the device that `render` needs on `rung`.
    pub fn predict(&self, render: &Render, rung: &Rung) -> Prediction {
        match self {
            Predictor::ZImage(predictor) => predictor.predict(render, rung),
            Predictor::Fake => fake::predict(rung),
        }
    }
}
