//! The dispatcher's reads and writes of the queue, which outlast a database that is busy, full or
//! unreadable for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::hold::Hold;
use super::models::Models;
use crate::attempt::{Candidate, ErrorCode, Failure, Finished, Next, Planned};
use crate::clock::Clock;
use crate::heartbeat::Heartbeat;
use crate::planner::Evidence;
use crate::status::HoldKind;
use crate::store::{Guarded, LateJob, NewWorker, Result, Store, StoreError};
use crate::worker::protocol::Loaded;

/// Between two tries of the same call.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a call is repeated after the daemon was told to stop: the end of the running attempt is
/// worth some seconds, of which systemd gives thirty in all.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(8);

/// By day the device is given back only where nothing is started for at least so long: for less it
/// is not worth loading the model again.
const DAY_MS_MIN: i64 = 10 * 60 * 1000;

/// The queue's database, as the dispatcher uses it.
pub(super) struct Journal {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hold: Hold,
    /// Why daemon.toml wants nothing started, as it was recorded last.
    resting: Option<String>,
    heartbeat: Heartbeat,
    stop: CancellationToken,
    /// The window of some renders has closed, and the device was not given back since.
    time_ended: bool,
}

impl Journal {
    pub(super) fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        hold: Hold,
        heartbeat: Heartbeat,
        stop: CancellationToken,
    ) -> Journal {
        Journal { store, clock, hold, resting: None, heartbeat, stop, time_ended: false }
    }

    /// The render to run next while `loaded` is loaded, after [`Store::keep_to_times`]; `beside`
    /// only where no other can be started.
    pub(super) async fn next_candidate(
        &mut self,
        models: &mut Models,
        loaded: Option<&str>,
        beside: Option<i64>,
    ) -> Result<Option<Candidate>> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        let kept = self.write(|| store.keep_to_times(now_ms)).await?;
        self.time_ended |= kept.has_ended;
        for LateJob { job, renders } in kept.cancelled {
            warn!(job, renders, "cancelled: not started before not_after");
        }
        let loras = models.loras().to_owned();
        let at_hand = loaded.map(|model| (model, loras.as_str()));
        let heads = self.read(|| store.model_heads(at_hand, None, now_ms)).await?;
        let heads = models.usable(heads);
        let mut next = models.next(&heads, loaded, now_ms);
        if next.is_some() && next.as_ref().map(|head| head.render_id) == beside {
            let others = self.read(|| store.model_heads(at_hand, beside, now_ms)).await?;
            let others = models.usable(others);
            next = models.next(&others, loaded, now_ms).or(next);
        }
        match next {
            Some(head) => self.read(|| store.candidate(head.render_id)).await,
            None => Ok(None),
        }
    }

    /// Whether the device can be given back by day, which is told once: the time of some renders
    /// has ended, and nothing may be started for long. With `at_start` their time counts as ended
    /// where some wait for the next night.
    pub(super) async fn is_day(&mut self, at_start: bool) -> Result<bool> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        if at_start {
            self.time_ended = self.read(|| store.has_night_work()).await?;
        }
        if !self.time_ended {
            return Ok(false);
        }
        let earliest_ms = self.read(|| store.earliest_ms(now_ms)).await?;
        let is_day = earliest_ms.is_none_or(|at_ms| at_ms - now_ms > DAY_MS_MIN);
        // What may still be started today is waited for.
        self.time_ended = !is_day;
        Ok(is_day)
    }

    /// daemon.toml wants nothing started, for this reason, or does so no more. What is new is
    /// recorded.
    pub(super) async fn rest(&mut self, wanted: Option<(HoldKind, String)>) -> Result<()> {
        let (kind, reason) = wanted.unzip();
        if self.resting != reason {
            let now_ms = self.clock.now_ms();
            let store = self.store.clone();
            self.write(|| store.note_rest(reason.as_deref(), now_ms)).await?;
            self.resting.clone_from(&reason);
        }
        if let Some((kind, reason)) = kind.zip(reason) {
            self.hold.tell(kind, reason);
        }
        Ok(())
    }

    /// What earlier attempts of the loaded model measured on its device.
    pub(super) async fn evidence(&mut self, loaded: &Loaded) -> Result<Vec<Evidence>> {
        let model_hash = loaded.known_hash();
        let store = self.store.clone();
        self.read(|| store.evidence(&model_hash, &loaded.device)).await
    }

    /// See [`Store::worker_loaded`].
    pub(super) async fn worker_loaded(&mut self, model: &str, loaded: &Loaded) -> Result<()> {
        let worker = NewWorker {
            device: loaded.device.clone(),
            model_name: loaded.model_name.clone(),
            model_key: model.to_owned(),
            model_hash: loaded.known_hash(),
            parts: loaded.parts.clone(),
            load_ms: loaded.load_ms,
            part_loads: loaded.part_loads.clone(),
            idle_bytes: loaded.memory.used_bytes,
            total_bytes: loaded.memory.total_bytes,
        };
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        self.write(|| store.worker_loaded(&worker, now_ms)).await
    }

    /// See [`Store::model_hashed`]. Does nothing where the hash is not known.
    pub(super) async fn model_hashed(&mut self, loaded: &Loaded) -> Result<()> {
        let Some(model_hash) = &loaded.model_hash else { return Ok(()) };
        let provisional = loaded.provisional_hash();
        let store = self.store.clone();
        self.write(|| store.model_hashed(&provisional, model_hash, &loaded.parts)).await
    }

    /// See [`Store::begin_attempt`].
    pub(super) async fn begin(
        &mut self,
        render_id: i64,
        planned: &Planned,
        path: &str,
    ) -> Result<Option<i64>> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        self.write(|| store.begin_attempt(render_id, planned, path, now_ms)).await
    }

    /// See [`Store::rename_attempt`].
    pub(super) async fn rename(&mut self, attempt_id: i64, path: &str) -> Result<Guarded> {
        let store = self.store.clone();
        self.record(|| store.rename_attempt(attempt_id, path)).await
    }

    /// See [`Store::finish`].
    pub(super) async fn finish(&mut self, attempt_id: i64, finished: &Finished) -> Result<Guarded> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        self.record(|| store.finish(attempt_id, finished, now_ms)).await
    }

    /// See [`Store::end_attempt`].
    pub(super) async fn end(
        &mut self,
        attempt_id: i64,
        failure: &Failure,
        next: &Next,
    ) -> Result<Guarded> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        self.record(|| store.end_attempt(attempt_id, failure, next, now_ms)).await
    }

    /// See [`Store::fail_untried`].
    pub(super) async fn fail_untried(
        &mut self,
        render_id: i64,
        code: ErrorCode,
        reason: &str,
    ) -> Result<Guarded> {
        let now_ms = self.clock.now_ms();
        let store = self.store.clone();
        self.write(|| store.fail_untried(render_id, code, reason, now_ms)).await
    }

    /// A read that fails for a while must not end the daemon: the running attempt would be taken
    /// for one that had killed it.
    async fn read<T, F>(&mut self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.repeat(StoreError::may_pass_for_a_read, Duration::ZERO, call).await
    }

    /// A write without which nothing can go on, however long it takes.
    async fn write<T, F>(&mut self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.repeat(StoreError::may_pass, Duration::ZERO, call).await
    }

    /// As [`Journal::write`], for what has become of an attempt: that is worth a wait at the end.
    async fn record<T, F>(&mut self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.repeat(StoreError::may_pass, PATIENCE_AT_STOP, call).await
    }

    /// Repeats `call` until it succeeds, fails for good, or the daemon was told to stop and
    /// `patience_at_stop` has gone by since.
    async fn repeat<T, F>(
        &mut self,
        may_pass: fn(&StoreError) -> bool,
        patience_at_stop: Duration,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut waited = false;
        let mut stopping_since = None;
        loop {
            if self.stop.is_cancelled() {
                stopping_since.get_or_insert_with(Instant::now);
            }
            let answer = match call().await {
                Err(error) => Err(self.store.judged(error).await),
                answer => answer,
            };
            let patient = match stopping_since {
                Some(since) => since.elapsed() < patience_at_stop,
                None => !self.stop.is_cancelled() || !patience_at_stop.is_zero(),
            };
            match answer {
                Err(error) if may_pass(&error) && patient => {
                    self.hold.tell(HoldKind::Database, error.to_string());
                }
                done => {
                    if waited {
                        self.hold.lift();
                    }
                    return done;
                }
            }
            waited = true;
            self.heartbeat.beat();
            match stopping_since {
                Some(_) => sleep(PAUSE).await,
                None => _ = self.stop.run_until_cancelled(sleep(PAUSE)).await,
            }
        }
    }
}
