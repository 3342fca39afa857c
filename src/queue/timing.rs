//! How long renders take: by the newest pictures, or estimated before there is any from the speed of
//! the device that was used last.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::FitQuestion;
use super::fit::Fitting;
use crate::config::Config;
use crate::engine::Backend;
use crate::engine::predictor::Predictor;
use crate::job::{Recipe, Render};
use crate::planner::Estimate;
use crate::store::{Effort, MadePicture, Result, Store};

/// A prompt of which nothing is known is taken to have so many bytes.
const USUAL_PROMPT_BYTES: usize = 128;

/// The configurations of all models, for [`ModelTimings`].
pub(super) struct OfModels(BTreeMap<String, Config>);

impl OfModels {
    pub(super) fn new(config: &Config) -> OfModels {
        let of = |name: &str| Some((name.to_owned(), config.with_model(name)?));
        OfModels(config.model_names().filter_map(of).collect())
    }
}

/// Says how long the renders of each model take.
pub(super) struct ModelTimings<'a>(BTreeMap<&'a str, Timing<'a>>);

impl<'a> ModelTimings<'a> {
    /// As of now.
    pub(super) async fn now(models: &'a OfModels, store: &'a Store) -> Result<ModelTimings<'a>> {
        let mut timings = BTreeMap::new();
        for (name, config) in &models.0 {
            timings.insert(name.as_str(), Timing::now(config, name, store).await?);
        }
        Ok(ModelTimings(timings))
    }

    /// That of a model by its name in daemon.toml; `None` where that has none of this name.
    pub(super) fn of(&self, model: &str) -> Option<&Timing<'a>> {
        self.0.get(model)
    }

    /// Whether the times of any of these models come from counted operations.
    pub(super) fn is_estimate<'m>(&self, models: impl IntoIterator<Item = &'m str>) -> bool {
        models.into_iter().filter_map(|model| self.of(model)).any(Timing::is_estimate)
    }
}

/// Says how long renders of one model take.
pub(super) struct Timing<'a> {
    config: &'a Config,
    basis: Basis<'a>,
    /// For guidance that is cut off, which is asked about only then. `None` where the model cannot
    /// be read: its own command says why.
    predictor: OnceLock<Option<Predictor>>,
}

/// What it goes by.
enum Basis<'a> {
    /// The newest pictures of the model that was loaded last, on its device.
    Pictures {
        /// For a pixel in one run of the transformer.
        unit_ms: f64,
    },
    /// Counted operations, for the configured model on the device that was used last.
    Operations(Box<Estimator<'a>>),
    /// There is neither.
    Nothing,
}

impl<'a> Timing<'a> {
    /// As of now.
    async fn now(config: &'a Config, name: &str, store: &'a Store) -> Result<Timing<'a>> {
        let pictures = store.newest_pictures(name).await?;
        let mut timing = Timing { config, basis: Basis::Nothing, predictor: OnceLock::new() };
        timing.basis = match timing.unit_ms(&pictures) {
            Some(unit_ms) => Basis::Pictures { unit_ms },
            None => match Estimator::new(config, store).await {
                Some(estimator) => Basis::Operations(Box::new(estimator)),
                None => Basis::Nothing,
            },
        };
        Ok(timing)
    }

    /// Whether times come from counted operations.
    fn is_estimate(&self) -> bool {
        matches!(self.basis, Basis::Operations(_))
    }

    /// How long one render takes of which the queue knows so much.
    pub(super) fn of_effort(&self, effort: &Effort) -> Option<f64> {
        match &self.basis {
            Basis::Pictures { unit_ms } => Some(unit_ms * self.units(effort)),
            Basis::Operations(estimator) => estimator.ms(&estimator.render(effort)),
            Basis::Nothing => None,
        }
    }

    /// How long one render takes.
    pub(super) fn of_render(&self, render: &Render) -> Option<f64> {
        match &self.basis {
            Basis::Operations(estimator) => estimator.ms(render),
            _ => self.of_effort(&Effort::from(render)),
        }
    }

    /// What a unit of work took; `None` before there is a picture.
    fn unit_ms(&self, pictures: &[MadePicture]) -> Option<f64> {
        let units: f64 = pictures.iter().map(|picture| self.units(&picture.effort)).sum();
        let total_ms: i64 = pictures.iter().map(|picture| picture.total_ms).sum();
        (units > 0.0).then(|| total_ms as f64 / units)
    }

    /// The work of a render: its pixels, in each run of the transformer.
    fn units(&self, effort: &Effort) -> f64 {
        let Effort { width, height, steps, is_guided, guidance_truncation } = *effort;
        let predictor = || self.predictor().map(|it| it.guided_steps(steps, guidance_truncation));
        let guided_steps = match is_guided {
            false => 0,
            true if guidance_truncation >= 1.0 => steps,
            true => predictor().unwrap_or(steps),
        };
        f64::from(width) * f64::from(height) * f64::from(steps + guided_steps)
    }

    fn predictor(&self) -> Option<&Predictor> {
        let read = || {
            let model = self.config.model_texts().ok()?;
            Predictor::new(self.config.engine, &model.place(), Backend::this_cpu()).ok()
        };
        self.predictor.get_or_init(read).as_ref()
    }
}

/// Estimates for the configured model on the device that was used last.
struct Estimator<'a> {
    fitting: Fitting<'a>,
    device_bytes: u64,
}

impl<'a> Estimator<'a> {
    /// `None` where no device was measured, or the model cannot be read: its own command says why.
    async fn new(config: &'a Config, store: &'a Store) -> Option<Estimator<'a>> {
        let worker = store.last_worker().await.ok()??;
        let question = FitQuestion::default();
        let fitting =
            Fitting::new(config, Some(store), Some(&worker), &question, false).await.ok()?;
        let device_bytes = worker.total_bytes.unsigned_abs();
        fitting.is_measured().then_some(Estimator { fitting, device_bytes })
    }

    fn ms(&self, render: &Render) -> Option<f64> {
        let Estimate { total_ms, .. } = self.fitting.estimate_on(render, self.device_bytes)?;
        Some(total_ms as f64)
    }

    /// A render of which only so much is known, as far as its time depends on it.
    fn render(&self, effort: &Effort) -> Render {
        let Effort { width, height, steps, is_guided, guidance_truncation } = *effort;
        let usual = self.fitting.of_size((width, height));
        let recipe = Recipe {
            prompt: " ".repeat(USUAL_PROMPT_BYTES),
            guidance: if is_guided { 1.0 } else { 0.0 },
            guidance_truncation,
            ..usual.recipe
        };
        Render { recipe, steps, ..usual }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_step_whose_guidance_is_cut_off_is_taken_once() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::parse("", here).expect("all defaults");
        let timing = Timing { config: &config, basis: Basis::Nothing, predictor: OnceLock::new() };
        let forwards = |is_guided, guidance_truncation| {
            let (width, height, steps) = (256, 256, 8);
            let effort = Effort { width, height, steps, is_guided, guidance_truncation };
            timing.units(&effort) / f64::from(256 * 256)
        };
        assert_eq!(
            [forwards(false, 1.0), forwards(false, 0.3), forwards(true, 1.0)],
            [8.0, 8.0, 16.0]
        );
        // With the miniature's shift of 3 the fifth step begins at 0.25, the sixth at 0.36.
        assert_eq!([forwards(true, 0.3), forwards(true, 0.0)], [13.0, 9.0]);
    }
}
