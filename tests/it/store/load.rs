//! Many writers, many rows, a lock that is held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zimaged::internals::{JobFilter, RenderFilter, Selection, State, StoreError};

use super::*;

/// A job that is this drop.
fn drop_of(prompt: &str, id: u64) -> NewJob {
    NewJob { origin: Origin::Drop { id: DropId(id.into()), before: None }, ..job(&[prompt]) }
}

/// Writes by each of two processes' stores.
const WRITES: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_and_a_client_write_at_once_and_neither_is_told_to_wait() {
    let fixture = Fixture::new().await;
    let client = Store::open(&fixture.path(), Access::Client).await.expect("made by the daemon");
    let begun = Instant::now();
    let daemon = async {
        for id in 0..WRITES {
            fixture.store.accept(&[drop_of("a", id)], NOW).await.expect("neither 5 nor 517");
        }
    };
    let command_line = async {
        for _ in 0..WRITES / 2 {
            client.pause("busy", NOW).await.expect("neither 5 nor 517");
            client.resume(NOW).await.expect("neither 5 nor 517");
        }
    };
    tokio::join!(daemon, command_line);
    println!("2 x {WRITES} writes at once: {:.1} s", begun.elapsed().as_secs_f64());
    let counted = fixture
        .rows("SELECT concat_ws(' ', kind, count(*)) FROM events GROUP BY kind ORDER BY kind")
        .await;
    assert_eq!(counted, ["accepted 1000", "paused 500", "resumed 500"]);
}

/// As many as take a second at least.
const CANCELLED: i64 = 10_000;

/// A daemon that is kept from the lock waits for five seconds, and then holds its queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_writes_all_the_while_a_client_cancels_many_renders() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["first"])).await;
    wait(&fixture, CANCELLED).await;
    let client = Store::open(&fixture.path(), Access::Client).await.expect("made by the daemon");
    let cancel = tokio::spawn(async move {
        let all = RenderFilter::default();
        client.cancel_matching(&all, NOW).await.expect("neither 5 nor 517")
    });
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while !cancel.is_finished() {
        let asked = Instant::now();
        fixture.store.resume(NOW).await.expect("neither 5 nor 517");
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = format!("in {:?} the longest write took {longest:?}", begun.elapsed());
    println!("{told}");
    assert_eq!(cancel.await.expect("it ends").cancelled, CANCELLED as u64 + 1);
    assert!(longest < begun.elapsed() / 3, "{told}");
}

/// Each of several large jobs is cancelled by a request of its own, some to the daemon's HTTP and
/// some by another command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_writes_all_the_while_several_large_jobs_are_cancelled_at_once() {
    let fixture = Fixture::new().await;
    let (mut clients, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let client = Store::open(&fixture.path(), Access::Client).await.expect("there is one");
        clients.push(Arc::new(client));
    }
    for id in 0..8 {
        let origin = Origin::Drop { id: DropId(id), before: None };
        jobs.push(fixture.accept(NewJob { origin, ..job(&["a"; 300]) }).await);
    }
    let cancels: Vec<_> = (0..)
        .zip(jobs)
        .map(|(number, job_id)| {
            let client = clients[number % 2].clone();
            tokio::spawn(async move { client.cancel(&[Selection::Job(job_id)], NOW).await })
        })
        .collect();
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while !cancels.iter().all(tokio::task::JoinHandle::is_finished) {
        let asked = Instant::now();
        fixture.store.resume(NOW).await.expect("neither 5 nor 517");
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = format!("in {:?} the longest write took {longest:?}", begun.elapsed());
    println!("{told}");
    for cancel in cancels {
        assert_eq!(cancel.await.expect("no panic").expect("it is carried out").cancelled, 300);
    }
    assert!(longest < begun.elapsed() / 4, "{told}");
}

#[tokio::test]
async fn behind_a_lock_a_write_gives_up_and_readers_go_on() {
    let fixture = Fixture::new().await;
    let mut other = fixture.other().await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.expect("nobody writes");
    let error = fixture.store.pause("?", NOW).await.expect_err("locked");
    assert!(matches!(error, StoreError::Busy) && error.may_pass());
    assert!(fixture.next().await.is_none(), "readers are not locked out");
    sqlx::query("COMMIT").execute(&mut other).await.expect("its own transaction");
    assert_eq!(fixture.accept(job(&["a"])).await, 1);
}

#[tokio::test]
async fn ten_thousand_jobs_are_taken_in_within_seconds() {
    let fixture = Fixture::new().await;
    let begun = Instant::now();
    for batch in 0..20 {
        let jobs: Vec<NewJob> =
            (0..500).map(|number| drop_of("a red fox in the snow", batch * 500 + number)).collect();
        let accepted = fixture.store.accept(&jobs, NOW).await.expect("a writable queue");
        assert!(accepted.iter().all(|accepted| accepted.fresh));
    }
    let elapsed = begun.elapsed();
    println!("10,000 jobs taken in: {:.2} s", elapsed.as_secs_f64());
    // Two on an idle machine.
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
    assert_eq!(fixture.store.queued().await.expect("a readable queue"), 10_000);
}

/// Jobs of one render each, done long ago; a tenth of what the promise is about, so that the test
/// stays short.
const OLD_JOBS: i64 = 100_000;

#[tokio::test]
async fn a_long_history_slows_neither_claims_nor_lists() {
    let fixture = Fixture::new().await;
    fill(&fixture, OLD_JOBS).await;
    fixture.accept(job(&["new"])).await;
    let prompt = timed("next_candidate", 100, async || fixture.next_prompt().await).await;
    assert_eq!(prompt.as_deref(), Some("new"));
    let (all, one, none) = (20, 1, 0);
    for (state, expected) in [
        (None, all),
        (Some(State::Queued), one),
        (Some(State::Running), none),
        (Some(State::Done), all),
        (Some(State::Failed), none),
        (Some(State::Cancelled), none),
    ] {
        let filter = JobFilter { state: state.map(State::into), ..JobFilter::default() };
        let what = format!("list {state:?}");
        let jobs = timed(&what, 100, async || fixture.store.jobs(&filter, 20).await).await;
        assert_eq!(jobs.expect("a readable queue").len(), expected);
    }
    let is_idle = async || fixture.store.is_idle(&[""]).await.expect("a readable queue");
    assert!(!timed("is_idle", 100, is_idle).await);
}

/// What comes back, in at most this time at the fastest of five times: other tests run beside this
/// one.
async fn timed<T>(what: &str, limit_ms: u64, work: impl AsyncFn() -> T) -> T {
    let mut fastest = Duration::MAX;
    let mut result = None;
    for _ in 0..5 {
        let begun = Instant::now();
        result = Some(work().await);
        fastest = fastest.min(begun.elapsed());
    }
    println!("{what}: {:.2} ms", fastest.as_secs_f64() * 1000.0);
    assert!(fastest < Duration::from_millis(limit_ms), "{what}: {fastest:?}");
    result.expect("it ran")
}

async fn fill(fixture: &Fixture, jobs: i64) {
    let mut other = fixture.other().await;
    for insert in [
        "INSERT INTO jobs (origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, tags,
                           accepted_at_ms)
         WITH RECURSIVE old (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM old WHERE id < ?)
         SELECT 'drop', 'old.toml', '', 1, id, 1, '', 0, '[]', 1 FROM old",
        "INSERT INTO renders (job_id, position, state, priority, run_after_ms, prompt, negative_prompt, width, height,
                              steps, guidance, seed, on_oom, min_side, min_steps, output, format, finished_at_ms)
         SELECT id, 1, 'done', 0, 0, 'an old fox', '', 64, 64, 1, 0, 1, 'fail', 1, 1, '', 'png', id FROM jobs
         WHERE id <= ?",
        "INSERT INTO attempts (render_id, number, outcome, rung, rung_text, width, height, steps, path, queued_ms,
                               started_at_ms, ended_at_ms, sha256)
         SELECT id, 1, 'done', '{}', '', 64, 64, 1, id || '.png', 0, 1, 2, '' FROM renders WHERE id <= ?",
    ] {
        sqlx::query(insert).bind(jobs).execute(&mut other).await.expect("room for old jobs");
    }
}

/// Renders that wait for a time to come (chaos 9).
const WAITING: i64 = 500_000;

#[tokio::test]
async fn half_a_million_renders_that_wait_for_a_time_slow_neither_claims_nor_status() {
    let fixture = Fixture::new().await;
    let mut later = job(&["later"]);
    later.job.not_before_ms = Some(NOW + 1_000_000);
    fixture.accept(later).await;
    wait(&fixture, WAITING).await;
    let store = &fixture.store;
    assert!(timed("claim of nothing", 50, async || fixture.next().await).await.is_none());
    timed("times kept to", 50, async || store.keep_to_times(NOW).await)
        .await
        .expect("a writable queue");
    let earliest = timed("the earliest", 50, async || store.earliest_ms(NOW).await).await;
    assert_eq!(earliest.expect("a readable queue"), Some(NOW + 1_000_000));
    fixture.accept(job(&["now"])).await;
    let due = timed("claim of one that is due", 50, async || fixture.next_prompt().await).await;
    assert_eq!(due.as_deref(), Some("now"));
    // A quarter of a second on an idle machine, and no more for any number: one in five is looked
    // at.
    let kinds = timed("kinds that wait", 4000, async || store.waiting(NOW).await).await;
    let backlog = kinds.expect("a readable queue");
    assert!(backlog.is_sample && backlog.renders == WAITING as u64 + 2);
    let kinds = backlog.kinds;
    assert!(kinds.len() < 200, "{} kinds: more were looked at than is bounded", kinds.len());
    // Those that were looked at stand for all, each kind to the nearest one.
    let renders: u64 = kinds.iter().map(|kind| kind.renders).sum();
    assert!(renders.abs_diff(WAITING as u64 + 2) < kinds.len() as u64, "{renders}");
    let to_do = timed("all that is to do", 200, async || store.to_do().await).await;
    assert_eq!(to_do.expect("a readable queue"), WAITING as u64 + 2);
    let begun = timed("jobs begun", 100, async || store.begun(5).await).await;
    assert!(begun.expect("a readable queue").is_empty());
    let queued = timed("queued", 200, async || store.queued().await).await;
    assert_eq!(queued.expect("a readable queue"), 500_002);
}

#[tokio::test]
async fn half_a_million_renders_of_a_model_that_is_not_there_slow_no_claim() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["first"])).await;
    wait(&fixture, WAITING).await;
    let mut other = fixture.other().await;
    sqlx::query("UPDATE renders SET model = 'gone', priority = 9")
        .execute(&mut other)
        .await
        .expect("room for models");
    fixture.accept(job(&["now"])).await;
    let store = &fixture.store;
    let heads = timed("heads beside those of another model", 50, async || {
        store.model_heads(Some(("gone", "x")), None, i64::MAX / 2).await.expect("a readable queue")
    });
    let heads = heads.await;
    let mut models: Vec<(&str, i64)> =
        heads.iter().map(|head| (head.model.as_str(), head.priority)).collect();
    models.sort_unstable();
    assert_eq!(models, [("", 0), ("gone", 9)]);
    let is_idle = async || store.is_idle(&[""]).await.expect("a readable queue");
    assert!(!timed("idle beside those of another model", 50, is_idle).await);
}

/// Copies the first render into `jobs` jobs of their own, each a second later than the one before.
async fn wait(fixture: &Fixture, jobs: i64) {
    let mut other = fixture.other().await;
    for insert in [
        "INSERT INTO jobs (origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority,
                           not_before_ms, tags, accepted_at_ms)
         WITH RECURSIVE later (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM later WHERE id < ?)
         SELECT 'drop', 'later.toml', '', 1, id, 1, '', 0, 1, '[]', 1 FROM later",
        "INSERT INTO renders (job_id, position, state, priority, run_after_ms, prompt, negative_prompt, width, height,
                              steps, guidance, seed, on_oom, min_side, min_steps, output, format)
         SELECT j.id, 1, 'queued', 0, r.run_after_ms + 1000 * j.id, r.prompt, '', 64, 64, 1, 0, 1, 'fail', 1, 1, '', 'png'
         FROM renders r JOIN jobs j ON j.id > 1 WHERE r.id = 1 AND j.id <= ? + 1",
    ] {
        sqlx::query(insert).bind(jobs).execute(&mut other).await.expect("room for jobs");
    }
}
