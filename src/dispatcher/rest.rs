//! When daemon.toml wants nothing started: in quiet hours, and while the card is above a ceiling.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::Instant;
use tracing::warn;

use super::Dispatcher;
use crate::card::CardCeilings;
use crate::clock;
use crate::config::PowerConfig;
use crate::status::HoldKind;
use crate::store::StoreError;

/// Between two looks at a card that is above a ceiling: it cools no faster.
const LOOK: Duration = Duration::from_secs(2);

/// Whether daemon.toml wants a rest, and how warm the card was at the last look.
pub(super) struct Rest {
    /// Why the card is left alone, since it was above a ceiling.
    above: Option<String>,
    look_at: Instant,
    /// The keys of `[power]` of which the log says already that they have no effect here.
    without_effect: Vec<&'static str>,
}

impl Rest {
    pub(super) fn new() -> Rest {
        Rest { above: None, look_at: Instant::now(), without_effect: Vec::new() }
    }
}

fn quiet(power: &PowerConfig, now_ms: i64) -> Option<String> {
    let until_ms = power.quiet.until_ms(now_ms, &TimeZone::system())?;
    let until = clock::local(until_ms).strftime("%Y-%m-%d %H:%M");
    Some(format!("quiet hours until {until} ([power] quiet_hours)"))
}

impl Dispatcher {
    /// Whether nothing is started now because daemon.toml wants it so. That is told, and recorded
    /// when it begins and when it is over.
    pub(super) async fn rests(&mut self) -> Result<bool, StoreError> {
        let now_ms = self.journal.clock.now_ms();
        let config = self.settings.config.now();
        let wanted = match quiet(&config.power, now_ms) {
            Some(quiet) => Some((HoldKind::QuietHours, quiet)),
            None => {
                let above = self.card_above(&config.power.ceilings).await;
                above.map(|above| (HoldKind::CardCeiling, above))
            }
        };
        let rests = wanted.is_some();
        self.journal.rest(wanted).await?;
        Ok(rests)
    }

    /// Why the card is left alone. Before there is a worker nobody knows.
    async fn card_above(&mut self, ceilings: &CardCeilings) -> Option<String> {
        if !ceilings.are_set() {
            self.rest.above = None;
            return None;
        }
        if self.rest.above.is_none() || Instant::now() >= self.rest.look_at {
            let card = self.slot.card().await;
            let Rest { above, without_effect, look_at } = &mut self.rest;
            *look_at = Instant::now() + LOOK;
            // Without an answer a card that was hot is taken to be hot still.
            let Some(card) = card else { return above.clone() };
            let exceeded = ceilings.exceeded(&card, above.is_some());
            // The first reason stays: what is told anew is written into the log.
            *above = exceeded.map(|why| above.take().unwrap_or(why));
            for key in ceilings.untold(&card) {
                if !without_effect.contains(&key) {
                    warn!("[power] {key} has no effect: no card tells it");
                    without_effect.push(key);
                }
            }
        }
        self.rest.above.clone()
    }
}
