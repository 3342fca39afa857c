//! Plans for renders that nobody has begun yet: by the model's own words, what earlier attempts
//! measured, and the memory of the device.

use super::QueueError;
use super::agreement::daemon_zone;
use crate::config::{Config, ConfigError};
use crate::engine::predictor::Predictor;
use crate::engine::{
    self, Backend, CARD_CONTEXT_BYTES, DeviceChoice, ModelDescription, TOKENS_MAX, device_speed,
};
use crate::instance::InstanceLock;
use crate::job::spec::{Rules, fields};
use crate::job::{AskedPrecision, Render};
use crate::ladder::Rung;
use crate::planner::{Corrections, DeviceSpeed, Estimate, Plan};
use crate::store::{Store, WorkerRow};
use crate::table::Check;

/// A prompt of which nothing is known is taken to have so many bytes.
pub(super) const USUAL_PROMPT_BYTES: usize = 128;

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
    /// In how many bits it is computed; as configured where `None`.
    pub precision: Option<AskedPrecision>,
}

pub(super) async fn last_worker(store: Option<&Store>) -> Result<Option<WorkerRow>, QueueError> {
    match store {
        Some(store) => Ok(store.last_worker().await?),
        None => Ok(None),
    }
}

/// What a plan is made for, and from.
pub(super) struct Fitting<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Option<&'a Store>,
    pub(super) model: ModelDescription,
    pub(super) predictor: Predictor,
    corrections: Corrections,
    /// What a job could ask of this model.
    rules: Rules,
    /// The usual one.
    render: Render,
    pub(super) is_card: bool,
    /// All memory of the device that is not made up, as far as it is known.
    pub(super) device_bytes: Option<u64>,
    /// The device that was used last, or the processor, where it is of the kind that is asked about
    /// and was measured.
    measured: Option<(String, DeviceSpeed)>,
}

impl<'a> Fitting<'a> {
    pub(super) async fn new(
        config: &'a Config,
        store: Option<&'a Store>,
        worker: Option<&WorkerRow>,
        turbo: bool,
        made_up: bool,
    ) -> Result<Fitting<'a>, QueueError> {
        let (asked, last) = (config.clone(), worker.cloned());
        let read = move || FromFiles::read(&asked, last.as_ref(), turbo, made_up);
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|error| QueueError::NoAnswer(error.to_string()))??;
        let FromFiles { model, predictor, rules, is_card, device_bytes, measured } = read;
        let corrections = corrections(store, worker, &model, is_card).await?;
        let mut render = rules.defaults.clone();
        // What is answered for the longest prompt that the model reads holds for every one. So many
        // bytes have no more tokens.
        render.recipe.prompt = " ".repeat(TOKENS_MAX);
        Ok(Fitting {
            config,
            store,
            model,
            predictor,
            corrections,
            rules,
            render,
            is_card,
            device_bytes,
            measured,
        })
    }

    /// For the configured model on the device that was used last, or on the processor where no card
    /// can be; `None` where the model cannot be read: its own command says why.
    pub(super) async fn of_queue(
        config: &'a Config,
        store: Option<&'a Store>,
    ) -> Option<Fitting<'a>> {
        let worker = last_worker(store).await.ok()?;
        Fitting::new(config, store, worker.as_ref(), false, false).await.ok()
    }

    /// Whether times can be estimated.
    pub(super) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    /// Measures the processor where it computes and nobody has measured it yet, which takes about
    /// a second. It is kept where the queue has its folder: a question makes none.
    pub(super) fn measure(&mut self) {
        let is_scripted = self.predictor.capabilities().is_none();
        // A daemon measures it by itself when it loads the model.
        let is_measured_soon = InstanceLock::is_held(&self.config.state);
        if self.is_card || is_scripted || is_measured_soon || self.measured.is_some() {
            return;
        }
        let bf16 = self.config.device.keeps_bf16();
        let (device, _) = engine::processor(bf16);
        // Another model's look may have measured it a moment ago.
        self.measured = measured(self.config, device.clone());
        if self.measured.is_some() {
            return;
        }
        let Some(speed) = engine::processor_speed(bf16) else { return };
        // Who may not write there measures again the next time.
        let _ = device_speed::keep(&device_speed::path(&self.config.state), &device, speed);
        self.measured = Some((device, speed));
    }

    /// The plan for `render` by what the device has; `None` of the scripted engine.
    pub(super) fn plan_now(&self, render: &Render) -> Option<Plan> {
        self.plan(render, self.usable_now_bytes()).ok()
    }

    /// What a render may use of the device, as far as it is known.
    pub(super) fn usable_now_bytes(&self) -> Option<u64> {
        self.usable_bytes(self.device_bytes)
    }

    /// How long `render` takes on `rung` of the device that was measured, in words.
    pub(super) fn estimate(&self, render: &Render, rung: &Rung) -> Option<(String, Estimate)> {
        let (device, speed) = self.measured.as_ref()?;
        let time = speed.estimate(&self.predictor.operations(render, rung)?);
        Some((device.clone(), time))
    }

    /// What is left of a device for us; `None` where nobody knows.
    pub(super) fn usable_bytes(&self, device_bytes: Option<u64>) -> Option<u64> {
        let context_bytes = if self.is_card { CARD_CONTEXT_BYTES } else { 0 };
        let available_bytes = device_bytes.map(|bytes| bytes.saturating_sub(context_bytes));
        self.config.allowance().budget_bytes(available_bytes, device_bytes.unwrap_or(0))
    }

    /// The render that is asked about.
    pub(super) fn asked(&self, question: &FitQuestion) -> Render {
        let FitQuestion { size, guided, from_picture, precision, .. } = *question;
        let mut render = self.of_size(size.unwrap_or((self.render.width, self.render.height)));
        if guided {
            render.recipe.guidance = 1.0;
        }
        if from_picture {
            render.recipe.init_image = "any".to_owned();
        }
        render.precision = precision.unwrap_or(render.precision);
        render
    }

    /// The render with a prompt as people write it, where it stands for all: the longest prompt
    /// says what memory is enough, and far too much time.
    pub(super) fn of_usual_prompt(&self, render: &Render) -> Render {
        let mut usual = render.clone();
        if usual.recipe.prompt == self.render.recipe.prompt {
            usual.recipe.prompt = " ".repeat(USUAL_PROMPT_BYTES);
        }
        usual
    }

    /// The usual render in this size.
    pub(super) fn of_size(&self, (width, height): (u32, u32)) -> Render {
        let min_side = self.render.min_side.min(width).min(height);
        Render { width, height, min_side, ..self.render.clone() }
    }

    pub(super) fn plan(
        &self,
        render: &Render,
        usable_bytes: Option<u64>,
    ) -> Result<Plan, QueueError> {
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
            usable_bytes,
        );
        planner.first().ok_or_else(|| no_answer("the engine can do nothing"))
    }

    /// Whether a job could ask for pictures of this size.
    pub(super) fn check_size(&self, (width, height): (u32, u32)) -> Check<()> {
        fields::check_side(width, &self.rules.bounds())?;
        fields::check_side(height, &self.rules.bounds())?;
        Ok(())
    }
}

/// All memory of the worker's device, where it was known.
pub(super) fn bytes_of(worker: &WorkerRow) -> Option<u64> {
    Some(worker.total_bytes.unsigned_abs()).filter(|bytes| *bytes > 0)
}

/// The device with its speed, where that was measured.
fn measured(config: &Config, device: String) -> Option<(String, DeviceSpeed)> {
    let speed = device_speed::kept(&device_speed::path(&config.state), &device)?;
    Some((device, speed))
}

/// How the device computes: one that is made up is a card, unless no card is wanted; else as the
/// `last` worker's did, and before there was one as this build would on this machine.
fn backend(config: &Config, last: Option<&WorkerRow>, made_up: bool) -> Backend {
    let on_card = match (config.device, last) {
        (device, _) if device.is_cpu() => false,
        _ if made_up => true,
        (_, Some(last)) => engine::is_card(&last.device),
        (DeviceChoice::Cuda { .. }, None) => true,
        (_, None) => engine::sees_card(),
    };
    match on_card {
        true => Backend::Cuda,
        false => Backend::this_cpu(config.device.keeps_bf16()),
    }
}

/// What files say of the model and the device: they are read in a thread of their own.
struct FromFiles {
    model: ModelDescription,
    predictor: Predictor,
    rules: Rules,
    is_card: bool,
    device_bytes: Option<u64>,
    measured: Option<(String, DeviceSpeed)>,
}

impl FromFiles {
    fn read(
        config: &Config,
        worker: Option<&WorkerRow>,
        turbo: bool,
        made_up: bool,
    ) -> Result<FromFiles, QueueError> {
        let backend = backend(config, worker, made_up);
        let is_card = backend == Backend::Cuda;
        let (model, predictor) = model(config, turbo, backend)?;
        let rules = config.rules(&model, daemon_zone(config))?;
        let bf16 = config.device.keeps_bf16();
        let is_of_kind = |last: &&WorkerRow| {
            let device = &last.device;
            engine::is_card(device) == is_card
                && (is_card || engine::is_bf16_processor(device) == bf16)
        };
        let last = worker.filter(is_of_kind);
        let last = last.map(|last| (last.device.clone(), bytes_of(last)));
        let (device, device_bytes) = match last {
            Some((device, bytes)) => (Some(device), bytes),
            None if is_card => (None, None),
            None => {
                let (device, bytes) = engine::processor(bf16);
                (Some(device), bytes)
            }
        };
        let measured = device.and_then(|device| measured(config, device));
        Ok(FromFiles { model, predictor, rules, is_card, device_bytes, measured })
    }
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
