//! One attempt from request to pixels: kept latents or denoising, decode.

use std::fs;
use std::io;
use std::thread;

use super::hashing::ModelHash;
use super::tracker::Tracker;
use crate::attempt::FailureKind;
use crate::engine::latents::{self, LatentsKey};
use crate::engine::{
    Engine, EngineError, InputPicture, Latents, Pixels, PlacedLora, Recipe, Stage,
};
use crate::files::Unsynced;
use crate::inputs::{self, InputError, InputLimits, input_picture};
use crate::job::lora::Lora;
use crate::ladder::Rung;
use crate::loras;
use crate::output::metadata::{Metadata, SOFTWARE, SizeAndSteps, StageTimings};
use crate::worker::protocol::RenderRequest;

/// What the dispatcher is told of an error.
pub fn kind(error: &EngineError) -> FailureKind {
    let os_error = match error {
        EngineError::Fatal(_) | EngineError::Invalid(_) | EngineError::Model(_) => {
            os_error_in(&error.to_string())
        }
        _ => None,
    };
    match error {
        _ if os_error.is_some() => FailureKind::Output { os_error },
        EngineError::OutOfMemory { requested_bytes, .. } => {
            FailureKind::OutOfMemory { requested_bytes: *requested_bytes }
        }
        EngineError::Stopped => FailureKind::Stopped,
        EngineError::BadPicture(_) => FailureKind::BadPicture,
        EngineError::Invalid(_) => FailureKind::Invalid,
        EngineError::Fatal(_) | EngineError::Model(_) => FailureKind::WorkerDied,
    }
}

/// The system's code in an error of the engine, which hands on what libraries say as text: a file
/// of the model could not be read. That is neither the render's fault nor the device's.
fn os_error_in(message: &str) -> Option<i32> {
    let (_, after) = message.rsplit_once("(os error ")?;
    after.split_once(')')?.0.parse().ok()
}

/// The picture, and what it is to say of itself. The latents stay: whoever gives the picture its
/// final name removes them after that.
pub fn render(
    engine: &mut dyn Engine,
    hash: &ModelHash,
    request: &RenderRequest,
    tracker: &mut Tracker<'_>,
) -> Result<(Pixels, Metadata), EngineError> {
    let (latents, unsynced) = latents_for(engine, request, tracker)?;
    let pixels = thread::scope(|scope| {
        if let Some(unsynced) = unsynced {
            // The disk takes its time while the device decodes.
            let sync = || unsynced.sync().unwrap_or_else(|error| not_kept(request, &error));
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, sync) {
                not_kept(request, &error);
            }
        }
        decode(engine, &latents, request, tracker)
    })?;
    tracker.previews.learn(&latents, &pixels);
    drop(latents);
    engine.begin(Stage::PictureEncode, tracker)?;
    let metadata = metadata(engine, hash, request, tracker);
    Ok((pixels, metadata))
}

fn decode(
    engine: &mut dyn Engine,
    latents: &Latents,
    request: &RenderRequest,
    tracker: &mut Tracker<'_>,
) -> Result<Pixels, EngineError> {
    engine.decode(latents, &request.rung, tracker).inspect_err(|error| {
        // Latents that make no picture would make none again.
        if matches!(error, EngineError::BadPicture(_)) {
            forget_latents(request);
        }
    })
}

/// The latents kept by an earlier attempt, or new ones, which are kept, but for power cuts.
fn latents_for(
    engine: &mut dyn Engine,
    request: &RenderRequest,
    tracker: &mut Tracker<'_>,
) -> Result<(Latents, Option<Unsynced>), EngineError> {
    let key = LatentsKey {
        fingerprint: engine.fingerprint().to_owned(),
        recipe: request.recipe.clone(),
        width: request.rung.width,
        height: request.rung.height,
        steps: request.rung.steps,
        precision: request.rung.precision,
    };
    if let Some(kept) = latents::load(&request.latents_path, &key) {
        engine.use_loras(Vec::new());
        return Ok((kept, None));
    }
    engine.use_loras(loras(request));
    engine.expect_prompts(request.next_prompts.clone());
    let input = input(request)?;
    let latents = engine.denoise_from(input.as_ref(), &request.recipe, &request.rung, tracker)?;
    drop(input);
    let kept = latents::put(&request.latents_path, &key, &latents);
    let unsynced = kept.inspect_err(|error| not_kept(request, error)).ok();
    Ok((latents, unsynced))
}

fn not_kept(request: &RenderRequest, error: &io::Error) {
    let path = path(request);
    tracing::warn!("{path}: latents not kept, a failed decode will cost the denoising: {error}");
}

/// The LoRAs of the recipe with their files.
fn loras(request: &RenderRequest) -> Vec<PlacedLora> {
    let placed = |lora: &Lora| {
        let path = loras::path(&request.loras_path, &lora.name);
        PlacedLora { lora: lora.clone(), path }
    };
    request.recipe.lora.0.iter().map(placed).collect()
}

/// The picture that the render begins with, where it does.
fn input(request: &RenderRequest) -> Result<Option<InputPicture>, EngineError> {
    let Recipe { init_image, mask, .. } = &request.recipe;
    if !request.recipe.begins_with_picture() {
        return Ok(None);
    }
    let Rung { width, height, .. } = request.rung;
    let pixels = of_input(request, "init_image", init_image, |content| {
        input_picture(content, width, height)
    })?;
    let input = InputPicture { pixels, mask: None };
    match request.recipe.is_masked() {
        true => of_input(request, "mask", mask, |content| input.with_mask(content)).map(Some),
        false => Ok(Some(input)),
    }
}

/// What `read` makes of a kept file. What is wrong with it is no fault of the worker.
fn of_input<T>(
    request: &RenderRequest,
    key: &str,
    hash: &str,
    read: impl FnOnce(&[u8]) -> Result<T, InputError>,
) -> Result<T, EngineError> {
    let path = request.inputs_path.join(hash);
    let content = inputs::read(&path, InputLimits { bytes_max: u64::MAX, pixels_max: u64::MAX });
    content.and_then(|content| read(&content)).map_err(|error| {
        EngineError::Invalid(format!("{key}, kept as {}: {error}", path.display()))
    })
}

fn forget_latents(request: &RenderRequest) {
    match fs::remove_file(&request.latents_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("{}: latents of a bad picture not removed: {error}", path(request));
        }
        _ => {}
    }
}

fn path(request: &RenderRequest) -> std::path::Display<'_> {
    request.latents_path.display()
}

fn metadata(
    engine: &dyn Engine,
    hash: &ModelHash,
    request: &RenderRequest,
    tracker: &Tracker<'_>,
) -> Metadata {
    let Rung { width, height, steps, .. } = request.rung;
    Metadata {
        software: SOFTWARE.to_owned(),
        queue: request.queue.clone(),
        recipe: request.recipe.clone(),
        made: SizeAndSteps { width, height, steps },
        rung: request.rung,
        model: hash.told_of(engine.model_name()),
        device: engine.device(),
        timings: StageTimings::from(&tracker.measured.timings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // chaos 2
    #[test]
    fn a_file_of_the_model_that_cannot_be_opened_is_the_places_fault() {
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let told = format!("/models/mini/vae: {error}");
        for error in [EngineError::Fatal(told.clone()), EngineError::Invalid(told)] {
            assert_eq!(kind(&error), FailureKind::Output { os_error: Some(libc::EMFILE) });
        }
        let fatal = EngineError::Fatal("in denoising: illegal address".to_owned());
        assert_eq!(kind(&fatal), FailureKind::WorkerDied);
    }
}
