//! How far a fetch is, for whoever shows it; and the wish to end it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::HubError;

/// Between two looks at the wish to end, while something else is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Shared between the fetch and whoever watches it.
#[derive(Debug, Default)]
pub struct FetchProgress {
    is_stopped: AtomicBool,
    /// Of the files of this fetch, those that were there before included.
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
    /// What came over the network in this run.
    received_bytes: AtomicU64,
    activity: Mutex<FetchActivity>,
}

/// What is being done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchActivity {
    /// For people.
    pub text: String,
    /// Nothing is: the hub was asked in vain, and will be asked again.
    pub is_wait: bool,
}

impl FetchProgress {
    /// Asks for the end, which comes within a moment.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Fails once the end was asked for.
    pub fn check(&self) -> Result<(), HubError> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(HubError::Stopped) } else { Ok(()) }
    }

    /// Waits, unless the end is asked for.
    pub fn sleep(&self, time: Duration) -> Result<(), HubError> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// Bytes that are there, of all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }

    /// Bytes that came over the network in this run.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// What is being done.
    pub fn activity(&self) -> FetchActivity {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_total(&self, bytes: u64) {
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn set_done(&self, bytes: u64) {
        self.done_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn receive(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn tell(&self, activity: impl Into<String>) {
        self.set(FetchActivity { text: activity.into(), is_wait: false });
    }

    /// Says why the next try has to wait.
    pub fn tell_wait(&self, why: String) {
        self.set(FetchActivity { text: why, is_wait: true });
    }

    fn set(&self, activity: FetchActivity) {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }
}
