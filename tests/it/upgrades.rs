//! A daemon of now on a queue of each earlier schema, with renders in all states.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

use crate::support::{House, said};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// A job in the words of the first schema: one render in each state, and what came of it.
const ROWS: &str = "
    INSERT INTO jobs (id, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, tags,
                      accepted_at_ms) VALUES (3, 'fox.toml', 'prompt', 1, 5, 7, 'ab', 2, '[]', 1);
    INSERT INTO renders (id, job_id, position, state, priority, run_after_ms, prompt, negative_prompt, width, height,
                         steps, guidance, seed, on_oom, min_side, min_steps, output, format, finished_at_ms,
                         error_code, error)
    VALUES (1, 3, 1, 'done', 0, 0, 'a', '', 64, 64, 1, 0, 1, 'fail', 16, 1, '', 'png', 8, NULL, NULL),
           (2, 3, 2, 'queued', 0, 0, 'b', '', 64, 64, 1, 0, 1, 'fail', 16, 1, '', 'png', NULL, NULL, NULL),
           (3, 3, 3, 'running', 0, 0, 'c', '', 64, 64, 1, 0, 1, 'fail', 16, 1, '', 'png', NULL, NULL, NULL),
           (4, 3, 4, 'failed', 0, 0, 'd', '', 64, 64, 1, 0, 1, 'fail', 16, 1, '', 'png', 8, 'crashed_worker', 'gone'),
           (5, 3, 5, 'cancelled', 0, 0, 'e', '', 64, 64, 1, 0, 1, 'fail', 16, 1, '', 'png', 8, NULL, NULL);
    INSERT INTO attempts (render_id, number, outcome, rung, rung_text, width, height, steps, path, queued_ms,
                          started_at_ms, ended_at_ms, sha256)
    VALUES (1, 1, 'done', 'RUNG', '', 64, 64, 1, 'a.png', 0, 1, 2, 'cd'),
           (3, 1, 'running', 'RUNG', '', 64, 64, 1, 'c.png', 0, 1, NULL, NULL),
           (4, 1, 'failed', 'RUNG', '', 64, 64, 1, 'd.png', 0, 1, 2, NULL);
";

/// How they were tried.
const RUNG: &str = r#"{"residency":"device","precision":"full","decode":"whole","width":64,
    "height":64,"steps":1}"#;

/// Makes a database of the schema `version`, whose rows have come through all schemas before it.
fn make(path: &Path, first: i64, version: i64) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.expect("a new database");
        let ours = sqlx::query("PRAGMA application_id = 0x7a696d67");
        ours.execute(&mut connection).await.expect("a new database");
        MIGRATIONS.run_to(first, &mut connection).await.expect("the first migration");
        let rows = sqlx::AssertSqlSafe(ROWS.replace("RUNG", RUNG));
        sqlx::raw_sql(rows).execute(&mut connection).await.expect("rows of that time");
        MIGRATIONS.run_to(version, &mut connection).await.expect("the migrations of that time");
        connection.close().await.expect("no other user");
    });
}

// faults 70
#[test]
fn a_queue_of_every_schema_goes_on_where_it_was() {
    let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    for &version in &versions {
        let house = House::new("");
        fs::create_dir(house.path("state")).expect("a writable folder");
        make(&house.path("state/zimaged.sqlite"), versions[0], version);
        let status = house.zimaged(&["status"]);
        let is_newest = Some(&version) == versions.last();
        assert!(is_newest || said(&status).contains("an older zimaged"), "{}", said(&status));
        let run = house.zimaged(&["run", "--until-idle"]);
        assert!(run.status.success(), "schema {version}: {}", said(&run));
        let states = house.rows("SELECT state FROM renders ORDER BY id").concat();
        assert_eq!(states, ["done", "done", "done", "failed", "cancelled"], "schema {version}");
        let names = house.rows("SELECT prompt FROM history WHERE state = 'done'").concat();
        assert_eq!(names.len(), 3, "schema {version}: {names:?}");
        assert_eq!(house.pictures().len(), 2, "schema {version}: what waited and what ran");
        let doctor = house.zimaged(&["doctor"]);
        assert!(doctor.status.success(), "schema {version}: {}", said(&doctor));
    }
}
