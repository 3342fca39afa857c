//! The worker over real pipes: the real program with the fake engine, and a few programs that only
//! claim to be one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::timeout;
use zimaged::internals::{
    Allowance, Decode, DeviceChoice, Done, EngineKind, Failure, FailureKind, Format, Load,
    ModelPlace, Owner, Precision, Prefer, QueueFacts, Recipe, Render, RenderRequest, Request,
    Residency, Rung, SizeAndSteps, Stage, Worker, WorkerEvent, WorkerExit,
};

use crate::support::places::miniature;

const ZIMAGED: &str = env!("CARGO_BIN_EXE_zimaged");

/// Generous: only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn usual() -> Render {
    Render { width: 64, height: 48, steps: 3, min_side: 16, min_steps: 1, ..Render::default() }
}

/// A folder for the pictures, the latents and the fake engine's counts.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Load {
        let (engine, device) = (EngineKind::Fake, DeviceChoice::Cpu);
        Load {
            engine,
            model: ModelPlace::at(&self.path("model")),
            device,
            allowance: Allowance::default(),
            usual: usual(),
            prefer: Prefer::Quality,
            embeddings_path: self.path("embeddings"),
            thumbnails_path: self.path("thumbnails"),
            previews_path: self.path("previews"),
            speeds_path: self.path("device-speeds.json"),
            hashes_path: self.path("model-hashes"),
            last_word_path: self.path("last-word"),
        }
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::spawn(Path::new(ZIMAGED), &self.load()).await.unwrap();
        let loaded = next(&mut worker).await.unwrap();
        assert!(matches!(loaded, WorkerEvent::Loaded(_)), "{loaded:?}");
        worker
    }

    /// Attempt 1 at a small picture; every attempt of this place shares the latents.
    fn request(&self, prompt: &str) -> RenderRequest {
        let (residency, precision, decode) = (Residency::Device, Precision::Full, Decode::Whole);
        RenderRequest {
            attempt_id: 1,
            recipe: Recipe { prompt: prompt.into(), seed: 7, ..Recipe::default() },
            rung: Rung { residency, precision, decode, width: 64, height: 48, steps: 3 },
            format: Format::Png,
            picture_path: self.path("picture.part"),
            latents_path: self.path("latents.safetensors"),
            inputs_path: self.path("inputs"),
            loras_path: self.path("loras"),
            next_prompts: Vec::new(),
            hash_wait_ms: 0,
            queue: QueueFacts {
                job: 1,
                index: 1,
                owner: Owner { database: "0123456789abcdef".to_owned(), attempt_id: 1 },
                asked: SizeAndSteps { width: 64, height: 48, steps: 3 },
                degraded: false,
                created: None,
                file: None,
                tags: Vec::new(),
                asked_prompt: None,
            },
        }
    }
}

/// The next event or the worker's death.
async fn next(worker: &mut Worker) -> Result<WorkerEvent, WorkerExit> {
    timeout(PATIENCE, worker.event()).await.expect("neither event nor death")
}

/// What came of a request.
struct Outcome {
    stages: Vec<Stage>,
    steps: u32,
    is_rendered: bool,
    end: Result<WorkerEvent, WorkerExit>,
}

impl Outcome {
    fn done(self) -> Done {
        match self.end {
            Ok(WorkerEvent::Done(done)) => done,
            other => panic!("not done: {other:?}"),
        }
    }

    fn failure(self) -> Failure {
        match self.end {
            Ok(WorkerEvent::Failed(failed)) => failed.failure,
            other => panic!("not failed: {other:?}"),
        }
    }

    fn death(self) -> String {
        self.end.expect_err("alive").words
    }
}

async fn run(worker: &mut Worker, request: RenderRequest) -> Outcome {
    worker.send(&Request::Render(Box::new(request))).await.unwrap();
    finish(worker).await
}

/// Collects until something other than progress arrives.
async fn finish(worker: &mut Worker) -> Outcome {
    let end = Err(WorkerExit::unknown(""));
    let mut outcome = Outcome { stages: vec![], steps: 0, is_rendered: false, end };
    loop {
        match next(worker).await {
            Ok(WorkerEvent::Stage { stage, .. }) => outcome.stages.push(stage),
            Ok(WorkerEvent::Step { .. }) => outcome.steps += 1,
            Ok(WorkerEvent::Rendered { .. }) => outcome.is_rendered = true,
            end => {
                outcome.end = end;
                return outcome;
            }
        }
    }
}

fn signal(worker: &Worker, signal: Signal) {
    kill_process(Pid::from_raw(worker.pid() as i32).unwrap(), signal).unwrap();
}

/// A worker that ends by itself says why: its log is written by a thread, and no exit handler runs.
#[test]
fn a_worker_that_is_told_nonsense_says_so_before_it_ends() {
    for nonsense in ["no request\n", "{\"request\":\"memory\"}\n", "{\"request\":\"load\"}\n"] {
        let mut worker = Command::new(ZIMAGED);
        worker.arg("worker").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut worker = worker.spawn().unwrap();
        worker.stdin.take().unwrap().write_all(nonsense.as_bytes()).unwrap();
        let output = worker.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(76), "{nonsense}: {told}");
        assert!(told.contains("bad input from the supervisor"), "{nonsense}: {told:?}");
    }
}

#[tokio::test]
async fn a_render_leaves_the_picture_that_its_done_tells_of() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let outcome =
        run(&mut worker, place.request("text of 5 ms, steps of 5 ms, decode of 5 ms")).await;
    assert_eq!(
        outcome.stages,
        [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode, Stage::PictureEncode]
    );
    assert_eq!((outcome.steps, outcome.is_rendered), (3, true));
    let done = outcome.done();
    let picture = fs::read(place.path("picture.part")).unwrap();
    let sha256: String =
        Sha256::digest(&picture).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (done.attempt_id, done.made.bytes, done.made.sha256),
        (1, picture.len() as u64, sha256)
    );
    assert!(
        place.path("latents.safetensors").exists(),
        "for the case that the picture does not get its name"
    );
    let timings = done.made.measured.timings;
    assert_eq!(timings.step_ms.len(), 3);
    assert!(timings.text_encode_ms >= 5 && timings.vae_decode_ms >= 5, "{timings:?}");
    assert!(
        timings.denoise_ms >= timings.step_ms.iter().sum() && timings.step_ms[0] >= 5,
        "{timings:?}"
    );
    assert!(
        timings.total_ms >= timings.text_encode_ms + timings.denoise_ms + timings.vae_decode_ms,
        "{timings:?}"
    );
    assert!(
        done.made.measured.peaks.denoise_bytes > 0
            && done.made.measured.peaks.after_release_bytes > 0,
        "{:?}",
        done.made.measured.peaks
    );
}

#[tokio::test]
async fn a_render_cancelled_in_its_steps_stops_and_leaves_no_picture() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let mut request = place.request("steps of 20 ms");
    request.rung.steps = 2000;
    worker.send(&Request::Render(Box::new(request))).await.unwrap();
    while !matches!(next(&mut worker).await.unwrap(), WorkerEvent::Step { .. }) {}
    worker.send(&Request::Cancel { attempt_id: 1 }).await.unwrap();
    let outcome = finish(&mut worker).await;
    assert!(outcome.steps < 100, "{} steps after the cancellation", outcome.steps);
    let failed = outcome.failure();
    assert_eq!((failed.kind, failed.stage), (FailureKind::Stopped, Some(Stage::Denoise)));
    assert!(!place.path("picture.part").exists());
    run(&mut worker, RenderRequest { attempt_id: 2, ..place.request("") }).await.done();
}

#[tokio::test]
async fn a_cancellation_of_another_attempt_is_ignored() {
    let place = Place::new();
    let mut worker = place.worker().await;
    worker.send(&Request::Cancel { attempt_id: 2 }).await.unwrap();
    run(&mut worker, place.request("")).await.done();
}

#[tokio::test]
async fn out_of_memory_leaves_the_worker_fit_for_a_smaller_picture() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let mut request = place.request("oom at step 2 above 48 px");
    let failed = run(&mut worker, request.clone()).await.failure();
    assert!(
        matches!(failed.kind, FailureKind::OutOfMemory { requested_bytes: Some(_) }),
        "{failed:?}"
    );
    assert_eq!((failed.stage, failed.measured.timings.step_ms.len()), (Some(Stage::Denoise), 1));
    (request.attempt_id, request.rung.width) = (2, 48);
    assert_eq!(run(&mut worker, request).await.done().attempt_id, 2);
}

#[tokio::test]
async fn a_decode_out_of_memory_is_repeated_alone() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let mut request = place.request("oom at decode above 512 tile");
    let failed = run(&mut worker, request.clone()).await.failure();
    assert!(matches!(failed.kind, FailureKind::OutOfMemory { .. }), "{failed:?}");
    assert_eq!(failed.stage, Some(Stage::VaeDecode));
    (request.attempt_id, request.rung.decode) = (2, Decode::Tiles { side: 512 });
    let outcome = run(&mut worker, request).await;
    assert_eq!(outcome.stages, [Stage::VaeDecode, Stage::PictureEncode]);
    assert_eq!(outcome.done().made.measured.timings.denoise_ms, 0);
}

#[tokio::test]
async fn a_decode_that_kills_the_worker_is_repeated_alone_by_the_next() {
    let place = Place::new();
    let request = place.request("die at decode once");
    let death = run(&mut place.worker().await, request.clone()).await.death();
    assert_eq!(death, "killed by signal 9 (SIGKILL)");
    let outcome = run(&mut place.worker().await, request).await;
    assert_eq!(outcome.stages, [Stage::VaeDecode, Stage::PictureEncode]);
    outcome.done();
}

#[tokio::test]
async fn kept_latents_of_another_seed_are_denoised_anew() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let mut request = place.request("oom at decode once");
    run(&mut worker, request.clone()).await.failure();
    (request.attempt_id, request.recipe.seed) = (2, 8);
    let outcome = run(&mut worker, request).await;
    assert!(outcome.stages.contains(&Stage::Denoise));
    outcome.done();
}

#[tokio::test]
async fn a_failed_request_costs_the_worker_nothing() {
    let place = Place::new();
    let mut worker = place.worker().await;
    assert_eq!(
        run(&mut worker, place.request("black at decode")).await.failure().kind,
        FailureKind::BadPicture
    );
    assert!(!place.path("latents.safetensors").exists());
    assert_eq!(
        run(&mut worker, place.request("invalid at text")).await.failure().kind,
        FailureKind::Invalid
    );
    let nowhere = RenderRequest { picture_path: place.path("absent/picture"), ..place.request("") };
    let failed = run(&mut worker, nowhere).await.failure();
    assert_eq!(failed.kind, FailureKind::Output { os_error: Some(libc::ENOENT) });
    assert_eq!(failed.stage, Some(Stage::PictureEncode));
    run(&mut worker, place.request("")).await.done();
}

#[tokio::test]
async fn what_leaves_the_device_in_doubt_ends_the_worker_and_says_so_first() {
    for script in ["sticky at step 2", "panic at step 2", "leak at step 2"] {
        let place = Place::new();
        let mut worker = place.worker().await;
        let failed = run(&mut worker, place.request(script)).await.failure();
        assert_eq!(failed.kind, FailureKind::WorkerDied);
        assert!(failed.message.contains(script), "{failed:?}");
        assert_eq!(finish(&mut worker).await.death(), "exit status 70");
    }
}

#[tokio::test]
async fn a_load_that_fails_is_told_and_ends_the_worker() {
    for script in
        ["oom", "sticky", "panic", "sticky at weights", "panic at weights", "leak at weights"]
    {
        let place = Place::new();
        fs::create_dir(place.path("model")).unwrap();
        fs::write(place.path("model/load.txt"), script).unwrap();
        let mut worker = Worker::spawn(Path::new(ZIMAGED), &place.load()).await.unwrap();
        let Ok(WorkerEvent::LoadFailed { message, is_wrong_model: false }) =
            next(&mut worker).await
        else {
            panic!("{script}")
        };
        let wanted = if script == "leak at weights" { "did not come back" } else { script };
        assert!(message.contains(wanted), "{message}");
        assert_eq!(finish(&mut worker).await.death(), "exit status 69");
    }
}

#[tokio::test]
async fn weights_that_find_no_room_at_first_are_left_to_the_first_render() {
    let place = Place::new();
    fs::create_dir(place.path("model")).unwrap();
    fs::write(place.path("model/load.txt"), "oom at weights").unwrap();
    run(&mut place.worker().await, place.request("")).await.done();
}

#[tokio::test]
async fn an_idle_worker_tells_what_memory_there_is_now() {
    let place = Place::new();
    let mut worker = place.worker().await;
    for free_bytes in [None, Some(7)] {
        if let Some(bytes) = free_bytes {
            fs::create_dir_all(place.path("model")).unwrap();
            fs::write(place.path("model/free.txt"), format!("{bytes}")).unwrap();
        }
        worker.send(&Request::Memory).await.unwrap();
        let Ok(WorkerEvent::Memory(memory)) = next(&mut worker).await else { panic!("no answer") };
        assert_eq!(memory.free_bytes, free_bytes);
    }
}

/// The miniature, loaded as a daemon's first and second start would.
#[tokio::test]
async fn a_model_is_hashed_beside_the_renders_once() {
    let place = Place::new();
    let model = miniature();
    let load = Load { engine: EngineKind::ZImage, model: ModelPlace::at(&model), ..place.load() };
    let start = async || {
        let mut worker = Worker::spawn(Path::new(ZIMAGED), &load).await.unwrap();
        let Ok(WorkerEvent::Loaded(loaded)) = next(&mut worker).await else { panic!("not loaded") };
        (worker, loaded)
    };
    let (mut worker, loaded) = start().await;
    assert_eq!(loaded.model_hash, None);
    let deadline = Instant::now() + PATIENCE;
    let hashed = loop {
        assert!(Instant::now() < deadline, "the hash does not come");
        worker.send(&Request::Memory).await.unwrap();
        assert!(matches!(next(&mut worker).await, Ok(WorkerEvent::Memory(_))));
        if let Some(hashed) = worker.take_model_hash() {
            break hashed;
        }
    };
    assert_eq!(hashed.model_hash.len(), 64);
    let parts: Vec<usize> =
        hashed.parts.iter().map(|part| part.sha256.as_ref().map_or(0, String::len)).collect();
    assert_eq!(parts, [64, 64, 64], "transformer, text encoder and VAE");
    let hash = hashed.model_hash;
    let (_worker, again) = start().await;
    assert_eq!((again.model_hash, again.fingerprint), (Some(hash), loaded.fingerprint));
}

#[tokio::test]
async fn a_worker_killed_from_outside_is_told_with_the_signal() {
    let place = Place::new();
    let mut worker = place.worker().await;
    signal(&worker, Signal::KILL);
    assert_eq!(finish(&mut worker).await.death(), "killed by signal 9 (SIGKILL)");
}

#[tokio::test]
async fn a_terminals_interrupt_is_left_to_the_supervisor() {
    let place = Place::new();
    let mut worker = place.worker().await;
    signal(&worker, Signal::INT);
    signal(&worker, Signal::TERM);
    run(&mut worker, place.request("")).await.done();
}

#[tokio::test]
async fn a_spoilt_line_is_a_protocol_error() {
    for (script, wanted) in [("garbage line", "no event"), ("huge line", "longer than")] {
        let place = Place::new();
        let death = run(&mut place.worker().await, place.request(script)).await.death();
        assert!(death.starts_with("protocol error: ") && death.contains(wanted), "{death}");
    }
}

#[tokio::test]
async fn what_a_library_prints_does_no_harm() {
    let place = Place::new();
    run(&mut place.worker().await, place.request("stray line at text")).await.done();
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_says_nothing_more() {
    for script in ["hang at step 2", "half line at step 2"] {
        let place = Place::new();
        let mut worker = place.worker().await;
        worker.send(&Request::Render(Box::new(place.request(script)))).await.unwrap();
        while !matches!(next(&mut worker).await.unwrap(), WorkerEvent::Step { .. }) {}
        assert!(timeout(Duration::from_millis(100), worker.event()).await.is_err(), "{script}");
        assert_eq!(worker.kill().await.words, "killed by signal 9 (SIGKILL)");
    }
}

#[tokio::test]
async fn a_worker_asked_to_stop_ends_by_itself_even_within_a_render() {
    let place = Place::new();
    let mut worker = place.worker().await;
    let mut request = place.request("steps of 20 ms");
    request.rung.steps = 2000;
    worker.send(&Request::Render(Box::new(request))).await.unwrap();
    let start = Instant::now();
    worker.stop(PATIENCE).await;
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

const HANG: &str = "hang once";

/// A worker whose supervisor is this test, down to the bytes; gives its time to end after the end
/// of its input.
fn time_to_end(script: &str) -> Duration {
    let place = Place::new();
    let mut child = Command::new(ZIMAGED)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut request = place.request(script);
    request.rung.steps = 2000;
    for request in [Request::Load(Box::new(place.load())), Request::Render(Box::new(request))] {
        writeln!(input, "{}", serde_json::to_string(&request).unwrap()).unwrap();
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("denoise")));
    let patience = Instant::now() + PATIENCE;
    // The fake engine notes a counted fault before it lets it happen.
    while script == HANG && !place.path("model").join(HANG).exists() {
        assert!(Instant::now() < patience, "never hung");
        std::thread::yield_now();
    }
    drop(input);
    let start = Instant::now();
    child.wait().unwrap();
    start.elapsed()
}

#[test]
fn a_worker_without_a_supervisor_ends_within_two_seconds() {
    for script in ["steps of 20 ms", HANG] {
        let took = time_to_end(script);
        // Ten times the promise, for a machine with other things to do.
        assert!(took < Duration::from_secs(20), "{script}: {took:?}");
    }
}

/// A program that writes `output` whatever it is asked, and then waits without reading.
fn pretender(place: &Place, output: &str) -> PathBuf {
    let path = place.path("pretender");
    let script = format!("#!/bin/sh\ncat <<'END'\n{output}\nEND\nexec sleep 60\n");
    // Written by a child: were the file open for writing here, a fork of another test could hold it
    // open, and a program that is open for writing does not start.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

async fn spawn(exe: &Path, place: &Place) -> Worker {
    Worker::spawn(exe, &place.load()).await.unwrap()
}

#[tokio::test]
async fn a_worker_of_another_version_is_never_used() {
    let place = Place::new();
    let exe = pretender(&place, r#"{"event":"hello","protocol":1,"version":"0.0.9"}"#);
    let death = finish(&mut spawn(&exe, &place).await).await.death();
    assert!(death.contains("zimaged 0.0.9") && death.contains("restart the daemon"), "{death}");
}

#[tokio::test]
async fn a_worker_that_does_not_say_hello_first_is_never_used() {
    let place = Place::new();
    let exe = pretender(&place, r#"{"event":"stage","attempt_id":1,"stage":"denoise"}"#);
    let death = finish(&mut spawn(&exe, &place).await).await.death();
    assert!(death.contains("must be hello"), "{death}");
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_given_up() {
    let place = Place::new();
    let hello =
        format!(r#"{{"event":"hello","protocol":1,"version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    let exe = pretender(&place, &hello);
    let mut worker = spawn(&exe, &place).await;
    // More than a pipe holds.
    let request = place.request(&"a cat ".repeat(50_000));
    let death = worker.send(&Request::Render(Box::new(request))).await.unwrap_err().words;
    assert!(death.contains("did not read"), "{death}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let place = Place::new();
    let death = Worker::spawn(&place.path("absent"), &place.load()).await.err().unwrap().words;
    assert!(death.contains("absent cannot be started"), "{death}");
}
