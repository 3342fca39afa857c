//! The denoising: steps along the transformer's velocity, with guidance or without. All in f32.

use candle_core::{Result, Tensor};

use super::schedule::Schedule;
use super::solver::Solver;
use super::transformer::{Conditioning, Timesteps, Transformer};
use crate::engine::Recipe;

/// Classifier-free guidance away from the negative prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// `positive + scale * (positive - negative)`; 0 is off.
    pub scale: f64,
    /// The norm of a picture's velocity is at most this times the positive one's; 0 is off.
    pub normalization: f64,
    /// No guidance in the steps after this time (0 is noise, 1 the picture).
    pub truncation: f64,
}

impl Guidance {
    /// What `recipe` asks for.
    pub fn of(recipe: &Recipe) -> Guidance {
        Guidance {
            scale: recipe.guidance,
            normalization: recipe.guidance_normalization,
            truncation: recipe.guidance_truncation,
        }
    }

    /// The guided velocity; each of the three is (b, channels, height, width).
    fn apply(&self, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        let guided = (positive + ((positive - negative)? * self.scale)?)?;
        if self.normalization <= 0.0 {
            return Ok(guided);
        }
        let norm_max = (norms(positive)? * self.normalization)?;
        guided.broadcast_mul(&(norm_max / norms(&guided)?)?.minimum(1.0)?)
    }
}

/// The norm of each picture of a batch, (b, 1, 1, 1).
fn norms(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.sum_keepdim((1, 2, 3))?.sqrt()
}

/// One denoising, with everything that its steps share.
pub struct Sampler<'a> {
    transformer: &'a Transformer,
    pub schedule: Schedule,
    times: Timesteps,
    positive: Conditioning,
    negative: Option<(Conditioning, Guidance)>,
}

impl<'a> Sampler<'a> {
    /// A denoising towards `positive`, and away from `negative` with its guidance where that is on.
    pub fn new(
        transformer: &'a Transformer,
        schedule: Schedule,
        positive: Conditioning,
        negative: Option<(Conditioning, Guidance)>,
    ) -> Result<Sampler<'a>> {
        let times: Vec<f32> = (0..schedule.steps()).map(|step| schedule.time(step)).collect();
        let times = transformer.times(&times)?;
        Ok(Sampler { transformer, schedule, times, positive, negative })
    }

    /// Latents (b, channels, height, width) after step `step` (from 0), from those before it.
    pub fn step(&self, step: usize, latents: &Tensor, solver: &mut Solver) -> Result<Tensor> {
        solver.step(&self.schedule, step, latents, &self.velocity(step, latents)?)
    }

    fn velocity(&self, step: usize, latents: &Tensor) -> Result<Tensor> {
        let time = (&self.times, step);
        let positive = self.transformer.forward(latents, time, &self.positive)?;
        match &self.negative {
            Some((negative, guidance)) if self.schedule.is_guided(step, guidance.truncation) => {
                guidance.apply(&positive, &self.transformer.forward(latents, time, negative)?)
            }
            _ => Ok(positive),
        }
    }
}
