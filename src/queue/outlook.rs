//! How long work takes before any of it was done: estimated from the speed of the device that was
//! used last.

use serde::Serialize;

use super::fit::Fitting;
use super::{FitQuestion, Queue};
use crate::config::Config;
use crate::job::{Recipe, Render};
use crate::planner::Estimate;
use crate::store::{Outlook, Result, Store, WaitingRenders};

/// A prompt of which nothing is known is taken to have so many bytes.
const USUAL_PROMPT_BYTES: usize = 128;

/// How long the renders of a job take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpectedWork {
    /// All of them together.
    pub work_ms: i64,
    /// Nothing comparable was rendered yet: the time comes from counted operations.
    pub is_estimate: bool,
}

/// How long `renders` take, by the newest pictures, or estimated before there is any; `None` where
/// no device was measured.
pub async fn expected_work(
    config: &Config,
    store: &Store,
    renders: &[&Render],
) -> Option<ExpectedWork> {
    if let Some(work_ms) = store.work_ms(renders).await.ok()? {
        return Some(ExpectedWork { work_ms, is_estimate: false });
    }
    let estimator = Estimator::new(config, store).await?;
    let mut work_ms = 0;
    // Jobs of thousands of pictures have few kinds: neighbours that are alike are planned once.
    let mut known: Option<(&Render, i64)> = None;
    for render in renders {
        let alike = known.filter(|(other, _)| is_alike(other, render)).map(|(_, ms)| ms);
        let ms = match alike {
            Some(ms) => ms,
            None => estimator.ms(render)?,
        };
        known = Some((render, ms));
        work_ms += ms;
    }
    Some(ExpectedWork { work_ms, is_estimate: true })
}

/// Whether two renders take the same time.
fn is_alike(a: &Render, b: &Render) -> bool {
    let asked = |render: &Render| {
        let Render { width, height, steps, min_side, min_steps, on_oom, .. } = *render;
        (width, height, steps, min_side, min_steps, on_oom)
    };
    let recipe = |Recipe { prompt, guidance, guidance_truncation, .. }: &Recipe| {
        (prompt.len(), *guidance, *guidance_truncation)
    };
    asked(a) == asked(b) && recipe(&a.recipe) == recipe(&b.recipe)
}

impl Queue<'_> {
    /// The renders that have not ended. Where no picture says how long they take, that is
    /// estimated.
    pub(super) async fn outlook(&self) -> Result<Outlook> {
        let now_ms = self.clock.now_ms();
        let mut outlook = self.store.outlook(now_ms).await?;
        if outlook.work_ms.is_none() && outlook.renders > 0 {
            let waiting = self.store.waiting(now_ms).await?;
            if let Some((work_ms, done_at_ms)) = self.estimated(now_ms, &waiting).await {
                outlook.work_ms = Some(work_ms);
                outlook.done_at_ms = Some(done_at_ms);
                outlook.is_estimate = true;
            }
        }
        Ok(outlook)
    }

    /// How long `waiting` take, and when the last of them has ended, each begun no earlier than it
    /// may.
    async fn estimated(&self, now_ms: i64, waiting: &[WaitingRenders]) -> Option<(i64, i64)> {
        let estimator = Estimator::new(self.config, &self.store).await?;
        let (mut work_ms, mut free_ms) = (0, now_ms);
        for group in waiting {
            let ms = estimator.ms(&estimator.render(group))? * group.renders;
            work_ms += ms;
            free_ms = free_ms.max(group.from_ms) + ms;
        }
        Some((work_ms, free_ms))
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

    fn ms(&self, render: &Render) -> Option<i64> {
        let Estimate { total_ms, .. } = self.fitting.estimate_on(render, self.device_bytes)?;
        i64::try_from(total_ms).ok()
    }

    /// One of `group`, as far as its time depends on it.
    fn render(&self, group: &WaitingRenders) -> Render {
        let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let usual = self.fitting.of_size((number(group.width), number(group.height)));
        let recipe = Recipe {
            prompt: " ".repeat(USUAL_PROMPT_BYTES),
            guidance: group.guidance,
            guidance_truncation: group.guidance_truncation,
            ..usual.recipe
        };
        Render { recipe, steps: number(group.steps), ..usual }
    }
}
