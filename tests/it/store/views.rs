//! What people with `sqlite3` see, and the lists of the command line.

use std::fs;

use zimaged::internals::{NewWorker, Outcome, Selection, State};

use zimaged::internals::DropFate;

use super::*;

/// A worker; job 1 with a render done on its second rung and one failed; job 2 queued, with a tag.
async fn scenario() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.store.worker_loaded(&worker(), NOW).await.expect("a writable queue");
    fixture.accept(job(&["fox", "owl"])).await;
    let (render, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, lower_rung()).await;
    let second = fixture
        .store
        .begin_attempt(render, &planned(768, 6), "fox.png", NOW + 1000)
        .await
        .expect("a queue");
    let _ = fixture.finish(second.expect("between two attempts")).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, fail()).await;
    let mut tagged = job(&["elk"]);
    tagged.job.tags = vec!["night".to_owned(), "zoo".to_owned()];
    fixture.accept(tagged).await;
    fixture
}

pub fn worker() -> NewWorker {
    NewWorker {
        device: "cpu".to_owned(),
        model_name: "tiny".to_owned(),
        model_hash: "beef".to_owned(),
        load_ms: 900,
        idle_bytes: 1,
        total_bytes: 3,
    }
}

#[tokio::test]
async fn the_history_sets_what_was_made_beside_what_was_asked() {
    let fixture = scenario().await;
    let columns = "SELECT concat_ws(' ', job, picture, state, degraded, asked_width, asked_steps, width, steps, attempts, \
                   queued_s, denoise_s, total_s, peak_bytes, path, bytes, error_code, device, model, finished_at) \
                   FROM history ORDER BY job, picture";
    let expected = [
        "1 1 done 1 1024 8 768 6 2 0.0 1.5 2.0 30 fox.png 1234 cpu tiny 2026-01-01 00:00:02",
        "1 2 failed 0 1024 8 1024 8 1 0.0 1.5 2.0 30 bad_picture cpu tiny 2026-01-01 00:00:01",
        "2 1 queued 0 1024 8 0",
    ];
    assert_eq!(fixture.rows(columns).await, expected);
}

#[tokio::test]
async fn the_oom_view_says_what_came_after() {
    let fixture = scenario().await;
    let columns = "SELECT concat_ws(' | ', job, picture, attempt, rung, stage, requested_bytes, peak_bytes, lost_s, \
                   next_rung, next_outcome, state) FROM oom";
    let (first, second) = (rung(1024, 8), rung(768, 6));
    let expected = format!(
        "1 | 1 | 1 | {first} | vae_decode | 1073741824 | 30 | 2.0 | {second} | done | done"
    );
    assert_eq!(fixture.rows(columns).await, [expected]);
}

#[tokio::test]
async fn the_throughput_counts_pictures_and_seconds() {
    let fixture = scenario().await;
    let columns = "SELECT concat_ws(' ', day, model, device, size, steps, pictures, degraded, busy_s, mean_s, \
                   pictures_per_busy_hour) FROM throughput";
    assert_eq!(fixture.rows(columns).await, ["2026-01-01 tiny cpu 768x768 6 1 1 2.0 2.0 1800.0"]);
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_state_and_tag() {
    let fixture = scenario().await;
    let listed = async |state, tag, limit| {
        let jobs = fixture.store.jobs(state, tag, limit).await.expect("a readable queue");
        jobs.iter().map(|job| job.job).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 10).await, [2, 1]);
    assert_eq!(listed(None, None, 1).await, [2]);
    assert_eq!(listed(Some(State::Failed), None, 10).await, [1]);
    assert_eq!(listed(Some(State::Queued), None, 10).await, [2]);
    assert_eq!(listed(None, Some("zoo"), 10).await, [2]);
    assert!(listed(Some(State::Failed), Some("zoo"), 10).await.is_empty());
}

#[tokio::test]
async fn a_job_s_state_is_what_its_renders_say() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b", "c"])).await;
    let state = async || {
        let state = fixture.store.job(job_id).await.expect("a readable queue").state;
        let listed = fixture.store.jobs(Some(state), None, 1).await.expect("a readable queue");
        assert_eq!(listed.len(), 1, "{state} is also found in the list");
        state
    };
    assert_eq!(state().await, State::Queued);
    let (_, attempt) = fixture.begin().await;
    assert_eq!(state().await, State::Running);
    let _ = fixture.finish(attempt).await;
    assert_eq!(state().await, State::Running, "begun, and not at its end");
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, fail()).await;
    fixture.store.cancel(Selection::Job(job_id), NOW).await.expect("a writable queue");
    assert_eq!(state().await, State::Failed);
    let retried = fixture
        .store
        .retry(Selection::Render { job_id, index: 3 }, NOW)
        .await
        .expect("it was cancelled");
    fixture.store.cancel(Selection::Job(retried.job), NOW).await.expect("a writable queue");
    assert_eq!(
        fixture.store.job(retried.job).await.expect("a readable queue").state,
        State::Cancelled
    );
}

#[tokio::test]
async fn a_job_of_which_only_some_was_cancelled_is_still_queued() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b"])).await;
    fixture
        .store
        .cancel(Selection::Render { job_id, index: 1 }, NOW)
        .await
        .expect("a writable queue");
    let job = fixture.store.job(job_id).await.expect("a readable queue");
    assert_eq!((job.state, job.cancelled, job.queued), (State::Queued, 1, 1));
    let listed = fixture.store.jobs(Some(State::Queued), None, 1).await.expect("a readable queue");
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn what_waits_says_until_when() {
    let fixture = Fixture::new().await;
    let mut later = job(&["elk"]);
    later.job.not_before_ms = Some(NOW + 5000);
    let job_id = fixture.accept(later).await;
    assert_eq!(
        fixture.store.job(job_id).await.expect("a readable queue").run_after_ms,
        Some(NOW + 5000)
    );
    let history = fixture.store.history(Selection::Job(job_id)).await.expect("a readable queue");
    assert_eq!(
        (history[0].run_after_ms, history[0].finished_at_ms, history[0].prompt_cut),
        (NOW + 5000, None, None)
    );
    assert_eq!(
        fixture.store.outlook(NOW).await.expect("a readable queue").earliest_ms,
        Some(NOW + 5000)
    );
}

#[tokio::test]
async fn the_outlook_carries_the_newest_times_over_to_what_waits() {
    let empty = Fixture::new().await.store.outlook(NOW).await.expect("a readable queue");
    assert_eq!((empty.renders, empty.earliest_ms, empty.work_ms), (0, None, None));
    let fixture = Fixture::new().await;
    fixture.accept(job(&["fox"])).await;
    let unknown = fixture.store.outlook(NOW).await.expect("a readable queue");
    assert_eq!((unknown.renders, unknown.work_ms), (1, None), "nothing was rendered yet");
    // Two seconds for 768x768 in six steps.
    let fixture = scenario().await;
    let whole = 2000.0 * (1024.0 * 1024.0 * 8.0) / (768.0 * 768.0 * 6.0);
    let outlook = fixture.store.outlook(NOW).await.expect("a readable queue");
    assert_eq!((outlook.renders, outlook.work_ms), (1, Some(f64::round(whole) as i64)));
    let mut guided = job(&["guided"]);
    guided.job.renders[0].recipe.guidance = 4.0;
    fixture.accept(guided).await;
    let outlook = fixture.store.outlook(NOW).await.expect("a readable queue");
    assert_eq!((outlook.renders, outlook.work_ms), (2, Some(f64::round(3.0 * whole) as i64)));
    // Ten minutes after NOW, when what may start before has long been done.
    let mut later = job(&["later"]);
    later.job.not_before_ms = Some(NOW + 600_000);
    fixture.accept(later).await;
    let outlook = fixture.store.outlook(NOW).await.expect("a readable queue");
    assert_eq!(
        (outlook.earliest_ms, outlook.work_ms),
        (Some(NOW), Some(f64::round(4.0 * whole) as i64))
    );
    assert_eq!(outlook.done_at_ms, Some(NOW + 600_000 + f64::round(whole) as i64));
    let other = NewWorker { model_hash: "another".to_owned(), ..worker() };
    fixture.store.worker_loaded(&other, NOW).await.expect("a writable queue");
    assert_eq!(
        fixture.store.outlook(NOW).await.expect("a readable queue").work_ms,
        None,
        "its pace is not known"
    );
}

#[tokio::test]
async fn attempts_made_before_the_model_was_hashed_get_its_hash() {
    let fixture = scenario().await;
    let provisional = NewWorker { model_hash: "unhashed:ab".to_owned(), ..worker() };
    fixture.store.worker_loaded(&provisional, NOW).await.expect("a writable queue");
    fixture.store.model_hashed("unhashed:ab", "cafe").await.expect("a writable queue");
    let hashes = fixture.rows("SELECT model_hash FROM workers ORDER BY id").await;
    assert_eq!(hashes.last().map(String::as_str), Some("cafe"));
    assert_eq!(hashes.iter().filter(|hash| *hash == "cafe").count(), 1);
    let done = "SELECT coalesce(model_hash, '-') FROM history WHERE state = 'done'";
    assert_eq!(fixture.rows(done).await, ["beef"]);
}

#[tokio::test]
async fn a_job_shows_all_of_its_attempts() {
    let fixture = scenario().await;
    let attempts = fixture.store.attempts(Selection::Job(1)).await.expect("a readable queue");
    let tries: Vec<_> = attempts.iter().map(|row| (row.picture, row.number, row.outcome)).collect();
    assert_eq!(
        tries,
        [(1, 1, Outcome::OutOfMemory), (1, 2, Outcome::Done), (2, 1, Outcome::Failed)]
    );
    let worker =
        fixture.store.last_worker().await.expect("a readable queue").expect("it was loaded");
    assert_eq!((worker.model_name.as_str(), worker.load_ms), ("tiny", 900));
    assert_eq!(fixture.store.queued().await.expect("a readable queue"), 1);
}

#[tokio::test]
async fn a_drop_is_known_by_its_identity_and_not_by_its_name() {
    let fixture = scenario().await;
    let fate_of = async |id| {
        let fates = fixture.store.fates(&[id, DropId(1)]).await.expect("a readable queue");
        fates.get(&id).cloned()
    };
    let file = file(&["elk"]);
    assert_eq!(fate_of(file.id).await, Some(DropFate::Job(2)));
    let again = SourceFile { id: DropId(7), ..file };
    assert_eq!(fate_of(again.id).await, None, "another drop of the same name and content");
    let refused = [(again.clone(), "no".to_owned())];
    fixture.store.reject(&refused, NOW).await.expect("a writable queue");
    assert_eq!(fate_of(again.id).await, Some(DropFate::Refused("no".to_owned())));
}

#[tokio::test]
async fn the_log_tells_what_happened_in_order() {
    let fixture = scenario().await;
    let log = "SELECT concat_ws(' ', kind, job_id, render_id, attempt_id) FROM events ORDER BY id";
    let expected = [
        "loaded",
        "accepted 1",
        "attempt 1 1 1",
        "out_of_memory 1 1 1",
        "attempt 1 1 2",
        "done 1 1 2",
        "attempt 1 2 3",
        "failed 1 2 3",
        "accepted 2",
    ];
    assert_eq!(fixture.rows(log).await, expected);
}

/// A migration's effect shows in review: the schema that all of them together make is a file of the
/// repository.
#[tokio::test]
async fn the_schema_is_the_one_in_the_repository() {
    let fixture = Fixture::new().await;
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
               ORDER BY type, name";
    let schema: String = fixture.rows(sql).await.iter().map(|sql| format!("{sql};\n\n")).collect();
    let actual = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.sql");
    fs::write(&actual, &schema).expect("a writable folder");
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema.sql");
    let expected = fs::read_to_string(&committed).unwrap_or_default();
    assert!(schema == expected, "if it is meant: cp {} {}", actual.display(), committed.display());
}
