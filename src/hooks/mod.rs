//! Renders that have ended are told to a program of the user's, or to a webhook: at least once,
//! beside the queue, which waits for none of it. What is to be told is a row since the render
//! ended, so a death in between tells it after the next start, under the same event id.

mod message;
mod program;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use self::message::HookMessage;
pub use self::program::find_program;
use self::webhook::Webhook;
use crate::clock::Clock;
use crate::config::{HookConfig, LiveConfig};
use crate::job::hook::{HookChannel, HookEvent};
use crate::problem::one_line;
use crate::store::{OutboxRow, Store, StoreError};

/// Between two looks for something to tell.
const LOOK: Duration = Duration::from_millis(200);

/// So often a program is run in vain: it has no outage that passes.
const PROGRAM_TRIES_MAX: u32 = 3;

/// So often a webhook is tried in vain, which by the pauses between takes hours.
const WEBHOOK_TRIES_MAX: u32 = 15;

/// The longest pause between two tries.
const PAUSE_MS_MAX: u64 = 60 * 60 * 1000;

/// So much of what went wrong is noted.
const REASON_CHARS_MAX: usize = 500;

/// Notes what is to be told. From then on, each render that ends is; what is to be told no more is
/// given up.
pub async fn begin(store: &Store, hooks: &HookConfig, now_ms: i64) -> Result<(), StoreError> {
    store.set_hooks(&wishes(hooks), now_ms).await
}

fn wishes(hooks: &HookConfig) -> Vec<(HookChannel, HookEvent)> {
    let mut wishes = Vec::new();
    for (event, program) in
        [(HookEvent::Done, &hooks.on_done), (HookEvent::Failed, &hooks.on_failed)]
    {
        if program.is_some() {
            wishes.push((HookChannel::Program, event));
        }
        if hooks.webhook.is_some() {
            wishes.push((HookChannel::Webhook, event));
        }
    }
    wishes
}

/// Tells what is due, one thing after the other in each channel, until `stop`.
pub async fn run(
    config: LiveConfig,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let of = |channel| {
        let (config, store) = (config.clone(), store.clone());
        Teller { config, store, clock: clock.clone(), channel, stop: stop.clone() }
    };
    let (program, webhook) = (of(HookChannel::Program), of(HookChannel::Webhook));
    tokio::join!(program.run(), webhook.run());
}

struct Teller {
    config: LiveConfig,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    channel: HookChannel,
    stop: CancellationToken,
}

impl Teller {
    async fn run(&self) {
        while !self.stop.is_cancelled() {
            match self.tell_next().await {
                Ok(true) => (),
                Ok(false) => drop(self.stop.run_until_cancelled(sleep(LOOK)).await),
                Err(error) => {
                    debug!(%error, "what is to be told cannot be read or noted now");
                    self.stop.run_until_cancelled(sleep(LOOK)).await;
                }
            }
        }
    }

    /// Whether there was something to tell. What the end of the daemon interrupts is told again.
    async fn tell_next(&self) -> Result<bool, StoreError> {
        let config = self.config.now();
        // Where nobody listens the database is asked for nothing.
        if !wishes(&config.hooks).iter().any(|(channel, _)| *channel == self.channel) {
            return Ok(false);
        }
        let Some(row) = self.store.next_due(self.channel, self.clock.now_ms()).await? else {
            return Ok(false);
        };
        let Some(message) = message::of(&self.store, &config, &row).await? else {
            let gone = "its row is gone: it was forgotten before it was told";
            self.store.give_up_telling(row.id, gone, self.clock.now_ms()).await?;
            return Ok(true);
        };
        match self.stop.run_until_cancelled(self.tell(&config.hooks, &message)).await {
            None => (),
            Some(Ok(())) => self.store.told(row.id, self.clock.now_ms()).await?,
            Some(Err(why)) => self.went_wrong(&config.hooks, &row, &message, &why).await?,
        }
        Ok(true)
    }

    async fn tell(&self, hooks: &HookConfig, message: &HookMessage) -> Result<(), String> {
        match self.channel {
            HookChannel::Program => {
                let program = match message.event {
                    HookEvent::Done => &hooks.on_done,
                    HookEvent::Failed => &hooks.on_failed,
                };
                let time_limit = Duration::from_millis(hooks.timeout_ms);
                program::run(program.as_deref().unwrap_or_default(), message, time_limit).await
            }
            HookChannel::Webhook => {
                let url = hooks.webhook.clone().unwrap_or_default();
                let hook = Webhook { url, may_be_private: hooks.webhook_private };
                hook.post(message).await
            }
        }
    }

    async fn went_wrong(
        &self,
        hooks: &HookConfig,
        row: &OutboxRow,
        message: &HookMessage,
        why: &str,
    ) -> Result<(), StoreError> {
        let why: String = one_line(why).chars().take(REASON_CHARS_MAX).collect();
        let tries_max = match self.channel {
            HookChannel::Program => PROGRAM_TRIES_MAX,
            HookChannel::Webhook => WEBHOOK_TRIES_MAX,
        };
        let (channel, event) = (self.channel, &message.event_id);
        let tried = row.tries + 1;
        if tried >= tries_max {
            warn!(%channel, %event, "not told, and not tried again: {why}");
            return self.store.give_up_telling(row.id, &why, self.clock.now_ms()).await;
        }
        if row.tries == 0 {
            warn!(%channel, %event, "not told yet, tried again later: {why}");
        }
        let pause_ms = pause_ms(hooks.backoff_ms, row.tries).cast_signed();
        self.store.tell_later(row.id, &why, self.clock.now_ms() + pause_ms).await
    }
}

/// Each pause is twice the one before.
fn pause_ms(first_ms: u64, tries: u32) -> u64 {
    first_ms.saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX)).min(PAUSE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_at_an_hour() {
        assert_eq!([0, 1, 2].map(|tries| pause_ms(5000, tries)), [5000, 10_000, 20_000]);
        assert_eq!([20, 64, 200].map(|tries| pause_ms(5000, tries)), [PAUSE_MS_MAX; 3]);
    }
}
