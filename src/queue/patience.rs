//! Whether it makes sense to wait for a job that is not taken in yet.

use super::agreement::daemon_zone;
use super::{ApiJob, Queue, QueueError};
use crate::moment;

/// Why a job is not waited for. For people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Nothing is started, for nobody knows how long.
    Stopped(String),
    /// It would not be done in the time that there is.
    TooLong(String),
}

impl Queue<'_> {
    /// What keeps the job from being done within `wait_ms` milliseconds, as far as that is known.
    pub async fn delay(&self, job: &ApiJob, wait_ms: i64) -> Result<Option<Delay>, QueueError> {
        let checked = self.check_api_job(job).await?;
        let model = checked.resolved.job.renders.first().map(|render| render.model.as_str());
        let held = || model.and_then(|model| self.held_model(model));
        if let Some(why) = checked.stopped.clone().or_else(held) {
            return Ok(Some(Delay::Stopped(why)));
        }
        let now_ms = self.clock.now_ms();
        let is_too_late = |at_ms: i64| at_ms - now_ms > wait_ms;
        let quiet_ms = self.config.power.quiet.until_ms(now_ms, &daemon_zone(self.config));
        let begins_ms = checked.not_before_ms.max(quiet_ms).filter(|at_ms| is_too_late(*at_ms));
        let done_ms = checked.expected.and_then(|expected| expected.done_at_ms);
        let done_ms = done_ms.filter(|at_ms| is_too_late(*at_ms));
        Ok(match (begins_ms, done_ms) {
            (Some(at_ms), _) => {
                let why = format!("it is not begun before {}", moment::soon(at_ms));
                Some(Delay::TooLong(why))
            }
            (None, Some(at_ms)) => {
                let seconds = (at_ms - now_ms) / 1000;
                Some(Delay::TooLong(format!("it would be done in {seconds} s")))
            }
            (None, None) => None,
        })
    }
}
