//! On which rung a picture would be rendered and what it would need, asked without a device.

use serde::Serialize;

use super::QueueError;
use super::fitting::{FitQuestion, Fitting, last_worker};
use super::pace::usual_ms;
use super::timing::Timing;
use crate::config::Config;
use crate::engine::mini;
use crate::job::{OnOom, Render};
use crate::ladder::{Residency, Rung};
use crate::planner::{Estimate, Plan, Prediction};
use crate::store::{SeenOnRung, Store};

/// The cards of [`fit_table`], by their memory in GiB.
pub const TABLE_CARDS_GIB: [u64; 5] = [6, 8, 12, 16, 24];

/// The pictures of [`fit_table`], in pixels.
const TABLE_SIZES: [(u32, u32); 6] =
    [(512, 512), (768, 768), (1024, 576), (576, 1024), (1024, 1024), (1536, 1536)];

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
    /// Whether the device is a card, and not the processor.
    pub is_card: bool,
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
    /// Where it does not fit: what would do. Null where it fits, or no memory is enough.
    pub least: Option<LeastMemory>,
    /// Where it fits only smaller, or with fewer steps: what would do for it as it is asked for.
    /// Null where it fits as asked or not at all, or no memory is enough.
    pub as_asked: Option<LeastMemory>,
    /// What the host should have free to stream layers from; 0 where none are.
    pub host_bytes: u64,
    /// Pictures rendered on this rung.
    pub seen: Option<Seen>,
    /// Where none was: how long one takes, by the speed of the device that was used last.
    pub estimate: Option<FitEstimate>,
    /// Of a card of which nothing else is known and to which weights are streamed: how long that
    /// takes at least. Null where a picture or an estimate says more.
    pub bus: Option<BusTime>,
}

/// Pictures that were rendered on a rung.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seen {
    /// Where they were rendered.
    pub device: String,
    /// The model's name.
    pub model: String,
    /// How long one takes by the newest of them; the slowest and the quickest quarter do not count.
    pub mean_ms: f64,
    /// How many of them were looked at, 20 at most.
    pub pictures: i64,
}

/// A bound from below: a card does not compute before its weights have come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BusTime {
    /// Weights that come over the bus for one picture.
    pub streamed_bytes: u64,
    /// How many do so in a second: nobody has measured it, it is what PCIe 4.0 with 16 lanes does
    /// at its best.
    pub assumed_bytes_per_s: u64,
    /// How long they take.
    pub least_ms: u64,
}

/// PCIe 4.0 with 16 lanes carries 31.5 GB a second, of which copies reach so much.
const BUS_BYTES_PER_S: u64 = 26_000_000_000;

/// The least memory that does for a picture, in whole MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeastMemory {
    /// That a render may use, and so the least `memory_limit`.
    pub usable_bytes: u64,
    /// All memory of the smallest device that leaves so much to a render; null where `memory_limit`
    /// allows none to.
    pub device_bytes: Option<u64>,
}

/// As exact as people ask, and few enough plans to find it.
const LEAST_STEP_BYTES: u64 = 1 << 20;

/// 1 TiB: what does not fit there fits nowhere.
const LEAST_STEPS_MAX: u64 = 1 << 20;

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
    /// Whether the device renders it.
    pub fn fits(&self) -> bool {
        let FitAnswer { rung, prediction, missing_bytes, .. } = *self;
        is_on_device(Plan { rung, prediction, missing_bytes })
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
    let made_up = question.device_bytes.is_some();
    let mut fitting = Fitting::new(config, store, worker.as_ref(), question.turbo, made_up).await?;
    let asked = fitting.asked(question);
    fitting.check_size((asked.width, asked.height)).map_err(|mistake| {
        let Render { width, height, .. } = asked;
        let help = mistake.help.unwrap_or_default();
        QueueError::WrongQuestion(format!("{width}x{height}: {}; {help}", mistake.message))
    })?;
    if !made_up {
        fitting.measure();
    }
    let device_bytes = question.device_bytes.or(fitting.device_bytes);
    let mut answer = fitting.answer(&asked, device_bytes).await?;
    let worker = worker.filter(|worker| !made_up && worker.model_name == answer.model);
    if let Some(worker) = worker {
        let usual = fitting.of_usual_prompt(&asked);
        let timing = Timing::with(config, &worker.model_key, store, Some(fitting)).await?;
        answer.agree(&timing, &usual);
    }
    Ok(answer)
}

impl FitAnswer {
    /// Tells the time that all others tell of the render at this moment: `status`, `check`, pages.
    fn agree(&mut self, timing: &Timing<'_>, render: &Render) {
        if let Some(estimate) = &mut self.estimate {
            estimate.time = timing.paced(estimate.time, render);
        }
        if let (Some(seen), Some(ms)) = (&mut self.seen, timing.by_pictures(render)) {
            seen.mean_ms = ms;
        }
    }
}

/// Answers for all usual sizes of pictures, and for each on all of [`TABLE_CARDS_GIB`].
pub async fn fit_table(
    config: &Config,
    store: Option<&Store>,
    question: &FitQuestion,
) -> Result<Vec<FitAnswer>, QueueError> {
    let worker = last_worker(store).await?;
    let fitting = Fitting::new(config, store, worker.as_ref(), question.turbo, true).await?;
    fitting.table(question).await
}

/// What fits where, for people to look at.
#[derive(Clone, Debug, Default)]
pub struct UsualTable {
    /// As of [`fit_table`]; none of an engine that needs no memory.
    pub answers: Vec<FitAnswer>,
    /// The configured model is the miniature, which fits on every card and so tells nothing: the
    /// table is Z-Image-Turbo's.
    pub is_miniature: bool,
}

/// The table of the configured model, or the one that says more.
pub async fn usual_table(config: &Config, store: &Store) -> Result<UsualTable, QueueError> {
    match worth_looking_at(config, store).await {
        Err(QueueError::NoAnswer(_)) => Ok(UsualTable::default()),
        table => table,
    }
}

async fn worth_looking_at(config: &Config, store: &Store) -> Result<UsualTable, QueueError> {
    let worker = last_worker(Some(store)).await?;
    let mut fitting = Fitting::new(config, Some(store), worker.as_ref(), false, true).await?;
    let is_miniature = fitting.model.name == mini::NAME;
    if is_miniature {
        fitting = Fitting::new(config, Some(store), worker.as_ref(), true, true).await?;
    }
    let answers = fitting.table(&FitQuestion::default()).await?;
    Ok(UsualTable { answers, is_miniature })
}

impl Fitting<'_> {
    /// All usual sizes on all of [`TABLE_CARDS_GIB`].
    async fn table(&self, question: &FitQuestion) -> Result<Vec<FitAnswer>, QueueError> {
        let mut answers = Vec::new();
        for size in TABLE_SIZES.into_iter().filter(|size| self.check_size(*size).is_ok()) {
            let asked = self.asked(&FitQuestion { size: Some(size), ..*question });
            for card_gib in TABLE_CARDS_GIB {
                answers.push(self.answer(&asked, Some(card_gib << 30)).await?);
            }
        }
        Ok(answers)
    }

    /// For a render of a size that [`Fitting::check_size`] lets through, on a device of
    /// `device_bytes`; where nobody knows how large it is, the configured limit counts alone.
    pub(super) async fn answer(
        &self,
        asked: &Render,
        device_bytes: Option<u64>,
    ) -> Result<FitAnswer, QueueError> {
        if device_bytes.or(self.config.memory_limit_bytes).is_none() {
            let why = "no device was used yet; say how much memory it has, like --vram 6GiB";
            return Err(QueueError::WrongQuestion(why.to_owned()));
        }
        let usable_bytes = self.usable_bytes(device_bytes).unwrap_or(0);
        let Plan { rung, prediction, missing_bytes } = self.plan(asked, Some(usable_bytes))?;
        let seen = match self.store {
            Some(store) => {
                let is_guided = asked.recipe.guidance > 0.0;
                let seen = store.seen_on(&rung, &self.model.name, is_guided).await?;
                seen.and_then(|seen| Seen::of(seen, &self.model.name))
            }
            None => None,
        };
        let mut answer = FitAnswer {
            model: self.model.name.clone(),
            miniature: self.model.name == mini::NAME,
            width: asked.width,
            height: asked.height,
            steps: asked.steps,
            is_card: self.is_card,
            device_bytes: device_bytes.unwrap_or(usable_bytes),
            usable_bytes,
            limit_bytes: self.config.allowance().limit_bytes.filter(|limit| *limit == usable_bytes),
            rung,
            prediction,
            missing_bytes,
            least: None,
            as_asked: None,
            host_bytes: self.predictor.host_bytes(&rung),
            seen,
            estimate: None,
            bus: None,
        };
        if answer.seen.is_none() {
            let usual = self.of_usual_prompt(asked);
            let estimate = self.estimate(&usual, &rung);
            answer.estimate = estimate.map(|(device, time)| FitEstimate { device, time });
            answer.bus = self.bus(&usual, &rung);
        }
        if !answer.fits() {
            answer.least = self.least(asked);
        } else if answer.is_degraded() {
            answer.as_asked = self.least_as_asked(asked);
        }
        Ok(answer)
    }

    /// How long the bus alone takes, where weights are streamed to a card that nobody measured.
    fn bus(&self, render: &Render, rung: &Rung) -> Option<BusTime> {
        if !self.is_card || self.is_measured() {
            return None;
        }
        let streamed_bytes = self.predictor.operations(render, rung)?.streamed_bytes() as u64;
        let least_ms = streamed_bytes * 1000 / BUS_BYTES_PER_S;
        let time = BusTime { streamed_bytes, assumed_bytes_per_s: BUS_BYTES_PER_S, least_ms };
        (streamed_bytes > 0).then_some(time)
    }

    /// The least memory with which a device renders it in the size and the steps that are asked for.
    pub(super) fn least_as_asked(&self, asked: &Render) -> Option<LeastMemory> {
        self.least(&Render { on_oom: OnOom::Offload, ..asked.clone() })
    }

    /// The least memory with which a device renders it.
    fn least(&self, asked: &Render) -> Option<LeastMemory> {
        let renders = |usable_bytes| self.plan(asked, Some(usable_bytes)).is_ok_and(is_on_device);
        let usable_bytes = least_bytes(renders)?;
        let leaves =
            |bytes| self.usable_bytes(Some(bytes)).is_some_and(|left| left >= usable_bytes);
        Some(LeastMemory { usable_bytes, device_bytes: least_bytes(leaves) })
    }
}

impl Seen {
    fn of(SeenOnRung { device, times_ms }: SeenOnRung, model: &str) -> Option<Seen> {
        let pictures = times_ms.len() as i64;
        let mean_ms = usual_ms(times_ms)?;
        Some(Seen { device, model: model.to_owned(), mean_ms, pictures })
    }
}

/// Whether the device renders it. The host would take hours.
pub(super) fn is_on_device(Plan { rung, missing_bytes, .. }: Plan) -> bool {
    missing_bytes == 0 && rung.residency != Residency::Host
}

/// The first step of memory that is enough, of which every further one is, too.
fn least_bytes(is_enough: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut too_few, mut enough) = (0, LEAST_STEPS_MAX);
    if !is_enough(enough * LEAST_STEP_BYTES) {
        return None;
    }
    while enough - too_few > 1 {
        let middle = (too_few + enough) / 2;
        match is_enough(middle * LEAST_STEP_BYTES) {
            true => enough = middle,
            false => too_few = middle,
        }
    }
    Some(enough * LEAST_STEP_BYTES)
}
