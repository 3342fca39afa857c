//! Jobs that are started in a part of each day only, or until a moment.

use zimaged::internals::{Repeat, Selection};

use super::*;

async fn prompt_at(fixture: &Fixture, now_ms: i64) -> Option<String> {
    fixture.store.keep_to_times(now_ms).await.expect("a writable queue");
    fixture.next_at(now_ms).await.map(|candidate| candidate.render.recipe.prompt)
}

#[tokio::test]
async fn what_is_left_when_the_time_of_a_job_is_over_is_cancelled_with_the_reason() {
    let fixture = Fixture::new().await;
    let mut night = job(&["first", "second"]);
    night.job.not_after_ms = Some(NOW + 10);
    fixture.accept(night).await;
    fixture.accept(job(&["other"])).await;
    let (_, attempt) = fixture.begin().await;
    assert_eq!(prompt_at(&fixture, NOW + 9).await.as_deref(), Some("second"));
    // By the claim alone, too.
    let at_the_end = fixture.next_at(NOW + 10).await;
    assert_eq!(at_the_end.map(|next| next.job_name).as_deref(), Some("other"));
    assert_eq!(prompt_at(&fixture, NOW + 10).await.as_deref(), Some("other"));
    // What was begun in time is finished.
    assert_eq!(fixture.finish(attempt).await, Guarded::Changed);
    let rows = "SELECT concat_ws(' ', state, cancel_reason) FROM renders WHERE job_id = 1 \
                ORDER BY id";
    let reason = "not started before not_after; zimaged retry renders it all the same";
    assert_eq!(fixture.rows(rows).await, ["done".to_owned(), format!("cancelled {reason}")]);
    let retried = fixture
        .store
        .retry(Selection::Job(1), Repeat::NotMade, NOW + 20)
        .await
        .expect("one to retry");
    assert_eq!(retried.renders, 1);
    let mine =
        "SELECT CAST(count(*) AS TEXT) FROM renders WHERE job_id = 3 AND run_until_ms IS NULL";
    assert_eq!(fixture.rows(mine).await, ["1"]);
}

#[tokio::test]
async fn a_window_that_closes_puts_the_rest_off_to_the_next_night() {
    let fixture = Fixture::new().await;
    let mut night = job(&["first", "second"]);
    night.job.window = "22:00-07:00".parse().ok();
    let zone = jiff::tz::TimeZone::system();
    let opening_at =
        |now_ms| night.job.times().opening(now_ms, &zone).expect("it opens every night");
    let tonight = opening_at(NOW);
    let morning_ms = tonight.until_ms.expect("it closes");
    let tomorrow = opening_at(morning_ms);
    fixture.accept(night.clone()).await;
    assert_eq!(prompt_at(&fixture, tonight.from_ms).await.as_deref(), Some("first"));
    assert_eq!(prompt_at(&fixture, morning_ms - 1).await.as_deref(), Some("first"));
    assert_eq!(prompt_at(&fixture, morning_ms).await, None);
    assert_eq!(prompt_at(&fixture, tomorrow.from_ms - 1).await, None);
    let waits = fixture.store.job(1).await.expect("a job").run_after_ms;
    assert_eq!(waits, Some(tomorrow.from_ms), "what users are told");
    assert_eq!(prompt_at(&fixture, tomorrow.from_ms).await.as_deref(), Some("first"));
}

#[tokio::test]
async fn a_retry_keeps_to_the_window_of_its_job() {
    let fixture = Fixture::new().await;
    let mut night = job(&["a"]);
    night.job.window = "22:00-07:00".parse().ok();
    let zone = jiff::tz::TimeZone::system();
    let tonight = night.job.times().opening(NOW, &zone).expect("it opens every night");
    let morning_ms = tonight.until_ms.expect("it closes");
    fixture.accept(night).await;
    fixture.store.cancel(&[Selection::Job(1)], NOW).await.expect("a writable queue");
    fixture
        .store
        .retry(Selection::Job(1), Repeat::NotMade, morning_ms)
        .await
        .expect("one to retry");
    assert_eq!(prompt_at(&fixture, morning_ms).await, None);
    assert_eq!(prompt_at(&fixture, morning_ms + 16 * 3_600_000).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_window_that_was_falsified_by_hand_stops_nobody() {
    let fixture = Fixture::new().await;
    let mut night = job(&["a"]);
    night.job.not_after_ms = Some(NOW + 10);
    fixture.accept(night).await;
    let mut other = fixture.other().await;
    sqlx::query("UPDATE jobs SET open_hours = 'whenever'").execute(&mut other).await.expect("SQL");
    assert_eq!(prompt_at(&fixture, NOW + 10).await, None);
}
