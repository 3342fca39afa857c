//! The device thread: loads the engine, runs one render after the other, recovers or gives up.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::events::Events;
use super::hashing::ModelHash;
use super::preview::Previews;
use super::render::{kind, render};
use super::tracker::{Tracker, millis};
use super::writer::{Unwritten, Writer, words};
use super::{EXIT_FATAL, EXIT_NOT_LOADED, Stop, Task, exit};
use crate::attempt::{Failure, FailureKind};
use crate::card::CardMeter;
use crate::engine::fake::FakeEngine;
use crate::engine::predictor::Predictor;
use crate::engine::{Engine, EngineError, EngineKind, Stage, device_speed, z_image};
use crate::planner::Corrections;
use crate::worker::last_word;
use crate::worker::protocol::{Failed, Load, Loaded, RenderRequest, WorkerEvent};

/// Everything that the device thread owns.
pub struct Device {
    pub load: Load,
    /// Closed at the end of the input.
    pub inbox: Receiver<Task>,
    pub events: Arc<Events>,
    pub stop: Arc<Stop>,
}

/// What works beside the device's thread.
struct Beside {
    hash: ModelHash,
    writer: Writer,
    meter: CardMeter,
}

impl Device {
    /// The thread's life. It ends the process, however it ends: without it the worker is of no use.
    pub fn run_to_exit(self) {
        let status = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or(EXIT_FATAL);
        exit(status)
    }

    fn run(&self) -> i32 {
        let start = Instant::now();
        let mut engine = match caught(|| self.load_engine()) {
            Ok(engine) => engine,
            Err(error) => self.give_up_loading(&error),
        };
        self.measure(&*engine);
        if let Err(error) = self.make_ready(&mut *engine) {
            self.give_up_loading(&error);
        }
        let hash = ModelHash::cached(&*engine, &self.load.hashes_path);
        let writer = match self.start_writer(&hash) {
            Ok(writer) => writer,
            Err(error) => self.give_up_loading(&EngineError::Fatal(error.to_string())),
        };
        self.events.send(&WorkerEvent::Loaded(Box::new(loaded(&*engine, &hash, start))));
        hash.compute(&self.events);
        let meter = CardMeter::start(engine.card(), engine.device());
        let beside = Beside { hash, writer, meter };
        let mut previews = Previews::new(&self.load.previews_path, engine.fingerprint());
        while let Ok(task) = self.inbox.recv() {
            match task {
                Task::Render(request) => {
                    previews.begin(request.queue.job, request.queue.index);
                    self.attempt(&mut *engine, &beside, &mut previews, *request);
                    previews.end();
                }
                Task::TellMemory => self.events.send(&WorkerEvent::Memory(engine.memory())),
                Task::TellCard => {
                    let events = Arc::clone(&self.events);
                    beside.meter.read(move |reading| events.send(&WorkerEvent::Card(reading)));
                }
            }
        }
        beside.writer.wait();
        0
    }

    /// Its first pictures wait for the model's hash, all of them together no longer than the first
    /// one's request allows.
    fn start_writer(&self, hash: &ModelHash) -> io::Result<Writer> {
        let (hash, stop) = (hash.clone(), Arc::clone(&self.stop));
        let end = OnceLock::new();
        let complete = move |picture: &mut Unwritten| {
            let limit = Duration::from_millis(picture.request.hash_wait_ms);
            hash.wait(*end.get_or_init(|| Instant::now() + limit), &stop);
            picture.metadata.model = hash.told_of(&picture.metadata.model.name);
        };
        Writer::start(&self.load.thumbnails_path, Arc::clone(&self.events), complete)
    }

    /// Not even dropping the engine is safe after a fatal error: the process ends here.
    fn give_up_loading(&self, error: &EngineError) -> ! {
        let is_wrong_model = matches!(error, EngineError::Model(error) if !error.may_pass());
        self.events.send(&WorkerEvent::LoadFailed { message: error.to_string(), is_wrong_model });
        exit(EXIT_NOT_LOADED)
    }

    fn load_engine(&self) -> Result<Box<dyn Engine>, EngineError> {
        let Load { engine, model, device, allowance, embeddings_path, .. } = &self.load;
        match engine {
            EngineKind::ZImage => {
                z_image::load(model, *device, allowance.limit_bytes, embeddings_path)
            }
            EngineKind::Fake => {
                let events =
                    self.events.raw().map_err(|error| EngineError::Fatal(error.to_string()))?;
                FakeEngine::load(&model.path, events)
            }
        }
    }

    /// Measures a device that was never measured, while it is idle and still has room: later the
    /// weights fill it. Without its speed no time is estimated, and everything else works.
    fn measure(&self, engine: &dyn Engine) {
        let (path, device) = (&self.load.speeds_path, engine.device());
        if device_speed::kept(path, &device).is_some() {
            return;
        }
        let kept = caught(|| engine.measure_speed()).map(|measured| match measured {
            Some(speed) => device_speed::keep(path, &device, speed),
            None => Ok(()),
        });
        match kept {
            Ok(Ok(())) => (),
            Ok(Err(error)) => tracing::warn!("{}: not written: {error}", path.display()),
            Err(error) => tracing::warn!("the device's speed cannot be measured: {error}"),
        }
    }

    /// Brings the weights to where the usual render will want them. Where they find no room, the
    /// first render places them by itself, down the ladder. Every other error is one of loading.
    fn make_ready(&self, engine: &mut dyn Engine) -> Result<(), EngineError> {
        let Load { engine: kind, model, usual, prefer, .. } = &self.load;
        let predictor = Predictor::new(*kind, model, engine.backend())?;
        let budget_bytes = self.load.budget_bytes(&engine.memory());
        let corrections = Corrections::default();
        let planner =
            predictor.planner(usual, *prefer, &engine.capabilities(), &corrections, budget_bytes);
        let Some(plan) = planner.first() else { return Ok(()) };
        caught(|| match engine.place_weights(&plan.rung) {
            Err(error @ EngineError::OutOfMemory { .. }) => {
                tracing::warn!("the weights are not ready yet: {error}");
                engine.recover()
            }
            placed => placed,
        })
    }

    /// Runs one attempt up to its picture's writing, or tells how it failed. Does not come back
    /// from a fatal error.
    fn attempt(
        &self,
        engine: &mut dyn Engine,
        beside: &Beside,
        previews: &mut Previews,
        request: RenderRequest,
    ) {
        let Beside { hash, writer, meter } = beside;
        let attempt_id = request.attempt_id;
        last_word::begin(attempt_id);
        let mut tracker = Tracker::new(attempt_id, &self.events, &self.stop, previews);
        engine.reset_peak();
        meter.begin();
        match caught(|| render(engine, hash, &request, &mut tracker)) {
            Ok((pixels, metadata)) => {
                let prompt_cut = engine.prompt_cut(&request.recipe.prompt);
                // As long as the writing holds the device up, it counts as the attempt's time.
                writer.wait();
                measure_end(engine, &mut tracker);
                let (measured, card) = (tracker.measured, meter.end());
                self.events.send(&WorkerEvent::Rendered { attempt_id });
                let made = Unwritten { request, pixels, metadata, prompt_cut, measured, card };
                writer.write(made);
            }
            Err(error) => {
                let error = recovered(engine, &mut tracker, error);
                tracker.measured.card = meter.end().wait();
                let died = kind(&error) == FailureKind::WorkerDied;
                if died {
                    // The picture before is well, and goes first.
                    writer.wait();
                } else {
                    last_word::well();
                }
                self.events.send(&failed(attempt_id, tracker, &error));
                if died {
                    // Not even dropping the engine is safe now.
                    exit(EXIT_FATAL);
                }
            }
        }
    }
}

/// Brings the engine back to its baseline. When that fails, so does the worker: the error becomes
/// fatal.
fn recovered(
    engine: &mut dyn Engine,
    tracker: &mut Tracker<'_>,
    error: EngineError,
) -> EngineError {
    let recovery = caught(|| match kind(&error) {
        FailureKind::WorkerDied => Ok(()),
        FailureKind::OutOfMemory { .. } => {
            tracker.end(engine.memory());
            engine.recover()?;
            tracker.measured.peaks.after_release_bytes = engine.memory().used_bytes;
            Ok(())
        }
        _ => {
            measure_end(engine, tracker);
            Ok(())
        }
    });
    match recovery {
        Ok(()) => error,
        Err(worse) => EngineError::Fatal(format!("{error}; then: {worse}")),
    }
}

fn loaded(engine: &dyn Engine, hash: &ModelHash, start: Instant) -> Loaded {
    Loaded {
        device: engine.device(),
        model_name: engine.model_name().to_owned(),
        model_hash: hash.known().map(str::to_owned),
        parts: hash.origins().to_vec(),
        fingerprint: engine.fingerprint().to_owned(),
        load_ms: millis(start.elapsed()),
        part_loads: engine.part_loads(),
        capabilities: engine.capabilities(),
        backend: engine.backend(),
        memory: engine.memory(),
    }
}

fn measure_end(engine: &dyn Engine, tracker: &mut Tracker<'_>) {
    tracker.end(engine.memory());
    tracker.measured.peaks.after_release_bytes = engine.memory().used_bytes;
}

fn failed(attempt_id: i64, tracker: Tracker<'_>, error: &EngineError) -> WorkerEvent {
    let stage = match error {
        EngineError::OutOfMemory { stage, .. } => *stage,
        _ => tracker.stage.unwrap_or(Stage::TextEncode),
    };
    WorkerEvent::Failed(Failed {
        attempt_id,
        failure: Failure {
            kind: kind(error),
            stage: Some(stage),
            message: error.to_string(),
            measured: tracker.measured,
        },
    })
}

/// A panic is a fatal error like any other: locks inside the engine may be poisoned, the device's
/// state is unknown.
fn caught<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(EngineError::Fatal(words(&*panic))))
}
