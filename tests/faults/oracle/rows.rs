//! Invariants of the database.

use std::collections::HashMap;

use super::{Daemon, Scene};
use crate::support::House;

/// I1.
pub fn every_job_is_whole(scene: &Scene) -> Vec<String> {
    let house = scene.house;
    let sql = "SELECT j.file_name, count(r.id), coalesce(max(r.position), 0) FROM jobs j \
               LEFT JOIN renders r ON r.job_id = j.id GROUP BY j.id";
    let mut wrong: Vec<String> = house
        .rows(sql)
        .iter()
        .filter(|row| row[1] == "0" || row[1] != row[2])
        .map(|row| format!("{} has {} renders of {}", row[0], row[1], row[2]))
        .collect();
    let known = requested(house);
    for asked in &scene.ledger.requests {
        let (jobs, pictures) = known.get(&asked.key).copied().unwrap_or_default();
        if asked.is_answered && jobs != 1 || jobs == 1 && pictures != asked.pictures {
            wrong.push(format!("{asked:?} has {jobs} rows and {pictures} renders"));
        }
    }
    let sql = "SELECT id, state FROM renders WHERE state NOT IN \
               ('queued', 'running', 'done', 'failed', 'cancelled') \
               OR state = 'failed' AND coalesce(error, '') = '' \
               OR state = 'done' AND NOT EXISTS (SELECT 1 FROM attempts a \
                  WHERE a.render_id = renders.id AND a.outcome = 'done')";
    wrong.extend(house.rows(sql).iter().map(|row| format!("render {} is {}", row[0], row[1])));
    wrong
}

/// How many jobs there are of each key, and how many renders they have.
fn requested(house: &House) -> HashMap<String, (u64, u64)> {
    let sql = "SELECT request_key, count(DISTINCT j.id), count(r.id) FROM jobs j \
               LEFT JOIN renders r ON r.job_id = j.id WHERE request_key IS NOT NULL GROUP BY 1";
    let number = |text: &String| text.parse().expect("a number");
    let rows = house.rows(sql).into_iter();
    rows.map(|row| (row[0].clone(), (number(&row[1]), number(&row[2])))).collect()
}

/// I2.
pub fn few_run(scene: &Scene) -> Vec<String> {
    let house = scene.house;
    let running = house.rows("SELECT render_id FROM attempts WHERE outcome = 'running'").len();
    let mut wrong = Vec::new();
    if running > 2 {
        wrong.push(format!("{running} attempts run"));
    }
    if scene.daemon == Daemon::Alive {
        let status = std::fs::read(house.path("state/status.json")).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
        let start = status["started_at_ms"].as_i64().unwrap_or(0);
        let sql = format!(
            "SELECT id FROM attempts WHERE outcome = 'running' AND started_at_ms < {start}"
        );
        wrong.extend(house.rows(&sql).iter().map(|row| format!("attempt {} is older", row[0])));
    }
    wrong
}

/// I7.
pub fn attempts_are_in_order(scene: &Scene) -> Vec<String> {
    let sql = "SELECT a.render_id, a.number FROM attempts a JOIN attempts b \
               ON b.render_id = a.render_id AND b.number = a.number + 1 \
               WHERE b.id < a.id OR b.width * b.height > a.width * a.height OR b.steps > a.steps \
               OR a.outcome IN ('done', 'failed', 'cancelled', 'running')";
    let mut wrong: Vec<String> = scene
        .house
        .rows(sql)
        .iter()
        .map(|row| format!("what comes after attempt {} of render {}", row[1], row[0]))
        .collect();
    let sql = "SELECT render_id FROM attempts GROUP BY render_id HAVING max(number) <> count(*)";
    wrong.extend(scene.house.rows(sql).iter().map(|row| format!("a gap in render {}", row[0])));
    let charged = scene.house.value("SELECT count(*) FROM attempts WHERE worker_died = 1");
    let deaths = scene.ledger.worker_deaths;
    if charged.parse::<u64>().unwrap_or(0) > deaths {
        wrong.push(format!("{charged} deaths are counted, and {deaths} workers died"));
    }
    wrong
}

/// I8.
pub fn the_database_is_sound(scene: &Scene) -> Vec<String> {
    let house = scene.house;
    let mut wrong = Vec::new();
    let check = house.value("PRAGMA quick_check");
    if check != "ok" {
        wrong.push(check);
    }
    for row in house.rows("PRAGMA foreign_key_check") {
        wrong.push(format!("a row of {} refers to none of {}", row[0], row[2]));
    }
    let known = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"));
    let known = known.expect("our own migrations").count();
    let schema = house.value("SELECT count(*) || ' ' || min(success) FROM _sqlx_migrations");
    if schema != format!("{known} 1") {
        wrong.push(format!("migrations: {schema}, of {known}"));
    }
    let wrong_totals = format!("{KEPT} EXCEPT {COUNTED}");
    let forgotten_totals = format!("{COUNTED} EXCEPT {KEPT}");
    for row in [wrong_totals, forgotten_totals].iter().flat_map(|sql| house.rows(sql)) {
        wrong.push(format!("a total that is not that of the rows: {}", row.join(" ")));
    }
    wrong
}

/// The sums of ratios depend on the order in which they were added.
const KEPT: &str = "SELECT metric, label, stage, bucket, number, \
                    CASE metric WHEN 'predicted_ratio' THEN 0.0 ELSE sum END FROM totals";

/// What they are where nothing was ever forgotten.
const COUNTED: &str = "SELECT * FROM (SELECT metric, label, stage, bucket, count(*), \
                       CASE metric WHEN 'predicted_ratio' THEN 0.0 ELSE sum(value) END \
                       FROM attempt_values GROUP BY metric, label, stage, bucket UNION ALL \
                       SELECT 'renders', state, '', 0, count(*), 0.0 FROM renders \
                       WHERE state IN ('done', 'failed', 'cancelled') GROUP BY state)";
