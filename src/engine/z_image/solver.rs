//! How the latents go from one sigma to the next along the transformer's velocity.
//!
//! Source of the second order: `res_multistep` of ComfyUI's `k_diffusion/sampling.py` with eta 0,
//! after "Refined Exponential Solver" (arXiv 2308.02157).

use candle_core::{Result, Tensor};

use super::schedule::Schedule;
use crate::job::SamplerKind;

/// Takes the steps of one denoising, in their order.
pub enum Solver {
    Euler,
    ResMultistep {
        /// The picture that the step before made out, without noise.
        before: Option<Tensor>,
    },
}

impl Solver {
    pub fn new(kind: SamplerKind) -> Solver {
        match kind {
            SamplerKind::Euler => Solver::Euler,
            SamplerKind::ResMultistep => Solver::ResMultistep { before: None },
        }
    }

    /// The latents after step `step` (from 0), from those before it and what the transformer makes
    /// of these: all of the same shape.
    pub fn step(
        &mut self,
        schedule: &Schedule,
        step: usize,
        latents: &Tensor,
        velocity: &Tensor,
    ) -> Result<Tensor> {
        let Solver::ResMultistep { before } = self else {
            return euler(schedule, step, latents, velocity);
        };
        let picture = (latents + (velocity * f64::from(schedule.sigmas[step]))?)?;
        let after = match before {
            // The last sigma is 0, of which there is no logarithm.
            Some(before) if step + 1 < schedule.steps() => {
                let weights = Weights::of(&schedule.sigmas[step - 1..=step + 1]);
                weights.combine(latents, &picture, before)?
            }
            _ => euler(schedule, step, latents, velocity)?,
        };
        *before = Some(picture);
        Ok(after)
    }
}

fn euler(schedule: &Schedule, step: usize, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
    let noise = velocity.neg()?;
    latents + (noise * f64::from(schedule.sigma_step(step)))?
}

/// What the three known tensors count in the next latents.
struct Weights {
    latents: f64,
    picture: f64,
    before: f64,
}

impl Weights {
    /// For the step from the second of three sigmas to the third.
    fn of(sigmas: &[f32]) -> Weights {
        let log = |i: usize| f64::from(sigmas[i]).ln();
        let h = log(1) - log(2);
        let c2 = (log(1) - log(0)) / h;
        let phi1 = (-h).exp_m1() / -h;
        let phi2 = (phi1 - 1.0) / -h;
        let b2 = phi2 / c2;
        Weights { latents: (-h).exp(), picture: h * (phi1 - b2), before: h * b2 }
    }

    fn combine(&self, latents: &Tensor, picture: &Tensor, before: &Tensor) -> Result<Tensor> {
        ((latents * self.latents)? + ((picture * self.picture)? + (before * self.before)?)?)?
            .contiguous()
    }
}
