//! A sign of life: the dispatcher's loop beats, the systemd watchdog looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared by the one who beats and the one who looks.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    origin: Instant,
    beat_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Beats once now.
    pub fn start() -> Heartbeat {
        Heartbeat { origin: Instant::now(), beat_ms: Arc::default() }
    }

    /// Says that work is going on: a step was made, or a wait is within its limit.
    pub fn beat(&self) {
        self.beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// How long ago the last beat was.
    pub fn age(&self) -> Duration {
        Duration::from_millis(
            self.elapsed_ms().saturating_sub(self.beat_ms.load(Ordering::Relaxed)),
        )
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
