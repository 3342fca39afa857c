//! The database is not ours alone: rows are deleted by hand (case A).

use zimaged::internals::{Repeat, Selection};

use super::*;

impl Fixture {
    /// Does `sql` as the `sqlite3` shell does: foreign keys are off there.
    async fn by_hand(&self, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.path()).foreign_keys(false);
        let mut shell = options.connect().await.expect("our own database");
        sqlx::query(sql).execute(&mut shell).await.expect(sql);
    }

    async fn count(&self, sql: &'static str) -> String {
        self.rows(sql).await.join(" ")
    }
}

const COUNTS: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM jobs), (SELECT count(*) FROM renders), \
                      (SELECT count(*) FROM attempts))";

#[tokio::test]
async fn a_history_cleared_by_hand_is_cleared_whole_and_no_id_is_given_again() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (render, attempt) = fixture.begin().await;
    let _ = fixture.finish(attempt).await;
    fixture.by_hand("DELETE FROM jobs").await;
    assert_eq!(fixture.count(COUNTS).await, "0 0 0");
    assert_eq!(fixture.accept(job(&["b"])).await, 2);
    let (next_render, next_attempt) = fixture.begin().await;
    assert!(next_render > render && next_attempt > attempt, "{next_render} {next_attempt}");
}

#[tokio::test]
async fn ids_of_a_history_cleared_before_the_upgrade_are_not_given_again_either() {
    let fixture = Fixture::new().await;
    fixture.store.raise_ids(41, 97).await.expect("a writable queue");
    fixture.store.raise_ids(3, 3).await.expect("a writable queue");
    assert_eq!(fixture.accept(job(&["a"])).await, 42);
    assert_eq!(fixture.begin().await.0, 98);
    fixture.by_hand("DELETE FROM sqlite_sequence").await;
    fixture.store.raise_ids(50, 100).await.expect("a writable queue");
    assert_eq!(fixture.accept(job(&["b"])).await, 51);
}

#[tokio::test]
async fn a_render_without_a_job_is_passed_over_and_told_once() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a", "b"])).await;
    fixture.by_hand("DELETE FROM jobs").await;
    assert!(fixture.next().await.is_none());
    assert!(fixture.store.is_idle(&[""]).await.expect("a readable queue"), "nothing to wait for");
    let told = fixture.store.remove_strays(NOW).await.expect("a writable queue");
    assert_eq!((told.len(), told[0].job_id, told[0].renders), (1, 1, 2));
    assert!(fixture.store.remove_strays(NOW).await.expect("a writable queue").is_empty());
    assert_eq!(fixture.count(COUNTS).await, "0 0 0");
    let log = "SELECT concat_ws(' ', kind, job_id) FROM events WHERE kind = 'removed'";
    assert_eq!(fixture.rows(log).await, ["removed 1"]);
}

#[tokio::test]
async fn a_render_whose_rows_vanish_while_it_runs_is_stopped_and_blocks_nobody() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a", "b"])).await;
    let (render, attempt) = fixture.begin().await;
    fixture.by_hand("DELETE FROM jobs").await;
    let planned = planned(1024, 8);
    let begun = fixture.store.begin_attempt(2, &planned, "b.png", NOW).await;
    assert_eq!(begun.expect("a writable queue"), None, "its job is gone");
    fixture.by_hand("DELETE FROM renders").await;
    assert!(fixture.store.cancel_wanted(render).await.expect("a readable queue"));
    assert_eq!(fixture.end(attempt, Next::Cancel).await, Guarded::Stale);
    assert!(fixture.store.is_idle(&[""]).await.expect("a readable queue"));
}

#[tokio::test]
async fn the_attempt_that_runs_is_not_deleted_alone() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let deleted = sqlx::query("DELETE FROM attempts").execute(&mut fixture.other().await).await;
    assert!(deleted.expect_err("it runs").to_string().contains("zimaged cancel"));
    assert_eq!(fixture.finish(attempt).await, Guarded::Changed);
}

#[tokio::test]
async fn a_job_whose_origin_was_deleted_can_be_shown_and_retried() {
    let fixture = Fixture::new().await;
    let origin = fixture.accept(job(&["a"])).await;
    fixture.store.cancel(&[Selection::Job(origin)], NOW).await.expect("a writable queue");
    let retried = fixture
        .store
        .retry(Selection::Job(origin), Repeat::NotMade, NOW)
        .await
        .expect("cancelled")
        .job;
    fixture.by_hand("DELETE FROM jobs WHERE id = 1").await;
    fixture.store.cancel(&[Selection::Job(retried)], NOW).await.expect("a writable queue");
    assert_eq!(fixture.store.job(retried).await.expect("a job").retry_of, Some(origin));
    assert_eq!(
        fixture
            .store
            .retry(Selection::Job(retried), Repeat::NotMade, NOW)
            .await
            .expect("a job")
            .job,
        3
    );
}
