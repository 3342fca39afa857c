//! Sums over the whole history, that are kept while it happens.

use zimaged::internals::{Forgettable, Metric, PICTURE_MS, RATIOS, STAGE_MS, Selection};

use super::*;

/// What is kept, a line for each total; its sum is left out.
const KEPT: &str =
    "SELECT concat_ws(' ', metric, label, stage, bucket, number) FROM totals ORDER BY 1";

/// The same, counted in the rows.
const COUNTED: &str = "SELECT concat_ws(' ', metric, label, stage, bucket, number) FROM \
    (SELECT metric, label, stage, bucket, count(*) AS number FROM attempt_values GROUP BY 1, 2, 3, 4 \
    UNION ALL SELECT 'renders', state, '', 0, count(*) FROM renders \
    WHERE state IN ('done', 'failed', 'cancelled') GROUP BY state) ORDER BY 1";

/// A picture at the second try, one that failed, and one that was cancelled.
async fn some_history() -> Fixture {
    let fixture = Fixture::new().await;
    let first = fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, Next::Requeue).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.finish(attempt).await;
    fixture.accept(job(&["b"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.end(attempt, fail()).await;
    let last = fixture.accept(job(&["c"])).await;
    let cancelled = fixture.store.cancel(&[Selection::Job(last)], NOW).await;
    assert_eq!((first, cancelled.expect("a writable queue").cancelled), (1, 1));
    fixture
}

#[tokio::test]
async fn totals_are_those_of_the_rows() {
    let fixture = some_history().await;
    let kept = fixture.rows(KEPT).await;
    assert_eq!(kept, fixture.rows(COUNTED).await);
    for total in [
        "attempts done none 0 1",
        "attempts failed vae_decode 0 1",
        "attempts interrupted vae_decode 0 1",
        "render_ms 1024  2 1",
        "stage_ms  denoise 4 1",
        "predicted_ratio   7 1",
        "renders cancelled  0 1",
        "renders done  0 1",
        "renders failed  0 1",
    ] {
        assert!(kept.iter().any(|line| line == total), "{total}: {kept:#?}");
    }
    let denoised = fixture.store.totals(Metric::StageMs).await.expect("a readable queue");
    let denoised = denoised.iter().find(|total| total.stage == "denoise").expect("one");
    assert_eq!((denoised.number, denoised.sum), (1, 1500.0));
}

/// What Prometheus counts only grows.
#[tokio::test]
async fn totals_stay_when_the_history_is_forgotten() {
    let fixture = some_history().await;
    let before = fixture.rows(KEPT).await;
    let all = Forgettable { before_ms: NOW + 10_000, with_starred: true };
    for job_id in fixture.store.old_jobs(all, 0, 9).await.expect("a readable queue") {
        fixture.store.forget_job(job_id, all).await.expect("a writable queue");
    }
    assert_eq!(fixture.rows("SELECT CAST(count(*) AS TEXT) FROM attempts").await, ["0"]);
    assert_eq!(fixture.rows(KEPT).await, before);
}

#[tokio::test]
async fn bounds_are_those_by_which_attempts_are_counted() {
    let fixture = Fixture::new().await;
    fixture.accept(job(&["a"])).await;
    let (_, attempt) = fixture.begin().await;
    let _ = fixture.finish(attempt).await;
    let mut other = fixture.other().await;
    let mut place_of = async |metric: Metric, column: &str, value: f64| {
        let sql = format!("UPDATE attempts SET predicted_bytes = 100000, {column} = ?");
        let update = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value as i64);
        update.execute(&mut other).await.expect("a number");
        let sql = "SELECT bucket FROM attempt_values WHERE metric = ? AND stage IN ('', 'denoise')";
        let place = sqlx::query_scalar(sql).bind(metric.to_string());
        let place: i64 = place.fetch_one(&mut other).await.expect("a picture");
        place as usize
    };
    let bounds =
        [(Metric::RenderMs, "total_ms", PICTURE_MS), (Metric::StageMs, "denoise_ms", STAGE_MS)];
    for (metric, column, bounds_ms) in bounds {
        for (place, bound_ms) in bounds_ms.into_iter().enumerate() {
            let found = place_of(metric, column, bound_ms as f64).await;
            assert_eq!(found, place, "{metric}: {bound_ms} ms");
            let found = place_of(metric, column, bound_ms as f64 + 1.0).await;
            assert_eq!(found, place + 1, "{metric}: above {bound_ms} ms");
        }
    }
    for (place, bound) in RATIOS.into_iter().enumerate() {
        let bytes = (bound * 100_000.0).round();
        let metric = Metric::PredictedRatio;
        assert_eq!(place_of(metric, "denoise_bytes", bytes).await, place, "{bound}");
        assert_eq!(place_of(metric, "denoise_bytes", bytes + 1.0).await, place + 1, "{bound}");
    }
}
