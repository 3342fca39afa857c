//! On which rung a picture would be rendered and what it would need, asked without a device.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::QueueError;
use crate::config::{Config, ConfigError};
use crate::engine::predictor::Predictor;
use crate::engine::{
    self, Backend, CARD_CONTEXT_BYTES, DeviceChoice, ModelDescription, TOKENS_MAX, device_speed,
    mini,
};
use crate::job::Render;
use crate::job::spec::{Rules, fields};
use crate::ladder::{Residency, Rung};
use crate::planner::{Corrections, DeviceSpeed, Estimate, Plan, Prediction};
use crate::store::{Seen, Store, WorkerRow};
use crate::table::Check;

/// The cards of [`fit_table`], by their memory in GiB.
pub const TABLE_CARDS_GIB: [u64; 5] = [6, 8, 12, 16, 24];

/// The pictures of [`fit_table`], in pixels.
const TABLE_SIZES: [(u32, u32); 6] =
    [(512, 512), (768, 768), (1024, 576), (576, 1024), (1024, 1024), (1536, 1536)];

/// What is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FitQuestion {
    /// Width and height in pixels; the configured default where `None`.
    pub size: Option<(u32, u32)>,
    /// The memory of a card that is made up; the device that was used last where `None`.
    pub device_bytes: Option<u64>,
    /// Of Z-Image-Turbo, whatever model is configured; its files are not needed.
    pub turbo: bool,
    /// As if guidance were on: two forwards a step.
    pub guided: bool,
    /// As if it began with a picture, which is encoded first.
    pub from_picture: bool,
}

/// What is answered for one size of picture on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FitAnswer {
    /// The model's name.
    pub model: String,
    /// The model is the miniature in the program, which is seldom the one that is meant.
    pub miniature: bool,
    /// As asked; the rung has what is made.
    pub width: u32,
    /// As asked, in pixels.
    pub height: u32,
    /// As asked.
    pub steps: u32,
    /// All memory of the device.
    pub device_bytes: u64,
    /// What is left of it for a render.
    pub usable_bytes: u64,
    /// The configured `memory_limit`, where it says what is usable.
    pub limit_bytes: Option<u64>,
    /// How it would be rendered.
    pub rung: Rung,
    /// What that would need.
    pub prediction: Prediction,
    /// 0 where it fits.
    pub missing_bytes: u64,
    /// What the host should have free to stream layers from; 0 where none are.
    pub host_bytes: u64,
    /// Pictures rendered on this rung.
    pub seen: Option<Seen>,
    /// Where none was: how long one takes, by the speed of the device that was used last.
    pub estimate: Option<FitEstimate>,
}

/// An [`Estimate`], and whose.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FitEstimate {
    /// The device that was measured.
    pub device: String,
    #[serde(flatten)]
    pub time: Estimate,
}

impl FitAnswer {
    /// Whether the device renders it. The host would take hours.
    pub fn fits(&self) -> bool {
        self.missing_bytes == 0 && self.rung.residency != Residency::Host
    }

    /// Whether the picture is made smaller, or in fewer steps, than asked.
    pub fn is_degraded(&self) -> bool {
        let Rung { width, height, steps, .. } = self.rung;
        (width, height, steps) != (self.width, self.height, self.steps)
    }
}

/// Answers for one picture. `store` has what was measured; without one the prediction stands alone.
pub async fn fit(
    config: &Config,
    store: Option<&Store>,
    question: &FitQuestion,
) -> Result<FitAnswer, QueueError> {
    let worker = last_worker(store).await?;
    let last_bytes = worker.as_ref().map(|worker| worker.total_bytes.unsigned_abs());
    let device_bytes = question.device_bytes.or(last_bytes);
    if device_bytes.or(config.memory_limit_bytes).is_none() {
        let why = "no device was used yet; say how much memory it has, like --vram 6GiB";
        return Err(QueueError::NoAnswer(why.to_owned()));
    }
    let made_up = question.device_bytes.is_some();
    let fitting = Fitting::new(config, store, worker.as_ref(), question, made_up).await?;
    let size = question.size.unwrap_or((fitting.render.width, fitting.render.height));
    fitting.check_size(size).map_err(|mistake| {
        let (width, height) = size;
        let help = mistake.help.unwrap_or_default();
        QueueError::NoAnswer(format!("{width}x{height}: {}; {help}", mistake.message))
    })?;
    fitting.answer(size, device_bytes).await
}

/// Answers for all usual sizes of pictures, and for each on all of [`TABLE_CARDS_GIB`].
pub async fn fit_table(
    config: &Config,
    store: Option<&Store>,
    question: &FitQuestion,
) -> Result<Vec<FitAnswer>, QueueError> {
    let worker = last_worker(store).await?;
    let fitting = Fitting::new(config, store, worker.as_ref(), question, true).await?;
    let mut answers = Vec::new();
    for size in TABLE_SIZES.into_iter().filter(|size| fitting.check_size(*size).is_ok()) {
        for card_gib in TABLE_CARDS_GIB {
            answers.push(fitting.answer(size, Some(card_gib << 30)).await?);
        }
    }
    Ok(answers)
}

async fn last_worker(store: Option<&Store>) -> Result<Option<WorkerRow>, QueueError> {
    match store {
        Some(store) => Ok(store.last_worker().await?),
        None => Ok(None),
    }
}

/// What a plan is made for, and from.
pub(super) struct Fitting<'a> {
    config: &'a Config,
    store: Option<&'a Store>,
    model: ModelDescription,
    predictor: Predictor,
    corrections: Corrections,
    /// What a job could ask of this model.
    rules: Rules,
    render: Render,
    is_card: bool,
    /// The device that was used last, where it is of the kind that is asked about and was measured.
    measured: Option<(String, DeviceSpeed)>,
}

impl<'a> Fitting<'a> {
    pub(super) async fn new(
        config: &'a Config,
        store: Option<&'a Store>,
        worker: Option<&WorkerRow>,
        question: &FitQuestion,
        made_up: bool,
    ) -> Result<Fitting<'a>, QueueError> {
        let backend = backend(config, worker.filter(|_| !made_up));
        let is_card = backend == Backend::Cuda;
        let (model, predictor) = model(config, question.turbo, backend)?;
        let corrections = corrections(store, worker, &model, is_card).await?;
        let rules = config.rules(&model, TimeZone::system())?;
        let mut render = rules.defaults.clone();
        // What is answered for the longest prompt that the model reads holds for every one. So many
        // bytes have no more tokens.
        render.recipe.prompt = " ".repeat(TOKENS_MAX);
        if question.guided {
            render.recipe.guidance = 1.0;
        }
        if question.from_picture {
            render.recipe.init_image = "any".to_owned();
        }
        let measured =
            measured(config, worker.filter(|last| engine::is_card(&last.device) == is_card));
        Ok(Fitting {
            config,
            store,
            model,
            predictor,
            corrections,
            rules,
            render,
            is_card,
            measured,
        })
    }

    /// For a `size` that [`Fitting::check_size`] lets through, on a device of `device_bytes`; where
    /// nobody knows how large it is, the configured limit counts alone.
    async fn answer(
        &self,
        size: (u32, u32),
        device_bytes: Option<u64>,
    ) -> Result<FitAnswer, QueueError> {
        let usable_bytes = self.usable_bytes(device_bytes);
        let asked = self.of_size(size);
        let Plan { rung, prediction, missing_bytes } = self.plan(&asked, usable_bytes)?;
        let seen = match self.store {
            Some(store) => store.seen_on(&rung, &self.model.name).await?,
            None => None,
        };
        let estimate = match &seen {
            Some(_) => None,
            None => self.estimate(&asked, &rung),
        };
        Ok(FitAnswer {
            model: self.model.name.clone(),
            miniature: self.model.name == mini::NAME,
            width: asked.width,
            height: asked.height,
            steps: asked.steps,
            device_bytes: device_bytes.unwrap_or(usable_bytes),
            usable_bytes,
            limit_bytes: self.config.allowance().limit_bytes.filter(|limit| *limit == usable_bytes),
            rung,
            prediction,
            missing_bytes,
            host_bytes: self.predictor.host_bytes(&rung),
            seen,
            estimate,
        })
    }

    /// Whether times can be estimated.
    pub(super) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    /// How long `render` takes on a device of `device_bytes` that is as fast as the measured one.
    pub(super) fn estimate_on(&self, render: &Render, device_bytes: u64) -> Option<Estimate> {
        let plan = self.plan(render, self.usable_bytes(Some(device_bytes))).ok()?;
        Some(self.estimate(render, &plan.rung)?.time)
    }

    fn estimate(&self, render: &Render, rung: &Rung) -> Option<FitEstimate> {
        let (device, speed) = self.measured.as_ref()?;
        let time = speed.estimate(&self.predictor.operations(render, rung)?);
        Some(FitEstimate { device: device.clone(), time })
    }

    /// What is left of a device for us.
    fn usable_bytes(&self, device_bytes: Option<u64>) -> u64 {
        let context_bytes = if self.is_card { CARD_CONTEXT_BYTES } else { 0 };
        let available_bytes = device_bytes.map(|bytes| bytes.saturating_sub(context_bytes));
        self.config
            .allowance()
            .budget_bytes(available_bytes, device_bytes.unwrap_or(0))
            .unwrap_or(0)
    }

    /// The usual render in this size.
    pub(super) fn of_size(&self, (width, height): (u32, u32)) -> Render {
        let min_side = self.render.min_side.min(width).min(height);
        Render { width, height, min_side, ..self.render.clone() }
    }

    fn plan(&self, render: &Render, usable_bytes: u64) -> Result<Plan, QueueError> {
        let no_answer = |why: &str| QueueError::NoAnswer(why.to_owned());
        let capabilities = self
            .predictor
            .capabilities()
            .ok_or_else(|| no_answer("the scripted engine needs no memory"))?;
        let planner = self.predictor.planner(
            render,
            self.config.prefer,
            &capabilities,
            &self.corrections,
            Some(usable_bytes),
        );
        planner.first().ok_or_else(|| no_answer("the engine can do nothing"))
    }

    /// Whether a job could ask for pictures of this size.
    fn check_size(&self, (width, height): (u32, u32)) -> Check<()> {
        fields::check_side(width, &self.rules.bounds())?;
        fields::check_side(height, &self.rules.bounds())?;
        Ok(())
    }
}

/// The device that was used last with its speed, where that was measured.
fn measured(config: &Config, last: Option<&WorkerRow>) -> Option<(String, DeviceSpeed)> {
    let device = &last?.device;
    let speed = device_speed::kept(&device_speed::path(&config.state), device)?;
    Some((device.clone(), speed))
}

/// How the device computes: as the `last` worker's did, where that is asked about.
fn backend(config: &Config, last: Option<&WorkerRow>) -> Backend {
    let on_cpu = config.device == DeviceChoice::Cpu
        || last.is_some_and(|worker| !engine::is_card(&worker.device));
    if on_cpu { Backend::this_cpu() } else { Backend::Cuda }
}

/// The model that is asked about, and what predicts for it.
fn model(
    config: &Config,
    turbo: bool,
    backend: Backend,
) -> Result<(ModelDescription, Predictor), QueueError> {
    if turbo {
        return Ok((ModelDescription::turbo(), Predictor::turbo(backend)));
    }
    let model = config.describe_model()?;
    let predictor = Predictor::new(config.engine, &config.model_texts()?.place(), backend)
        .map_err(ConfigError::from)?;
    Ok((model, predictor))
}

/// What was measured with this model. What another kind of device measured says nothing of this
/// one.
async fn corrections(
    store: Option<&Store>,
    worker: Option<&WorkerRow>,
    model: &ModelDescription,
    is_card: bool,
) -> Result<Corrections, QueueError> {
    let evidence = match (store, worker) {
        (Some(store), Some(worker))
            if worker.model_name == model.name && engine::is_card(&worker.device) == is_card =>
        {
            store.evidence(&worker.model_hash, &worker.device).await?
        }
        _ => Vec::new(),
    };
    Ok(Corrections::from(&evidence))
}
