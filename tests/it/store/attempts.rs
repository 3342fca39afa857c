//! Claim, ladder, end and recovery of renders.

use super::*;

async fn state(fixture: &Fixture) -> String {
    fixture.rows("SELECT state FROM renders").await.join(" ")
}

#[tokio::test]
async fn a_finished_render_is_done_and_its_attempt_ends_only_once() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    assert_eq!(state(&fixture).await, "running");
    assert!(!fixture.store.is_idle(&[""]).await.expect("a readable queue"));
    assert_eq!(fixture.finish(attempt).await, Guarded::Changed);
    assert_eq!(fixture.finish(attempt).await, Guarded::Stale);
    assert_eq!(fixture.end(attempt, fail()).await, Guarded::Stale);
    let renamed =
        fixture.store.rename_attempt(attempt, "late.png").await.expect("a writable queue");
    assert_eq!(renamed, Guarded::Stale);
    assert_eq!(state(&fixture).await, "done");
    assert!(fixture.store.is_idle(&[""]).await.expect("a readable queue"));
}

#[tokio::test]
async fn a_render_that_runs_cannot_be_begun_again() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (render, attempt) = fixture.begin().await;
    let again = async || {
        fixture.store.begin_attempt(render, &planned(512, 8), "b.png", NOW).await.expect("a queue")
    };
    assert_eq!(again().await, None);
    let _ = fixture.finish(attempt).await;
    assert_eq!(again().await, None);
}

#[tokio::test]
async fn each_rung_of_the_ladder_is_a_row_and_is_remembered() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (render, first) = fixture.begin().await;
    assert_eq!(fixture.end(first, lower_rung()).await, Guarded::Changed);
    assert_eq!(state(&fixture).await, "running");
    let second =
        fixture.store.begin_attempt(render, &planned(768, 8), "a.png", NOW).await.expect("a queue");
    let second = second.expect("the render stands between two attempts");
    assert_eq!(fixture.end(second, Next::Requeue).await, Guarded::Changed);
    let candidate = fixture.next().await.expect("queued again");
    assert_eq!(candidate.history.out_of_memory, [(rung(1024, 8), Stage::VaeDecode)]);
    let rows = "SELECT concat_ws(' | ', number, outcome, rung_text) FROM attempts ORDER BY id";
    let texts = [rung(1024, 8), rung(768, 8)].map(|rung| rung.to_string());
    let expected =
        [format!("1 | out_of_memory | {}", texts[0]), format!("2 | interrupted | {}", texts[1])];
    assert_eq!(fixture.rows(rows).await, expected);
}

#[tokio::test]
async fn being_stopped_is_not_counted_but_dying_is() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let died = Next::RequeueAfterDeath;
    for (next, deaths) in [(Next::Requeue, 0), (died.clone(), 1), (died, 2)] {
        let (_, attempt) = fixture.begin().await;
        assert_eq!(fixture.end(attempt, next.clone()).await, Guarded::Changed);
        let history = fixture.next().await.expect("queued again").history;
        assert_eq!(history.deaths, deaths, "{next:?}");
    }
    assert_eq!(fixture.rows("SELECT CAST(attempts AS TEXT) FROM history").await, ["2"]);
}

#[tokio::test]
async fn a_render_that_dies_with_the_daemon_is_an_orphan_and_counts() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let fixture = fixture.restarted().await;
    let orphans = fixture.store.orphans(NOW).await.expect("a readable queue");
    assert_eq!(orphans.len(), 1);
    let orphan = &orphans[0];
    assert_eq!((orphan.attempt_id, orphan.path.as_str()), (attempt, "1-1.png"));
    assert_eq!(
        (orphan.rung, &orphan.render, orphan.history.deaths),
        (rung(1024, 8), &render("a"), 0)
    );
    assert_eq!(fixture.end(attempt, Next::RequeueAfterDeath).await, Guarded::Changed);
    assert_eq!(fixture.next().await.expect("queued again").history.deaths, 1);
    assert!(fixture.store.orphans(NOW).await.expect("a readable queue").is_empty());
}

#[tokio::test]
async fn a_render_left_between_two_attempts_is_queued_again_at_start() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, lower_rung()).await;
    let fixture = fixture.restarted().await;
    assert!(fixture.store.orphans(NOW).await.expect("a readable queue").is_empty());
    let candidate = fixture.next().await.expect("queued again");
    assert_eq!((candidate.history.out_of_memory.len(), candidate.history.deaths), (1, 0));
}

#[tokio::test]
async fn a_failed_render_says_why() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    assert_eq!(fixture.end(attempt, fail()).await, Guarded::Changed);
    let why = "SELECT concat_ws(' | ', state, error_code, error, path) FROM history";
    assert_eq!(fixture.rows(why).await, ["failed | bad_picture | the picture is black"]);
}

#[tokio::test]
async fn a_name_whose_picture_the_user_took_away_can_be_used_again() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a", "b"])).await;
    for _ in 0..2 {
        let (_, attempt) = fixture.begin().await;
        assert_eq!(fixture.finish(attempt).await, Guarded::Changed);
    }
}

#[tokio::test]
async fn attempts_tell_the_planner_what_they_needed() {
    let fixture = Fixture::new().await;
    fixture.store.worker_loaded(&super::views::worker(), NOW).await.expect("a writable queue");
    fixture.accept(job(&["a", "b"])).await;
    let (render, first) = fixture.begin().await;
    let _ = fixture.end(first, lower_rung()).await;
    let again = fixture
        .store
        .begin_attempt(render, &Planned { predicted: None, ..planned(768, 8) }, "a.png", NOW)
        .await
        .expect("a queue");
    let _ = fixture.finish(again.expect("between two attempts")).await;
    let (_, second) = fixture.begin().await;
    let _ = fixture.finish(second).await;
    let evidence = async |model, device| {
        fixture.store.evidence(model, device).await.expect("a readable queue")
    };
    // The newest first; what was not predicted is no evidence.
    let told = evidence("beef", "cpu").await;
    let failed: Vec<_> = told.iter().map(|evidence| evidence.out_of_memory).collect();
    assert_eq!(failed, [None, Some((Stage::VaeDecode, 1 << 30))]);
    assert!(told.iter().all(|evidence| evidence.predicted.peak_bytes() == 20 && evidence.rung == rung(1024, 8)));
    assert_eq!(told[0].measured.peak_bytes(), 30);
    assert!(
        evidence("another model", "cpu").await.is_empty()
            && evidence("beef", "a card").await.is_empty()
    );
    let seen = fixture
        .store
        .seen_on(&rung(1024, 8), "tiny", false)
        .await
        .expect("a readable queue")
        .expect("a picture");
    assert_eq!((seen.times_ms.as_slice(), seen.device.as_str()), (&[2000.0][..], "cpu"));
    for (side, model, is_guided) in
        [(512, "tiny", false), (1024, "another model", false), (1024, "tiny", true)]
    {
        let none = fixture.store.seen_on(&rung(side, 8), model, is_guided).await;
        assert_eq!(none.expect("a readable queue"), None);
    }
}
