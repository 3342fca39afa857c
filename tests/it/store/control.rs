//! What users do to the queue.

use zimaged::internals::{Cancelled, RenderFilter, Repeat, Retried, Selection, State, StoreError};

use super::*;

async fn cancel(fixture: &Fixture, selection: Selection) -> Cancelled {
    fixture.store.cancel(&[selection], NOW).await.expect("a writable queue")
}

async fn states(fixture: &Fixture) -> String {
    fixture.rows("SELECT state FROM renders ORDER BY id").await.join(" ")
}

#[tokio::test]
async fn a_cancel_takes_queued_renders_at_once_and_marks_the_running_one() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b", "c"])).await;
    let (_, done) = fixture.begin().await;
    let _ = fixture.finish(done).await;
    let (running, attempt) = fixture.begin().await;
    let expected = Cancelled { cancelled: 1, stopping: 1, ended: 1 };
    assert_eq!(cancel(&fixture, Selection::Job(job_id)).await, expected);
    assert_eq!(states(&fixture).await, "done running cancelled");
    assert!(fixture.store.cancel_wanted(running).await.expect("a readable queue"));
    assert_eq!(fixture.end(attempt, Next::Cancel).await, Guarded::Changed);
    assert_eq!(states(&fixture).await, "done cancelled cancelled");
}

#[tokio::test]
async fn one_render_of_a_job_can_be_cancelled() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a", "b"])).await;
    cancel(&fixture, Selection::Render { job_id, index: 2 }).await;
    assert_eq!(states(&fixture).await, "queued cancelled");
}

#[tokio::test]
async fn a_cancelled_render_cannot_be_begun() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a"])).await;
    let seen = fixture.next().await.expect("queued").render_id;
    cancel(&fixture, Selection::Job(job_id)).await;
    let begun = fixture
        .store
        .begin_attempt(seen, &planned(1024, 8), "a.png", NOW)
        .await
        .expect("a writable queue");
    assert_eq!(begun, None);
    assert!(fixture.next().await.is_none());
}

#[tokio::test]
async fn a_picture_that_is_made_in_spite_of_a_cancel_is_done() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    cancel(&fixture, Selection::Job(job_id)).await;
    assert_eq!(fixture.finish(attempt).await, Guarded::Changed);
    assert_eq!(states(&fixture).await, "done");
}

#[tokio::test]
async fn a_cancel_holds_when_the_render_would_be_queued_again() {
    for next in [Next::Requeue, Next::RequeueAfterDeath, Next::LowerRungLater] {
        let fixture = Fixture::new().await;
        let job_id = fixture.accept(job(&["a"])).await;
        let (_, attempt) = fixture.begin().await;
        cancel(&fixture, Selection::Job(job_id)).await;
        assert_eq!(fixture.end(attempt, next.clone()).await, Guarded::Changed);
        assert_eq!(states(&fixture).await, "cancelled", "{next:?}");
    }
}

#[tokio::test]
async fn a_cancel_holds_when_the_daemon_dies_between_two_attempts() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, lower_rung()).await;
    cancel(&fixture, Selection::Job(job_id)).await;
    let fixture = fixture.restarted().await;
    assert!(fixture.store.orphans(NOW).await.expect("a readable queue").is_empty());
    assert_eq!(states(&fixture).await, "cancelled");
}

#[tokio::test]
async fn a_retry_renders_again_what_failed_or_was_cancelled() {
    let fixture = Fixture::new().await;
    let origin = fixture.accept(job(&["done", "failed", "cancelled", "queued"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.finish(attempt).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, fail()).await;
    cancel(&fixture, Selection::Render { job_id: origin, index: 3 }).await;

    let retry = async |what| fixture.store.retry(what, Repeat::NotMade, NOW).await;
    let made = retry(Selection::Job(origin)).await.expect("something to retry");
    let rows =
        "SELECT concat_ws(' ', position, prompt, state) FROM renders WHERE job_id = 2 ORDER BY id";
    assert_eq!(made, Retried { of: 1, job: 2, renders: 2 });
    assert_eq!(fixture.rows(rows).await, ["2 failed queued", "3 cancelled queued"]);
    let lineage =
        "SELECT concat_ws(' ', origin, retry_of, file_name, drop_id) FROM jobs WHERE id = 2";
    assert_eq!(fixture.rows(lineage).await, ["retry 1 done-failed-cancelled-queued.toml"]);
}

#[tokio::test]
async fn a_retry_makes_no_picture_a_second_time() {
    let fixture = Fixture::new().await;
    let origin = fixture.accept(job(&["a", "b"])).await;
    cancel(&fixture, Selection::Job(origin)).await;
    let retry = async |what| match fixture.store.retry(what, Repeat::NotMade, NOW).await {
        Ok(Retried { job, renders, .. }) => format!("{renders} as {job}"),
        Err(StoreError::NothingToDo(why)) => why,
        Err(other) => panic!("{other}"),
    };
    let (whole, first) = (Selection::Job(origin), Selection::Render { job_id: origin, index: 1 });
    assert_eq!(retry(first).await, "1 as 2");
    assert_eq!(retry(first).await, "render 1.1 is rendered again already, last as job 2");
    assert_eq!(retry(whole).await, "1 as 3", "the other one, in the same millisecond");
    assert_eq!(retry(whole).await, "job 1 is rendered again already, last as job 3");
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.finish(attempt).await;
    assert_eq!(
        retry(first).await,
        "render 1.1 is rendered again already, last as job 2",
        "it is done"
    );
    cancel(&fixture, Selection::Job(3)).await;
    assert_eq!(retry(Selection::Job(3)).await, "1 as 4");
    assert_eq!(
        retry(whole).await,
        "job 1 is rendered again already, last as job 4",
        "by a retry of the retry"
    );
    cancel(&fixture, Selection::Job(4)).await;
    assert_eq!(retry(whole).await, "1 as 5");
}

// newcomer 20
#[tokio::test]
async fn a_bulk_cancel_takes_what_has_the_tag_or_the_state_and_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a", "b"])).await;
    let mut tagged = job(&["c", "d"]);
    tagged.job.tags = vec!["night".to_owned()];
    fixture.accept(tagged).await;
    fixture.begin().await;
    let cancel = async |state, tag: Option<&str>| {
        let filter = RenderFilter { state, tag: tag.map(str::to_owned) };
        fixture.store.cancel_matching(&filter, NOW).await.expect("a writable queue")
    };
    let expected = Cancelled { cancelled: 2, stopping: 0, ended: 0 };
    assert_eq!(cancel(None, Some("night")).await, expected);
    assert_eq!(states(&fixture).await, "running queued cancelled cancelled");
    let expected = Cancelled { cancelled: 1, stopping: 0, ended: 0 };
    assert_eq!(cancel(Some(State::Queued), None).await, expected);
    let expected = Cancelled { cancelled: 0, stopping: 1, ended: 0 };
    assert_eq!(cancel(None, None).await, expected);
    assert_eq!(states(&fixture).await, "running cancelled cancelled cancelled");
}

// newcomer 20, evening F2
#[tokio::test]
async fn what_is_to_be_retried_comes_in_its_order_and_what_a_later_retry_repeats_is_not_doubled() {
    let fixture = Fixture::new().await;
    let origin = fixture.accept(job(&["a"])).await;
    cancel(&fixture, Selection::Job(origin)).await;
    let retry = async |job| fixture.store.retry(Selection::Job(job), Repeat::NotMade, NOW).await;
    assert_eq!(retry(origin).await.expect("it was cancelled").job, 2);
    cancel(&fixture, Selection::Job(2)).await;
    let all = RenderFilter::default();
    assert_eq!(fixture.store.retryable(&all).await.expect("a readable queue"), [1, 2]);
    let failed = RenderFilter { state: Some(State::Failed), ..RenderFilter::default() };
    assert!(fixture.store.retryable(&failed).await.expect("a readable queue").is_empty());
    let among = fixture.store.retry(Selection::Job(1), Repeat::Among(&all), NOW).await;
    assert!(
        matches!(among, Err(StoreError::NothingToDo(_))),
        "job 2 is among them, and repeats it"
    );
    assert_eq!(retry(2).await.expect("it was cancelled").job, 3);
    assert!(matches!(retry(1).await, Err(StoreError::NothingToDo(_))), "job 3 is its retry, too");
}

#[tokio::test]
async fn what_is_not_there_or_has_not_failed_is_refused_by_name() {
    let fixture = Fixture::new().await;
    let job_id = fixture.accept(job(&["a"])).await;
    let render = Selection::Render { job_id, index: 2 };
    let refusal = |error| match error {
        StoreError::NotFound(why) | StoreError::NothingToDo(why) => why,
        other => panic!("{other}"),
    };
    let nothing = fixture
        .store
        .retry(Selection::Job(job_id), Repeat::NotMade, NOW)
        .await
        .expect_err("it is queued");
    assert_eq!(refusal(nothing), "nothing of job 1 has failed or was cancelled");
    assert_eq!(
        refusal(fixture.store.cancel(&[render], NOW).await.expect_err("one render")),
        "there is no render 1.2"
    );
    assert_eq!(refusal(fixture.store.job(7).await.expect_err("one job")), "there is no job 7");
    assert_eq!(
        refusal(fixture.store.history(render).await.expect_err("one render")),
        "there is no render 1.2"
    );
}
