//! What a denoising begins with: noise, or a picture that is partly noise, of which a part may stay
//! as it is. Source: diffusers' `pipeline_z_image_img2img.py` and `pipeline_z_image_inpaint.py`.

use candle_core::{Device, Result, Tensor};

use super::noise::Generator;
use super::oom::at;
use super::parts::Parts;
use super::sampler::Sampler;
use super::schedule::Schedule;
use super::solver::Solver;
use super::vae::Distribution;
use crate::engine::{
    self, Continue, EngineError, InputPicture, Latents, Pixels, Progress, Recipe, Stage,
};
use crate::ladder::{Decode, Rung};

/// The latents before the first step that is taken.
pub struct Beginning {
    latents: Tensor,
    /// The first step that is taken, from 0.
    step: usize,
    kept: Option<Kept>,
}

/// What stays of a picture, in latents.
struct Kept {
    picture: Tensor,
    noise: Tensor,
    /// (1, 1, height, width): 1 where it is painted over, 0 where it stays.
    mask: Tensor,
}

/// A denoising that is asked for.
pub struct Denoising<'a> {
    pub recipe: &'a Recipe,
    pub rung: &'a Rung,
    /// Of its latents: (channels, height, width).
    pub shape: [usize; 3],
    /// So many pixels each way are a pixel of the latents.
    pub factor: usize,
}

impl Denoising<'_> {
    /// What it begins with: noise, or `input`. The generator is asked first for what is drawn of
    /// the picture's latents, then for the noise.
    pub fn beginning(
        &self,
        parts: &Parts,
        input: Option<&InputPicture>,
        schedule: &Schedule,
    ) -> engine::Result<Beginning> {
        let mut generator = Generator::new(self.recipe.seed);
        let mut draw = || draw(&mut generator, self.shape, &parts.device);
        let failed = at(Stage::Denoise);
        let Some(input) = input else { return draw().map(Beginning::noise).map_err(failed) };
        let Rung { width, height, steps, .. } = *self.rung;
        if (input.pixels.width, input.pixels.height) != (width, height) {
            return Err(EngineError::Invalid("the input picture is of another size".into()));
        }
        let encoded = encode(parts, input, self.rung, self.factor).map_err(&failed)?;
        let encoded = encoded.map_err(|reason| {
            EngineError::Invalid(format!("init_image cannot be used: {reason}"))
        })?;
        let first = self.recipe.first_step(steps) as usize;
        let begun = draw().and_then(|noise| encoded.sample(&noise)).and_then(|picture| {
            let mask = mask(input, self.factor, &parts.device)?;
            Beginning::picture(picture, draw()?, mask, schedule, first)
        });
        begun.map_err(failed)
    }
}

impl Beginning {
    /// Takes all steps from here.
    pub fn denoise(
        self,
        sampler: &Sampler,
        mut solver: Solver,
        progress: &mut dyn Progress,
    ) -> engine::Result<Tensor> {
        let Beginning { mut latents, step: first, kept } = self;
        let steps = sampler.schedule.steps();
        for step in first..steps {
            let after = sampler.step(step, &latents, &mut solver).map_err(at(Stage::Denoise))?;
            if step + 1 < steps {
                progress.look(&mut || made_out(&sampler.schedule, step, &latents, &after).ok());
            }
            latents = after;
            if let Some(kept) = &kept {
                let put_in = kept.put_in(&latents, &sampler.schedule, step);
                latents = put_in.map_err(at(Stage::Denoise))?;
            }
            // A card computes in the background: wait, so that a step that is reported is done.
            latents.device().synchronize().map_err(at(Stage::Denoise))?;
            let taken = (step + 1 - first) as u32;
            if progress.step(taken, (steps - first) as u32) == Continue::No {
                return Err(EngineError::Stopped);
            }
        }
        Ok(latents)
    }

    fn noise(latents: Tensor) -> Beginning {
        Beginning { latents, step: 0, kept: None }
    }

    /// `picture` with as much of `noise` as there is before `step`. Where a `mask` is given, the
    /// picture stays in the places in which it is 0.
    fn picture(
        picture: Tensor,
        noise: Tensor,
        mask: Option<Tensor>,
        schedule: &Schedule,
        step: usize,
    ) -> Result<Beginning> {
        let latents = noised(&picture, &noise, schedule.sigmas[step])?;
        Ok(Beginning { latents, step, kept: mask.map(|mask| Kept { picture, noise, mask }) })
    }
}

impl Kept {
    /// The `latents` after `step`, with what stays of the picture put in, as noisy as they are.
    fn put_in(&self, latents: &Tensor, schedule: &Schedule, step: usize) -> Result<Tensor> {
        let kept = noised(&self.picture, &self.noise, schedule.sigmas[step + 1])?;
        let stays = self.mask.affine(-1.0, 1.0)?;
        kept.broadcast_mul(&stays)? + latents.broadcast_mul(&self.mask)?
    }
}

/// The picture that `step` heads for: where the straight line through the latents before and after
/// it has no noise left. Computed on the host, so that the device needs no memory for it.
fn made_out(schedule: &Schedule, step: usize, before: &Tensor, after: &Tensor) -> Result<Latents> {
    let (_, channels, height, width) = after.dims4()?;
    let further = -schedule.sigmas[step + 1] / schedule.sigma_step(step);
    let mut values = after.flatten_all()?.to_vec1::<f32>()?;
    for (value, before) in values.iter_mut().zip(before.flatten_all()?.to_vec1::<f32>()?) {
        *value += further * (*value - before);
    }
    Ok(Latents { shape: [channels, height, width], values })
}

fn noised(picture: &Tensor, noise: &Tensor, sigma: f32) -> Result<Tensor> {
    (noise * f64::from(sigma))? + (picture * f64::from(1.0 - sigma))?
}

/// The latents that the picture of `input` may have, with the encoder read for it; or why the model
/// cannot tell. It is encoded in the way in which `rung` decodes.
fn encode(
    parts: &Parts,
    input: &InputPicture,
    rung: &Rung,
    factor: usize,
) -> Result<std::result::Result<Distribution, String>> {
    let encoder = match parts.decoder.encoder()? {
        Ok(encoder) => encoder,
        Err(reason) => return Ok(Err(reason)),
    };
    let picture = values(&input.pixels, &parts.device)?;
    let in_latents = |pixels: u32| (pixels as usize / factor).max(1);
    let found = match rung.decode {
        Decode::Whole => encoder.encode(&picture)?,
        Decode::Stripes { height } => encoder.encode_striped(&picture, in_latents(height))?,
        Decode::Tiles { side } => encoder.encode_tiled(&picture, in_latents(side))?,
    };
    parts.device.synchronize()?;
    Ok(Ok(found))
}

/// `pixels` as the encoder knows them: (1, height, width, 3), -1 to 1.
pub fn values(pixels: &Pixels, device: &Device) -> Result<Tensor> {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let value = |level: &u8| 2.0 * (f32::from(*level) / 255.0) - 1.0;
    let values: Vec<f32> = pixels.rgb.iter().map(value).collect();
    Tensor::from_vec(values, (1, height, width, 3), device)
}

/// The mask of `input` in latents, each of them as the first pixel that it stands for.
fn mask(input: &InputPicture, factor: usize, device: &Device) -> Result<Option<Tensor>> {
    let Some(mask) = &input.mask else { return Ok(None) };
    let (width, height) = (input.pixels.width as usize, input.pixels.height as usize);
    let rows = mask.chunks_exact(width).step_by(factor);
    let values = rows.flat_map(|row| row.iter().step_by(factor));
    let values: Vec<f32> = values.map(|painted| f32::from(u8::from(*painted))).collect();
    Tensor::from_vec(values, (1, 1, height / factor, width / factor), device).map(Some)
}

/// As many normal values as latents of `shape` have.
fn draw(generator: &mut Generator, shape: [usize; 3], device: &Device) -> Result<Tensor> {
    let [channels, height, width] = shape;
    let values = generator.randn(channels * height * width);
    Tensor::from_vec(values, (1, channels, height, width), device)
}
