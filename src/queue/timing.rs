//! How long renders take: by the newest pictures, and of what was not made yet by its operations,
//! counted, and the speed of the device that was used last.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::fitting::{Fitting, USUAL_PROMPT_BYTES};
use super::pace::{Pace, PictureWork};
use crate::config::Config;
use crate::engine::Backend;
use crate::engine::predictor::Predictor;
use crate::job::warning::Lack;
use crate::job::{OnOom, Recipe, Render};
use crate::ladder::{Residency, Rung};
use crate::planner::{Estimate, Plan};
use crate::store::{Effort, Leeway, MadePicture, Result, Store};

/// So many pictures say how fast others are made: enough to even them out, few enough to follow a
/// change.
const PACE_PICTURES_MAX: usize = 20;

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
    pub(super) async fn now(
        models: &'a OfModels,
        store: Option<&'a Store>,
    ) -> Result<ModelTimings<'a>> {
        let mut timings = BTreeMap::new();
        for (name, config) in &models.0 {
            timings.insert(name.as_str(), Timing::now(config, name, store).await?);
        }
        Ok(ModelTimings(timings))
    }

    /// As [`ModelTimings::now`], for a question that is worth a second: where nothing says how fast
    /// the processor is, it is measured.
    pub(super) async fn measured(
        models: &'a OfModels,
        store: Option<&'a Store>,
    ) -> Result<ModelTimings<'a>> {
        let mut timings = ModelTimings::now(models, store).await?;
        timings.0.values_mut().for_each(Timing::measure);
        Ok(timings)
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

/// What is foreseen of a render that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RenderForesight {
    /// How long it takes; `None` where nobody can know.
    pub(super) ms: Option<f64>,
    /// Whether any of its rungs is predicted to fit the memory: else it may fail, early or late.
    pub(super) fits: bool,
}

/// Says how long renders of one model take, as what would be made of them in the memory that there
/// is.
pub(super) struct Timing<'a> {
    config: &'a Config,
    /// `None` before there is a picture.
    pace: Option<Pace>,
    /// The configured model on the device; `None` where the model cannot be read: its own command
    /// says why.
    fitting: Option<Fitting<'a>>,
    /// Of what was asked about already: most of what waits is alike.
    known: Mutex<Vec<(Effort, Leeway, RenderForesight)>>,
    /// For guidance that is cut off, which is asked about only then. `None` where the model cannot
    /// be read.
    predictor: OnceLock<Option<Predictor>>,
}

impl<'a> Timing<'a> {
    /// As of now, of the model that daemon.toml calls `name`.
    pub(super) async fn now(
        config: &'a Config,
        name: &str,
        store: Option<&'a Store>,
    ) -> Result<Timing<'a>> {
        let fitting = Fitting::of_queue(config, store).await;
        Timing::with(config, name, store, fitting).await
    }

    /// As [`Timing::now`], by what there is of the model already.
    pub(super) async fn with(
        config: &'a Config,
        name: &str,
        store: Option<&'a Store>,
        fitting: Option<Fitting<'a>>,
    ) -> Result<Timing<'a>> {
        let pictures = match store {
            Some(store) => store.newest_pictures(name).await?,
            None => Vec::new(),
        };
        let mut timing = Timing { fitting, ..Timing::of_nothing(config) };
        timing.pace = timing.pace(pictures);
        Ok(timing)
    }

    fn of_nothing(config: &'a Config) -> Timing<'a> {
        Timing {
            config,
            pace: None,
            fitting: None,
            known: Mutex::default(),
            predictor: OnceLock::new(),
        }
    }

    /// The configured model on the device, where it can be read.
    pub(super) fn fitting(&self) -> Option<&Fitting<'a>> {
        self.fitting.as_ref()
    }

    /// The speed of a processor that nobody has measured, where no picture says it.
    fn measure(&mut self) {
        if self.pace.is_none()
            && let Some(fitting) = &mut self.fitting
        {
            fitting.measure();
        }
    }

    /// Whether times come from counted operations.
    fn is_estimate(&self) -> bool {
        self.pace.is_none() && self.fitting.as_ref().is_some_and(Fitting::is_measured)
    }

    /// What is foreseen of one render of which the queue knows so much.
    pub(super) fn of_waiting(&self, effort: &Effort, leeway: &Leeway) -> RenderForesight {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = |known: &(Effort, Leeway, _)| (&known.0, &known.1) == (effort, leeway);
        if let Some((_, _, foreseen)) = known.iter().find(|known| is_asked(known)) {
            return *foreseen;
        }
        let foreseen = match &self.fitting {
            Some(fitting) => {
                let Leeway { on_oom, min_side } = *leeway;
                let render = Render { on_oom, min_side, ..render_of(fitting, effort) };
                let fits = fitting.plan_now(&render).is_none_or(|plan| plan.missing_bytes == 0);
                RenderForesight { ms: self.of_render(&render), fits }
            }
            None => {
                let pace = self.pace.as_ref();
                let ms = pace.and_then(|pace| self.paced_ms(pace, effort, None));
                RenderForesight { ms, fits: true }
            }
        };
        known.push((*effort, *leeway, foreseen));
        foreseen
    }

    /// Which part of that, 0 to 1, its steps take; all of it where nobody knows.
    pub(super) fn share_of_steps(&self, effort: &Effort) -> f64 {
        let render = self.fitting.as_ref().map(|fitting| render_of(fitting, effort));
        let time = match &self.pace {
            Some(pace) => self.work(effort, render.as_ref(), pace.in_pixels).map(|it| pace.ms(&it)),
            None => render.and_then(|render| self.estimated(&render)),
        };
        let share = time.map(|time| time.steps / (time.steps + time.rest));
        share.filter(|share| share.is_finite()).unwrap_or(1.0)
    }

    /// How long one render takes.
    pub(super) fn of_render(&self, render: &Render) -> Option<f64> {
        let Some(pace) = &self.pace else {
            return self.estimated(render).map(|time| time.steps + time.rest);
        };
        let plan = self.fitting.as_ref().and_then(|fitting| fitting.plan_now(render));
        let effort = match plan {
            Some(Plan { rung: Rung { width, height, steps, .. }, .. }) => {
                Effort { width, height, steps, ..Effort::from(render) }
            }
            None => Effort::from(render),
        };
        self.paced_ms(pace, &effort, Some(render))
    }

    /// As [`Timing::of_render`], where there is a picture to go by.
    pub(super) fn by_pictures(&self, render: &Render) -> Option<f64> {
        self.pace.as_ref().and_then(|_| self.of_render(render))
    }

    /// How long a render takes that makes as much as `effort` says.
    fn paced_ms(&self, pace: &Pace, effort: &Effort, render: Option<&Render>) -> Option<f64> {
        let work = self.work(effort, render, pace.in_pixels);
        let by_work = work.map(|work| pace.ms(&work)).map(|time| time.steps + time.rest);
        pace.of_alike(effort, by_work).or(by_work)
    }

    /// The estimate of a render with its stages as pictures took longer or shorter than theirs, and
    /// all together as long as [`Timing::of_render`] says.
    pub(super) fn paced(&self, estimate: Estimate, render: &Render) -> Estimate {
        let before = work_of(&estimate);
        let after = match self.pace.as_ref().filter(|pace| !pace.in_pixels) {
            Some(pace) => pace.ms(&before),
            None => work_of(&estimate),
        };
        let all_ms = after.steps + after.rest;
        let even = self.of_render(render).unwrap_or(all_ms) / all_ms.max(1.0);
        let share = |ms: u64| (ms as f64 * after.rest / before.rest.max(1.0) * even).round() as u64;
        let [text_encode_ms, vae_decode_ms] =
            [estimate.text_encode_ms, estimate.vae_decode_ms].map(share);
        let denoise_ms = (after.steps * even).round() as u64;
        let total_ms = text_encode_ms + denoise_ms + vae_decode_ms;
        Estimate { text_encode_ms, denoise_ms, vae_decode_ms, total_ms }
    }

    /// The milliseconds of a render by its operations.
    fn estimated(&self, render: &Render) -> Option<PictureWork> {
        let fitting = self.fitting.as_ref()?;
        let (_, estimate) = fitting.estimate(render, &fitting.plan_now(render)?.rung)?;
        Some(work_of(&estimate))
    }

    /// What a render asks of the device that makes as much as `effort` says.
    fn work(
        &self,
        effort: &Effort,
        render: Option<&Render>,
        in_pixels: bool,
    ) -> Option<PictureWork> {
        match in_pixels {
            true => Some(PictureWork { steps: self.step_pixels(effort), rest: pixels(effort) }),
            false => self.estimated(render?),
        }
    }

    /// How `render` lacks memory, where it does not fit as it was asked for.
    pub(super) fn lack(&self, render: &Render) -> Option<Lack> {
        let fitting = self.fitting.as_ref()?;
        let usable_bytes = fitting.usable_now_bytes()?;
        let Plan { rung, missing_bytes, .. } = fitting.plan_now(render)?;
        let asked = (render.width, render.height, render.steps);
        let made = (rung.width, rung.height, rung.steps);
        if missing_bytes == 0 && made == asked {
            return None;
        }
        let offload = Render { on_oom: OnOom::Offload, ..render.clone() };
        let Plan { rung, missing_bytes: too_much, .. } = fitting.plan_now(&offload)?;
        let offload_keeps = too_much == 0 && rung.residency != Residency::Host;
        let (fits, on_oom) = (missing_bytes == 0, render.on_oom);
        let needed_bytes = None; // dear to find, and asked once for all pictures alike
        Some(Lack { asked, made, usable_bytes, needed_bytes, fits, on_oom, offload_keeps })
    }

    /// The least that would do for `render` in the size and the steps that were asked for.
    pub(super) fn needed_bytes(&self, render: &Render) -> Option<u64> {
        Some(self.fitting.as_ref()?.least_as_asked(render)?.usable_bytes)
    }

    /// By pictures, newest first; `None` before there is one.
    fn pace(&self, pictures: Vec<MadePicture>) -> Option<Pace> {
        let newest = &pictures[..pictures.len().min(PACE_PICTURES_MAX)];
        let work = |in_pixels| -> Option<Vec<PictureWork>> {
            let of = |made: &MadePicture| {
                let render = self.fitting.as_ref().map(|fitting| render_of(fitting, &made.effort));
                self.work(&made.effort, render.as_ref(), in_pixels)
            };
            newest.iter().map(of).collect()
        };
        match work(false) {
            Some(estimated) => Pace::of(pictures, &estimated, false),
            None => {
                let pixels = work(true)?;
                Pace::of(pictures, &pixels, true)
            }
        }
    }

    /// The pixels of a render, in each run of the transformer.
    fn step_pixels(&self, effort: &Effort) -> f64 {
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
            Predictor::new(self.config.engine, &model.place(), Backend::this_cpu(false)).ok()
        };
        self.predictor.get_or_init(read).as_ref()
    }
}

fn work_of(estimate: &Estimate) -> PictureWork {
    let Estimate { text_encode_ms, denoise_ms, vae_decode_ms, .. } = *estimate;
    PictureWork { steps: denoise_ms as f64, rest: (text_encode_ms + vae_decode_ms) as f64 }
}

fn pixels(effort: &Effort) -> f64 {
    f64::from(effort.width) * f64::from(effort.height)
}

/// A render of which only so much is known, as far as its time depends on it.
fn render_of(fitting: &Fitting, effort: &Effort) -> Render {
    let Effort { width, height, steps, is_guided, guidance_truncation } = *effort;
    let usual = fitting.of_size((width, height));
    let recipe = Recipe {
        prompt: " ".repeat(USUAL_PROMPT_BYTES),
        guidance: if is_guided { 1.0 } else { 0.0 },
        guidance_truncation,
        ..usual.recipe
    };
    Render { recipe, steps, ..usual }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_step_whose_guidance_is_cut_off_is_taken_once() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::parse("", here).expect("all defaults");
        let timing = Timing::of_nothing(&config);
        let forwards = |is_guided, guidance_truncation| {
            let (width, height, steps) = (256, 256, 8);
            let effort = Effort { width, height, steps, is_guided, guidance_truncation };
            timing.step_pixels(&effort) / f64::from(256 * 256)
        };
        assert_eq!(
            [forwards(false, 1.0), forwards(false, 0.3), forwards(true, 1.0)],
            [8.0, 8.0, 16.0]
        );
        // With the miniature's shift of 3 the fifth step begins at 0.25, the sixth at 0.36.
        assert_eq!([forwards(true, 0.3), forwards(true, 0.0)], [13.0, 9.0]);
    }

    #[test]
    fn more_steps_take_no_longer_decode_and_pictures_made_alike_count_first() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::parse("", here).expect("all defaults");
        let timing = Timing::of_nothing(&config);
        let effort = |width, steps| {
            let (is_guided, guidance_truncation) = (false, 1.0);
            Effort { width, height: 256, steps, is_guided, guidance_truncation }
        };
        let made = |steps, denoise_ms, total_ms| MadePicture {
            denoise_ms,
            total_ms,
            ended_at_ms: 0,
            effort: effort(256, steps),
        };
        let pace = timing.pace(vec![made(2, 200, 1200), made(2, 200, 1200)]).expect("pictures");
        let ms = |pace, width, steps| {
            timing.paced_ms(pace, &effort(width, steps), None).expect("known").round()
        };
        assert_eq!([ms(&pace, 256, 8), ms(&pace, 512, 8)], [1800.0, 3600.0]);
        let pace = timing.pace(vec![made(2, 200, 1200), made(8, 900, 2000)]).expect("pictures");
        assert_eq!([ms(&pace, 256, 2), ms(&pace, 256, 8)], [1200.0, 2000.0]);
        assert!(timing.pace(Vec::new()).is_none());
    }

    #[test]
    fn the_decode_is_left_when_all_steps_are_made() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::parse("", here).expect("all defaults");
        let mut timing = Timing::of_nothing(&config);
        let (is_guided, guidance_truncation) = (false, 1.0);
        let effort = Effort { width: 256, height: 256, steps: 2, is_guided, guidance_truncation };
        assert_eq!(timing.share_of_steps(&effort), 1.0, "where nothing is known");
        let made = MadePicture { denoise_ms: 200, total_ms: 1000, ended_at_ms: 0, effort };
        timing.pace = timing.pace(vec![made]);
        assert!((timing.share_of_steps(&effort) - 0.2).abs() < 1e-9);
    }
}
