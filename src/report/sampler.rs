//! Looks at memory, power and temperature while pictures are made: an onlooker of the daemon.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::card::{Card, CardReading};
use crate::clock::{Clock, SystemClock};
use crate::status::{Status, WorkerStatus};

/// Between two looks, at first.
const INTERVAL: Duration = Duration::from_millis(50);

/// When so many looks are kept, every second one goes, and looks become half as frequent.
const LOOKS_MAX: usize = 8192;

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineLook {
    /// UTC, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Of the card, by all programs; else of the worker's process.
    pub used_bytes: Option<u64>,
    /// The model is loaded.
    pub is_loaded: bool,
    /// A picture is being made.
    pub is_rendering: bool,
    pub card: CardReading,
}

/// All looks of a session.
pub struct MachineSampler {
    card: Option<Arc<Card>>,
    looks: Mutex<Vec<MachineLook>>,
}

impl MachineLook {
    /// The card's power, where it tells it.
    pub fn watts(&self) -> Option<f64> {
        self.card.power_mw.map(|milliwatts| f64::from(milliwatts) / 1000.0)
    }
}

impl MachineSampler {
    /// Looks at `card`, or at the worker's process where there is none.
    pub fn new(card: Option<Arc<Card>>) -> Arc<MachineSampler> {
        Arc::new(MachineSampler { card, looks: Mutex::new(Vec::new()) })
    }

    /// Looks at each interval, and whenever the daemon does something else, until `ending`.
    pub async fn run(&self, mut status: watch::Receiver<Status>, ending: CancellationToken) {
        let mut interval = INTERVAL;
        loop {
            tokio::select! {
                () = sleep(interval) => (),
                Ok(()) = status.changed() => (),
                () = ending.cancelled() => break,
            }
            // The daemon waits for nobody who looks at its status.
            let now = status.borrow().clone();
            let look = self.look(&now);
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            looks.push(look);
            if looks.len() >= LOOKS_MAX {
                let mut place = 0_usize;
                looks.retain(|_| {
                    place += 1;
                    place.is_multiple_of(2)
                });
                interval *= 2;
            }
        }
    }

    /// All looks so far, oldest first.
    pub fn taken(&self) -> Vec<MachineLook> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self, status: &Status) -> MachineLook {
        let pid = match &status.worker {
            WorkerStatus::Ready { pid, .. } => Some(*pid),
            _ => None,
        };
        let card = self.card.as_ref().map(|card| card.read()).unwrap_or_default();
        MachineLook {
            at_ms: SystemClock.now_ms(),
            used_bytes: match &self.card {
                Some(_) => card.used_bytes,
                None => pid.and_then(process_bytes),
            },
            is_loaded: pid.is_some(),
            is_rendering: status.render.is_some(),
            card,
        }
    }
}

/// The memory that the process has made itself, without files that are mapped: the heap, which the
/// engine counts, is most of it.
fn process_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_what_it_has_made_itself() {
        let before = process_bytes(std::process::id()).expect("our own process");
        let block = vec![1_u8; 64 << 20];
        let after = process_bytes(std::process::id()).expect("our own process");
        assert!(after > before + (32 << 20), "{before} {after} {}", block.len());
        assert_eq!(process_bytes(u32::MAX), None);
    }
}
