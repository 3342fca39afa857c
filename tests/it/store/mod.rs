//! The queue's database, by its interface and by what a second program sees in the file.

mod attempts;
mod control;
mod load;
mod nights;
mod open;
mod place;
mod queue;
mod shared;
mod totals;
mod upgrade;
mod views;

use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tempfile::TempDir;
use zimaged::internals::{
    Access, Candidate, CardUse, Decode, DropId, ErrorCode, Failure, FailureKind, Finished, Guarded,
    History, Job, Lora, LoraSize, Loras, Made, Measured, ModelTurns, NewJob, Next, Origin, Peaks,
    Plan, Planned, Precision, Predicted, Prediction, Recipe, Render, Residency, Rung, SourceFile,
    Stage, Store, Timings,
};

/// When everything happens, unless a test says otherwise: 2026-01-01 10:00:00 UTC, which is that day
/// in every usual zone.
const NOW: i64 = 1_767_261_600_000;

/// A database in a folder of its own.
struct Fixture {
    folder: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("queue.sqlite"), Access::Daemon)
            .await
            .expect("a new database");
        Fixture { folder, store }
    }

    /// Closes the database and opens it again, as a restart of the daemon does.
    async fn restarted(self) -> Fixture {
        let path = self.path();
        self.store.close().await;
        let store = Store::open(&path, Access::Daemon).await.expect("our own database");
        Fixture { folder: self.folder, store }
    }

    /// Takes the job in; its id, and whether it was new.
    async fn accept_any(&self, job: NewJob) -> (i64, bool) {
        let accepted = self.store.accept(&[job], NOW).await.expect("a writable queue");
        (accepted[0].job_id, accepted[0].fresh)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue.sqlite")
    }

    /// A second program's connection.
    async fn other(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).connect().await.expect("our own database")
    }

    /// The rows that `sql` answers; it must ask for one column of text.
    async fn rows(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut self.other().await).await.expect(sql)
    }

    async fn accept(&self, job: NewJob) -> i64 {
        let accepted = self.store.accept(&[job], NOW).await.expect("room for a job");
        assert!(accepted[0].fresh);
        accepted[0].job_id
    }

    async fn next(&self) -> Option<Candidate> {
        self.next_at(NOW).await
    }

    /// The render that would run next at that time, whatever is loaded.
    async fn next_at(&self, now_ms: i64) -> Option<Candidate> {
        let heads = self.store.model_heads(None, None, now_ms).await.expect("a readable queue");
        let next = ModelTurns::default().next(&heads, None, now_ms)?.render_id;
        self.store.candidate(next).await.expect("a readable queue")
    }

    /// The prompt of the render that would run next.
    async fn next_prompt(&self) -> Option<String> {
        self.next().await.map(|candidate| candidate.render.recipe.prompt)
    }

    /// Begins the next render's attempt at full size: its render and attempt ids.
    async fn begin(&self) -> (i64, i64) {
        let candidate = self.next().await.expect("a queued render");
        let path = format!("{}-{}.png", candidate.job_id, candidate.index);
        let begun =
            self.store.begin_attempt(candidate.render_id, &planned(1024, 8), &path, NOW).await;
        (candidate.render_id, begun.expect("a writable queue").expect("not stale"))
    }

    async fn finish(&self, attempt_id: i64) -> Guarded {
        self.store
            .finish(attempt_id, &finished("fox.png"), NOW + 2500)
            .await
            .expect("a writable queue")
    }

    /// Ends an attempt that ran out of memory in the VAE's decode, whatever comes `next`.
    async fn end(&self, attempt_id: i64, next: Next) -> Guarded {
        self.store
            .end_attempt(attempt_id, &failure(), &next, NOW + 1000)
            .await
            .expect("a writable queue")
    }
}

/// Predicted to need 20 bytes, of which 5 are weights.
fn planned(side: u32, steps: u32) -> Planned {
    let prediction = Prediction {
        weights_bytes: 5,
        text_encode_bytes: 6,
        denoise_bytes: 7,
        vae_decode_bytes: 20,
    };
    let predicted = Predicted { uncorrected: prediction, corrected: prediction, missing_bytes: 0 };
    Planned { rung: rung(side, steps), predicted: Some(predicted) }
}

/// The next rung of the ladder.
fn lower_rung() -> Next {
    let rung = rung(768, 8);
    let prediction = Prediction::default();
    Next::LowerRung(Plan { rung, prediction, missing_bytes: 0 })
}

fn fail() -> Next {
    Next::Fail { code: ErrorCode::BadPicture, message: "the picture is black".to_owned() }
}

/// A job of one render for each prompt, dropped as a file of its own: other prompts make another
/// drop.
fn job(prompts: &[&str]) -> NewJob {
    let renders = prompts.iter().map(|prompt| render(prompt)).collect();
    let job = Job {
        priority: 0,
        not_before_ms: None,
        not_after_ms: None,
        window: None,
        tags: Vec::new(),
        renders,
    };
    NewJob::of_drop(job, file(prompts), "prompt = \"a fox\"".to_owned())
}

/// The file that [`job`] comes from.
fn file(prompts: &[&str]) -> SourceFile {
    let name = format!("{}.toml", prompts.join("-"));
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    SourceFile { name, id: DropId(hasher.finish().into()), sha256: "ab".repeat(32) }
}

fn render(prompt: &str) -> Render {
    Render {
        recipe: Recipe {
            prompt: prompt.to_owned(),
            seed: i64::MAX.unsigned_abs(),
            ..Recipe::default()
        },
        min_side: 256,
        output: "{job}-{index}".to_owned(),
        ..Render::default()
    }
}

fn rung(side: u32, steps: u32) -> Rung {
    Rung {
        residency: Residency::Device,
        precision: Precision::Full,
        decode: Decode::Tiles { side: 512 },
        width: side,
        height: side,
        steps,
    }
}

fn failure() -> Failure {
    Failure {
        kind: FailureKind::OutOfMemory { requested_bytes: Some(1 << 30) },
        stage: Some(Stage::VaeDecode),
        message: "no room".to_owned(),
        measured: measured(),
    }
}

fn finished(path: &str) -> Finished {
    let made =
        Made { bytes: 1234, sha256: "cd".repeat(32), prompt_cut: false, measured: measured() };
    Finished { path: path.to_owned(), degraded: true, made }
}

fn measured() -> Measured {
    Measured { timings: timings(), peaks: peaks(), card: Some(Box::new(card())) }
}

fn timings() -> Timings {
    Timings {
        text_encode_ms: 100,
        denoise_ms: 1500,
        step_ms: vec![700, 800],
        vae_decode_ms: 300,
        picture_encode_ms: 50,
        total_ms: 2000,
    }
}

fn card() -> CardUse {
    CardUse { energy_mj: Some(600_000), power_mean_mw: Some(300_000), ..CardUse::default() }
}

fn peaks() -> Peaks {
    Peaks { text_encode_bytes: 10, denoise_bytes: 30, vae_decode_bytes: 20, after_release_bytes: 5 }
}
