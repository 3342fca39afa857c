//! Measures this machine: real pictures by a daemon of its own, one session after the other.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::advice::advice;
use super::data::{
    Asked, DiskSpeed, FORMAT, LimitRun, LoadedPart, Machine, MachineReport, MeasuredLoad,
    ReportedModel, ReportedPart,
};
use super::gather;
use super::machine;
use super::matrix::{self, FitMatrix};
use super::own_queue::{MeasuringQueue, NoMeasurement};
use super::phrases::size_name;
use super::plan::{self, FIRST, ReportQuestion};
use super::sampler::{MachineLook, MachineSampler};
use super::write;
use crate::card::{Card, CardFacts};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::Onlooker;
use crate::engine::provenance::{PartLoad, WeightPart};
use crate::engine::{self, EngineKind, HAS_CUDA, device_speed, mini};
use crate::status::{RenderStatus, Status};
use crate::store::{MeasuredAttempt, MeasuredWorker, WorkerRow};

/// More than any report renders.
const ROWS_MAX: u32 = 10_000;

/// The first job of the session before which the model's files were dropped from the cache.
const COLD: &str = "first-cold";

/// What is said of a report whose measurement was ended before its end.
const PARTIAL: &str = "What comes after the measurement was stopped: this report is partial.";

/// So many things that are still to be told may wait.
const TOLD_MAX: usize = 64;

/// What a measurement tells while it goes on.
pub type Told<'a> = &'a (dyn Fn(&str) + Sync);

/// Measures the model and device of `user`. `told` hears of each step.
pub async fn measure(
    user: &Config,
    question: &ReportQuestion,
    told: Told<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<MachineReport> {
    let queue = MeasuringQueue::build(user)?;
    let load_before = machine::load_average();
    let description = queue.config().describe_model()?;
    let asked = Asked {
        is_quick: question.is_quick,
        steps: question.steps.unwrap_or(description.steps),
        guidance: question.guidance.unwrap_or(description.guidance),
        repeats: question.repeats(),
    };
    let parts = match user.engine {
        EngineKind::ZImage => engine::weight_parts(&queue.config().model_place()?)?,
        EngineKind::Fake => Vec::new(),
    };
    let sizes = question.sizes(HAS_CUDA && !user.device.is_cpu());
    for size in &sizes {
        queue.check(&plan::job(FIRST, *size, &asked, 1))?;
    }
    write::try_folder(&question.folder)?;
    let card = Card::open(user.device).map(Arc::new);
    let measuring = Measuring { queue, question, sizes, load_before, asked, parts, told, stop };
    measuring.all(card).await
}

/// Sends each picture when it is begun, in words.
async fn follow(mut status: watch::Receiver<Status>, begun: mpsc::Sender<String>) {
    let mut last = None;
    loop {
        let now = status.borrow_and_update().render.clone();
        if let Some(RenderStatus { job_id, index, rung, .. }) = now
            && last != Some((job_id, index))
        {
            // One that is lost here is a line that is not told.
            let _ = begun.try_send(format!("picture {index}, {rung}"));
            last = Some((job_id, index));
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

struct Measuring<'a> {
    queue: MeasuringQueue,
    question: &'a ReportQuestion,
    sizes: Vec<(u32, u32)>,
    load_before: Option<f64>,
    asked: Asked,
    parts: Vec<WeightPart>,
    told: Told<'a>,
    stop: &'a CancellationToken,
}

/// What the sessions without a limit have shown.
struct Shown {
    attempts: Vec<MeasuredAttempt>,
    workers: Vec<MeasuredWorker>,
    looks: Vec<MachineLook>,
    /// The looks were at a card.
    had_card: bool,
    is_cold: bool,
    disk: Option<DiskSpeed>,
    matrix: FitMatrix,
}

impl Measuring<'_> {
    async fn all(&self, card: Option<Arc<Card>>) -> anyhow::Result<MachineReport> {
        let facts = card.as_ref().and_then(|card| card.facts());
        let had_card = card.is_some();
        let disk = self.disk_speed().await;
        if self.stop.is_cancelled() {
            return Err(NoMeasurement::Stopped.into());
        }
        let is_cold = self.cold_session().await?;
        let looks = self.main_session(card).await?;
        let store = self.queue.store().await?;
        let shown = Shown {
            disk,
            matrix: matrix::matrix(&self.queue, &store).await?,
            had_card,
            attempts: store.measured_attempts(ROWS_MAX).await?,
            workers: store.measured_workers(ROWS_MAX).await?,
            looks,
            is_cold,
        };
        store.close().await;
        let mut report = self.report(shown, facts);
        if self.stop.is_cancelled() {
            report.sizes.retain(|size| size.pictures > 0);
            if report.sizes.is_empty() {
                return Err(NoMeasurement::Stopped.into());
            }
        }
        report.limits = self.limit_sessions(&report).await?;
        report.advice = advice(&report);
        if self.stop.is_cancelled() {
            report.left_out.insert(0, PARTIAL.to_owned());
        }
        Ok(report)
    }

    /// Has the files leave the system's cache, which a quick report does not wait for.
    async fn disk_speed(&self) -> Option<DiskSpeed> {
        if self.question.is_quick || self.stop.is_cancelled() {
            return None;
        }
        (self.told)("reading the model's files, for the speed of the disk");
        let (parts, stop) = (self.parts.clone(), self.stop.clone());
        let reading = tokio::task::spawn_blocking(move || machine::disk_speed(&parts, &stop));
        // The signal is heard meanwhile, whatever the disk does.
        self.stop.run_until_cancelled(reading).await?.ok()?
    }

    /// Whether the model was loaded from the disk alone.
    async fn cold_session(&self) -> anyhow::Result<bool> {
        if self.question.is_quick || !machine::drop_from_cache(&self.parts) {
            return Ok(false);
        }
        (self.told)("loading the model from the disk");
        let first = plan::job(COLD, self.sizes[0], &self.asked, 1);
        self.queue.session(&[first], None, unseen(), self.stop).await?;
        Ok(true)
    }

    /// All sizes, the model loaded once; what was seen meanwhile.
    async fn main_session(&self, card: Option<Arc<Card>>) -> anyhow::Result<Vec<MachineLook>> {
        let (sizes, repeats) = (&self.sizes, self.question.repeats());
        let of = if sizes.len() == 1 { "one size" } else { "each of all sizes" };
        (self.told)(&format!("rendering {repeats} of {of}"));
        let mut jobs = vec![plan::job(FIRST, sizes[0], &self.asked, 1)];
        jobs.extend(
            sizes.iter().map(|size| plan::job(&size_name(*size), *size, &self.asked, repeats)),
        );
        let sampler = MachineSampler::new(card);
        let looking = sampler.clone();
        let (begun, mut pictures) = mpsc::channel(TOLD_MAX);
        let onlooker: Onlooker = Box::new(move |_, status, ending| {
            Box::pin(async move {
                let following = ending.run_until_cancelled(follow(status.clone(), begun));
                tokio::join!(looking.run(status, ending.clone()), following);
            })
        });
        let telling = async {
            while let Some(picture) = pictures.recv().await {
                (self.told)(&picture);
            }
        };
        let session = self.queue.session(&jobs, None, onlooker, self.stop);
        let (ended, ()) = tokio::join!(session, telling);
        match ended {
            // What was measured so far is worth something.
            Err(_) if self.stop.is_cancelled() => {}
            ended => ended?,
        }
        Ok(sampler.taken())
    }

    /// Few pictures for each size that the device is made to have.
    async fn limit_sessions(&self, report: &MachineReport) -> anyhow::Result<Vec<LimitRun>> {
        let main = report.main_size().filter(|_| !self.stop.is_cancelled());
        let Some(main) = main else { return Ok(Vec::new()) };
        let size = (main.width, main.height);
        let usable = |gib| matrix::usable_bytes(&self.queue, gib);
        let mut runs = Vec::new();
        for limit_bytes in plan::limits(self.question.is_quick, main.peak_bytes, usable) {
            let mebibytes = limit_bytes >> 20;
            (self.told)(&format!("rendering as if the device had {mebibytes} MiB"));
            let name = format!("limit-{mebibytes}");
            let job = plan::job(&name, size, &self.asked, self.question.limit_pictures());
            let ended = self.queue.session(&[job], Some(limit_bytes), unseen(), self.stop).await;
            let error = match ended {
                Err(_) if self.stop.is_cancelled() => break,
                ended => ended.err().map(|error| format!("{error:#}")),
            };
            let store = self.queue.store().await?;
            let attempts = store.measured_attempts(ROWS_MAX).await?;
            let worker = store.last_worker().await?;
            store.close().await;
            let load_ms = worker.map_or(0, |worker| worker.load_ms.unsigned_abs());
            runs.push(gather::limit_run(&attempts, &name, limit_bytes, size, load_ms, error));
        }
        Ok(runs)
    }

    /// Without the sessions with limits, and what follows from them.
    fn report(&self, shown: Shown, card: Option<CardFacts>) -> MachineReport {
        let attempts = &shown.attempts;
        let worker = shown.workers.last().map(|last| &last.worker);
        let jobs: Vec<(String, (u32, u32))> =
            self.sizes.iter().map(|size| (size_name(*size), *size)).collect();
        let sizes: Vec<_> =
            jobs.iter().filter_map(|(name, size)| gather::size(attempts, name, *size)).collect();
        let device = worker.map(|worker| worker.device.clone()).unwrap_or_default();
        // Where programs see other cards than the library counts, its facts are another card's, and
        // so is what was looked at.
        let card = card.filter(|card| device.contains(&card.name));
        let is_seen = card.is_some() || !shown.had_card;
        let looks = if is_seen { shown.looks.as_slice() } else { &[] };
        let curve_of = match card {
            Some(_) => "the card, all programs together",
            None => "the worker's process, without the files that it reads in place",
        };
        let mut report = MachineReport {
            format: FORMAT,
            zimaged: env!("CARGO_PKG_VERSION").to_owned(),
            is_optimised: !cfg!(debug_assertions),
            made_at_ms: SystemClock.now_ms(),
            left_out: self.question.left_out(),
            machine: self.machine(&device, worker, card),
            model: self.model(worker),
            asked: self.asked.clone(),
            loads: self.loads(&shown),
            disk: shown.disk,
            device_speed: self.queue.device_speed(&device),
            sizes,
            memory: None,
            curve: gather::curve(looks),
            curve_of: curve_of.to_owned(),
            matrix: shown.matrix.cells,
            matrix_model: shown.matrix.model,
            limits: Vec::new(),
            energy: gather::energy(attempts, looks, &jobs),
            advice: Vec::new(),
        };
        let idle_bytes = worker.map_or(0, |worker| worker.idle_bytes.unsigned_abs());
        report.memory = report.main_size().and_then(|main| {
            let size = (main.width, main.height);
            gather::phases(attempts, &size_name(size), size, idle_bytes)
        });
        report
    }

    fn machine(
        &self,
        device: &str,
        worker: Option<&WorkerRow>,
        card: Option<CardFacts>,
    ) -> Machine {
        let (_, memory_bytes) = engine::processor(false);
        let device_bytes = worker.map(|worker| worker.total_bytes.unsigned_abs());
        Machine {
            processor: device_speed::processor(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes,
            load_before: self.load_before,
            system: machine::system(),
            device: device.to_owned(),
            device_bytes: device_bytes.filter(|bytes| *bytes > 0),
            card,
        }
    }

    fn loads(&self, shown: &Shown) -> Vec<MeasuredLoad> {
        let weights_bytes = self.parts.iter().map(machine::part_bytes).sum();
        let names: &[(&str, bool)] =
            if shown.is_cold { &[(COLD, true), (FIRST, false)] } else { &[(FIRST, false)] };
        let loads =
            shown.workers.iter().zip(names).map(|(measured, (name, is_cold))| MeasuredLoad {
                is_cold: *is_cold,
                load_ms: measured.worker.load_ms.unsigned_abs(),
                weights_bytes,
                first_picture_ms: gather::first_picture_ms(&shown.attempts, name),
                parts: self.loaded_parts(&measured.load_parts.0),
            });
        loads.collect()
    }

    fn loaded_parts(&self, loads: &[PartLoad]) -> Vec<LoadedPart> {
        let bytes = |load: &PartLoad| {
            self.parts.iter().find(|part| part.part == load.part).map_or(0, machine::part_bytes)
        };
        let part = |load: &PartLoad| LoadedPart {
            part: load.part.word().to_owned(),
            load_ms: load.load_ms,
            bytes: bytes(load),
        };
        loads.iter().map(part).collect()
    }

    fn model(&self, worker: Option<&WorkerRow>) -> ReportedModel {
        let name = worker.map(|worker| worker.model_name.clone()).unwrap_or_default();
        let hash = worker.map(|worker| worker.model_hash.clone());
        let parts = self.parts.iter().map(|part| {
            let known =
                worker.and_then(|worker| worker.parts.0.iter().find(|p| p.part == part.part));
            let source = known.and_then(|known| known.source.as_ref());
            ReportedPart {
                part: part.part.word().to_owned(),
                bytes: machine::part_bytes(part),
                sha256: known.and_then(|known| known.sha256.clone()),
                source: source.map(|s| format!("{} {} {}", s.hub, s.repository, s.revision)),
            }
        });
        ReportedModel {
            is_miniature: name == mini::NAME,
            name,
            hash: hash.filter(|hash| !hash.starts_with("unhashed:")),
            parts: parts.collect(),
        }
    }
}

/// Nobody looks on.
fn unseen() -> Onlooker {
    Box::new(|_, _, ending| Box::pin(async move { ending.cancelled().await }))
}
