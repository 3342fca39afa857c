//! The noise schedule: FlowMatchEulerDiscrete with a static shift.

use super::config::ScheduleConfig;

/// The sigmas of a denoising and the times that the transformer is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// One more than there are steps: the last is 0.
    pub sigmas: Vec<f32>,
    /// As the reference's scheduler counts them: sigma times the number of training timesteps.
    pub timesteps: Vec<f32>,
    train_timesteps: f32,
}

impl Schedule {
    /// `s_i = 1 - i/N` shifted: `shift * s / (1 + (shift - 1) * s)`, in f32 as the reference
    /// computes it: the model's timestep embedding makes a difference of one bit visible.
    pub fn new(config: &ScheduleConfig, steps: u32) -> Schedule {
        let shift = config.shift as f32;
        let train_timesteps = config.num_train_timesteps as f32;
        let shifted = |s: f32| shift * s / (1.0 + (shift - 1.0) * s);
        let mut sigmas: Vec<f32> = (0..steps).map(|step| shifted(linspace(steps, step))).collect();
        let timesteps = sigmas.iter().map(|sigma| sigma * train_timesteps).collect();
        sigmas.push(0.0);
        Schedule { sigmas, timesteps, train_timesteps }
    }

    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// What the transformer is given in step `step` (from 0): 0 at pure noise, towards 1.
    pub fn time(&self, step: usize) -> f32 {
        (self.train_timesteps - self.timesteps[step]) / self.train_timesteps
    }

    /// Whether guidance counts in step `step` (from 0): until the time has passed `truncation`.
    pub fn is_guided(&self, step: usize, truncation: f64) -> bool {
        f64::from(self.time(step)) <= truncation
    }

    /// How far sigma goes in step `step` (from 0): negative.
    pub fn sigma_step(&self, step: usize) -> f32 {
        self.sigmas[step + 1] - self.sigmas[step]
    }
}

/// `torch.linspace(1, 1 / steps, steps)[step]`, which counts the first half from the start and the
/// rest from the end.
fn linspace(steps: u32, step: u32) -> f32 {
    let end = 1.0 / steps as f32;
    let stride = (end - 1.0) / (steps - 1).max(1) as f32;
    if step < steps / 2 {
        1.0 + stride * step as f32
    } else {
        end - stride * (steps - 1 - step) as f32
    }
}
