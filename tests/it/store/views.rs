//! What people with `sqlite3` see, and the lists of the command line.

use std::fs;

use zimaged::internals::{
    JobFilter, NewWorker, Outcome, Part, PartOrigin, PartSource, Selection, State,
};

use zimaged::internals::{DropFate, Repeat};

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

fn vae(sha256: Option<&str>) -> PartOrigin {
    let source = PartSource {
        hub: "hf".to_owned(),
        repository: "a/b".to_owned(),
        revision: "c0ffee".to_owned(),
    };
    PartOrigin { part: Part::Vae, sha256: sha256.map(str::to_owned), source: Some(source) }
}

pub fn worker() -> NewWorker {
    NewWorker {
        device: "cpu".to_owned(),
        model_name: "tiny".to_owned(),
        model_key: String::new(),
        model_hash: "beef".to_owned(),
        parts: vec![vae(None)],
        load_ms: 900,
        part_loads: Vec::new(),
        idle_bytes: 1,
        total_bytes: 3,
    }
}

#[tokio::test]
async fn the_history_sets_what_was_made_beside_what_was_asked() {
    let fixture = scenario().await;
    let columns = "SELECT concat_ws(' ', job, picture, state, degraded, asked_width, asked_steps, width, steps, attempts, \
                   queued_s, denoise_s, total_s, peak_bytes, path, bytes, error_code, device, model) \
                   FROM history ORDER BY job, picture";
    let expected = [
        "1 1 done 1 1024 8 768 6 2 0.0 1.5 2.0 30 fox.png 1234 cpu tiny",
        "1 2 failed 0 1024 8 1024 8 1 0.0 1.5 2.0 30 bad_picture cpu tiny",
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
    let listed = async |state: Option<State>, tag: Option<&str>, limit| {
        let state = state.map(State::into);
        let filter = JobFilter { state, tag: tag.map(str::to_owned), ..JobFilter::default() };
        let jobs = fixture.store.jobs(&filter, limit).await.expect("a readable queue");
        jobs.iter().map(|job| job.job).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 10).await, [2, 1]);
    assert_eq!(listed(None, None, 1).await, [2]);
    assert_eq!(listed(Some(State::Failed), None, 10).await, [1]);
    assert_eq!(listed(Some(State::Queued), None, 10).await, [2]);
    assert_eq!(listed(None, Some("zoo"), 10).await, [2]);
    assert!(listed(Some(State::Failed), Some("zoo"), 10).await.is_empty());
}

fn in_state(state: State) -> JobFilter {
    JobFilter { state: Some(state.into()), ..JobFilter::default() }
}

// newcomer 36
#[tokio::test]
async fn jobs_are_listed_between_two_times_and_say_when_they_ended() {
    let fixture = scenario().await;
    let since = async |since_ms| {
        let filter = JobFilter { since_ms: Some(since_ms), ..JobFilter::default() };
        fixture.store.jobs(&filter, 10).await.expect("a readable queue").len()
    };
    assert_eq!((since(NOW).await, since(NOW + 1).await), (2, 0));
    let before = async |to_ms| {
        let filter = JobFilter { to_ms: Some(to_ms), ..JobFilter::default() };
        fixture.store.jobs(&filter, 10).await.expect("a readable queue").len()
    };
    assert_eq!((before(NOW).await, before(NOW + 1).await), (0, 2));
    let ended = async |job| fixture.store.job(job).await.expect("a readable queue").ended_at_ms;
    assert_eq!((ended(1).await, ended(2).await), (Some(NOW + 2500), None));
}

/// The time zone of the process, in which the tests run once more for one in Tokyo.
const TOKYO: (&str, &str) = ("TZ", "Asia/Tokyo");

// newcomer 15
#[tokio::test]
async fn views_are_in_the_time_zone_of_whoever_asks() {
    if std::env::var(TOKYO.0).as_deref() != Ok(TOKYO.1) {
        let itself = std::env::current_exe().expect("a test binary");
        let name = "store::views::views_are_in_the_time_zone_of_whoever_asks";
        let mut there = std::process::Command::new(itself);
        let output = there.args(["--exact", name]).env(TOKYO.0, TOKYO.1).output();
        let output = output.expect("the test binary starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let fixture = scenario().await;
    for (sql, expected) in [
        ("SELECT finished_at FROM history WHERE picture = 1 AND job = 1", "2026-01-01 19:00:02"),
        ("SELECT accepted_at FROM history WHERE job = 2", "2026-01-01 19:00:00"),
        ("SELECT accepted_at FROM jobs_state WHERE job = 2", "2026-01-01 19:00:00"),
        ("SELECT ended FROM pictures WHERE render = '1.1'", "2026-01-01 19:00:02"),
        ("SELECT at FROM oom", "2026-01-01 19:00:00"),
        ("SELECT at FROM memory LIMIT 1", "2026-01-01 19:00:00"),
        ("SELECT day FROM throughput", "2026-01-01"),
    ] {
        assert_eq!(fixture.rows(sql).await, [expected], "{sql}");
    }
}

// newcomer 16
#[tokio::test]
async fn the_narrow_view_fits_a_terminal_and_throughput_is_rounded() {
    let fixture = scenario().await;
    let long = format!("UPDATE renders SET prompt = '{}' WHERE id = 1", "fox\n".repeat(100));
    sqlx::raw_sql(sqlx::AssertSqlSafe(long))
        .execute(&mut fixture.other().await)
        .await
        .expect("ours");
    let widths = "SELECT CAST(length(concat_ws(' | ', render, state, size, seed, s, peak_mib, ended, picture, prompt)) \
                  AS TEXT) FROM pictures";
    let widths: Vec<usize> =
        fixture.rows(widths).await.iter().map(|width| width.parse().expect("a number")).collect();
    // With a seed of 19 digits; those that are drawn have 10 at most.
    assert!(widths.len() == 3 && widths.iter().all(|width| *width < 125), "{widths:?}");
    let states = "SELECT concat_ws(' ', render, state, picture) FROM pictures ORDER BY render";
    let expected = ["1.1 degraded fox.png", "1.2 failed bad_picture", "2.1 queued"];
    assert_eq!(fixture.rows(states).await, expected);
    let uneven = "UPDATE attempts SET total_ms = 467 WHERE outcome = 'done'";
    sqlx::query(uneven).execute(&mut fixture.other().await).await.expect("ours");
    let throughput =
        "SELECT concat_ws(' ', busy_s, mean_s, pictures_per_busy_hour) FROM throughput";
    assert_eq!(fixture.rows(throughput).await, ["0.5 0.47 7708.8"]);
}

#[tokio::test]
async fn a_job_s_state_is_what_its_renders_say() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b", "c"])).await;
    let state = async || {
        let state = fixture.store.job(job_id).await.expect("a readable queue").state;
        let listed = fixture.store.jobs(&in_state(state), 1).await.expect("a readable queue");
        assert_eq!(listed.len(), 1, "{state} is also found in the list");
        state
    };
    assert_eq!(state().await, State::Queued);
    let (_, attempt) = fixture.begin().await;
    assert_eq!(state().await, State::Running);
    let _ = fixture.finish(attempt).await;
    assert_eq!(state().await, State::Queued, "begun, and nothing of it is rendered now");
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, fail()).await;
    fixture.store.cancel(&[Selection::Job(job_id)], NOW).await.expect("a writable queue");
    assert_eq!(state().await, State::Failed);
    let retried = fixture
        .store
        .retry(Selection::Render { job_id, index: 3 }, Repeat::NotMade, NOW)
        .await
        .expect("it was cancelled");
    fixture.store.cancel(&[Selection::Job(retried.job)], NOW).await.expect("a writable queue");
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
        .cancel(&[Selection::Render { job_id, index: 1 }], NOW)
        .await
        .expect("a writable queue");
    let job = fixture.store.job(job_id).await.expect("a readable queue");
    assert_eq!((job.state, job.cancelled, job.queued), (State::Queued, 1, 1));
    let listed = fixture.store.jobs(&in_state(State::Queued), 1).await.expect("a readable queue");
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
    let earliest_ms = fixture.store.earliest_ms(NOW).await.expect("a readable queue");
    assert_eq!(earliest_ms, Some(NOW + 5000));
}

/// A window that is open in every time zone when everything happens.
const ALMOST_ALWAYS: &str = "01:30-01:20";

#[tokio::test]
async fn what_waits_is_told_by_kind_in_the_order_of_the_queue() {
    let fixture = scenario().await;
    let mut night = job(&["later", "later too"]);
    night.job.not_before_ms = Some(NOW + 600_000);
    night.job.not_after_ms = Some(NOW + 900_000);
    night.job.window = ALMOST_ALWAYS.parse().ok();
    night.job.priority = 3;
    fixture.accept(night).await;
    let mut guided = job(&["guided"]);
    guided.job.renders[0].recipe.guidance = 4.0;
    guided.job.renders[0].recipe.guidance_truncation = 0.5;
    fixture.accept(guided).await;
    let waiting = fixture.store.waiting(NOW).await.expect("a readable queue").kinds;
    let of = |place: usize| &waiting[place];
    let told: Vec<_> = waiting.iter().map(|kind| (kind.priority, kind.renders)).collect();
    assert_eq!(told, [(0, 1), (3, 2), (0, 1)]);
    assert!(of(1).times.not_before_ms >= Some(NOW + 600_000));
    assert_eq!(of(1).times.not_after_ms, Some(NOW + 900_000));
    assert_eq!(of(1).times.window, ALMOST_ALWAYS.parse().ok());
    assert_eq!((of(0).times.not_after_ms, of(0).times.window), (None, None));
    assert!(!of(0).effort.is_guided && of(2).effort.is_guided);
    assert_eq!(of(2).effort.guidance_truncation, 0.5);
    let job_renders = fixture.store.job_renders(3).await.expect("a readable queue");
    let states: Vec<_> = job_renders.iter().map(|kind| (kind.state, kind.renders)).collect();
    assert_eq!(states, [(State::Queued, 2)]);
}

#[tokio::test]
async fn the_pace_is_that_of_the_newest_pictures_of_the_model_in_use() {
    let fixture = scenario().await;
    let made = fixture.store.newest_pictures("").await.expect("a readable queue");
    let effort = made[0].effort;
    assert_eq!((made.len(), made[0].total_ms), (1, 2000));
    assert_eq!((effort.width, effort.height, effort.steps), (768, 768, 6), "as it was made");
    let other = NewWorker { model_hash: "another".to_owned(), ..worker() };
    fixture.store.worker_loaded(&other, NOW).await.expect("a writable queue");
    let made = fixture.store.newest_pictures("").await.expect("a readable queue");
    assert!(made.is_empty(), "its pace is not known");
}

#[tokio::test]
async fn attempts_made_before_the_model_was_hashed_get_its_hash() {
    let fixture = scenario().await;
    let provisional = NewWorker { model_hash: "unhashed:ab".to_owned(), ..worker() };
    fixture.store.worker_loaded(&provisional, NOW).await.expect("a writable queue");
    fixture.store.model_hashed("unhashed:ab", "cafe", &[]).await.expect("a writable queue");
    let hashes = fixture.rows("SELECT model_hash FROM workers ORDER BY id").await;
    assert_eq!(hashes.last().map(String::as_str), Some("cafe"));
    assert_eq!(hashes.iter().filter(|hash| *hash == "cafe").count(), 1);
    let done = "SELECT coalesce(model_hash, '-') FROM history WHERE state = 'done'";
    assert_eq!(fixture.rows(done).await, ["beef"]);
}

#[tokio::test]
async fn a_picture_says_by_which_weights_it_was_made_and_where_they_come_from() {
    let fixture = scenario().await;
    let view = "SELECT concat_ws(' ', job, picture, path, model, part, coalesce(sha256, '-'), hub, \
                repository, revision) FROM weights ORDER BY picture";
    assert_eq!(
        fixture.rows(view).await,
        ["1 1 fox.png tiny vae - hf a/b c0ffee", "1 2 tiny vae - hf a/b c0ffee"]
    );
    fixture.store.model_hashed("beef", "cafe", &[vae(Some("5a"))]).await.expect("writable");
    assert_eq!(fixture.rows(view).await[0], "1 1 fox.png tiny vae 5a hf a/b c0ffee");
    let pictures = fixture.store.history(Selection::Job(1)).await.expect("a readable queue");
    assert_eq!(pictures[0].parts.0, [vae(Some("5a"))]);
    let waiting = fixture.store.history(Selection::Job(2)).await.expect("a readable queue");
    assert!(waiting[0].parts.0.is_empty(), "nothing was tried yet");
}

#[tokio::test]
async fn a_job_shows_all_of_its_attempts() {
    let fixture = scenario().await;
    let attempts = fixture.store.attempts(1, &[1, 2]).await.expect("a readable queue");
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
