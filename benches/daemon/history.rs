//! What is asked of the queue all the time, with a history of a million renders and with one that
//! just fills a list: it may take twice as long at the most.

use std::fs::File;
use std::time::Instant;

use super::support::{House, database};
use super::{gaps_ms, now_ms};

/// The job whose rows are copied has so many renders.
const OF_JOB: usize = 10;

/// Copies of it: as many jobs as a list shows, and a million renders.
const FEW: usize = 100;
const COPIES: usize = 100_000;

/// So often each thing is asked, and one more time before, which does not count.
const ASKED: usize = 30;

/// So often the daemon is started. The first time, which does not count, it reads from the disk.
const STARTS: usize = 5;

/// A long history may cost so many times the time of a short one.
const RATIO_MAX: f64 = 2.0;

/// What is asked over HTTP: what `status` and `list` answer, the pages as they open, and what
/// Prometheus asks every few seconds.
const QUESTIONS: [(&str, &str); 8] = [
    ("status", "/api/v1/status"),
    ("list", "/api/v1/jobs"),
    ("list of pictures", "/api/v1/renders"),
    ("page of a new job", "/"),
    ("page of the queue", "/queue"),
    ("page of pictures", "/gallery"),
    ("page of memory", "/memory"),
    ("metrics", "/metrics"),
];

pub fn history() {
    let short = figures(FEW);
    let long = figures(COPIES);
    for ((what, short_ms), (_, long_ms)) in short.iter().zip(&long) {
        let ratio = long_ms / short_ms;
        println!(
            "{what}: {short_ms:.2} ms after {} renders, {long_ms:.2} ms after {}: {ratio:.2} times \
             (limit {RATIO_MAX})",
            FEW * OF_JOB,
            COPIES * OF_JOB
        );
    }
}

/// The median milliseconds of everything, after so many copies of a job.
fn figures(copies: usize) -> Vec<(&'static str, f64)> {
    let mut house = House::started("");
    let job =
        format!("prompt = 'a fox'\nsteps = 1\nseed = 1\ntags = ['a']\nnum_images = {OF_JOB}\n");
    house.drop_job("mold.toml", &job);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", &OF_JOB.to_string());
    house.stop("TERM");
    copy_rows(&house, copies);
    flush(&house);
    let started_ms = median((0..=STARTS).map(|_| start(&mut house)));
    house.start();
    house.worker_pid();
    let asked =
        QUESTIONS.map(|(what, path)| (what, median((0..=ASKED).map(|_| ask(&house, path)))));
    let gaps = gaps_ms(&house, copies + 1);
    let claim = gaps.iter().sum::<i64>() as f64 / gaps.len() as f64;
    [("start", started_ms), ("claim, with all that lies between two renders", claim)]
        .into_iter()
        .chain(asked)
        .collect()
}

/// The copied rows reach the disk before the start is timed, which would wait for them.
fn flush(house: &House) {
    let file = File::open(house.path("state/zimaged.sqlite")).expect("the database");
    file.sync_all().expect("a disk");
}

/// The milliseconds until it answers over HTTP; it is stopped again.
fn start(house: &mut House) -> f64 {
    let began = Instant::now();
    house.start();
    house.until("an answer", || (house.get("/api/v1/status").status == 200).then_some(()));
    let started_ms = began.elapsed().as_secs_f64() * 1000.0;
    house.stop("TERM");
    started_ms
}

fn ask(house: &House, path: &str) -> f64 {
    let began = Instant::now();
    assert_eq!(house.get(path).status, 200, "{path}");
    began.elapsed().as_secs_f64() * 1000.0
}

/// Of all but the first.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.skip(1).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A table, what the ids of its copied rows are, and what else of them is another: by column.
type CopiedTable<'a> = (&'a str, &'a str, Vec<(&'a str, String)>);

/// The first job with its renders, their attempts and events, so many times, as far back as a
/// picture a second goes.
fn copy_rows(house: &House, copies: usize) {
    let began = Instant::now();
    let past_ms = now_ms() - (copies * OF_JOB) as i64 * 1000;
    let at = |column: &str| format!("{past_ms} + n * {OF_JOB} * 1000 + {column} % 1000");
    let per_render = format!("+ n * {OF_JOB}");
    let tables: [CopiedTable; 4] = [
        (
            "jobs",
            "id + n",
            vec![
                ("drop_id", "printf('%032x', n)".to_owned()),
                ("accepted_at_ms", at("accepted_at_ms")),
            ],
        ),
        (
            "renders",
            &format!("id {per_render}"),
            vec![("job_id", "job_id + n".to_owned()), ("finished_at_ms", at("finished_at_ms"))],
        ),
        (
            "attempts",
            &format!("id {per_render}"),
            vec![
                ("render_id", format!("render_id {per_render}")),
                ("path", "n || '-' || path".to_owned()),
                ("started_at_ms", at("started_at_ms")),
                ("ended_at_ms", at("ended_at_ms")),
            ],
        ),
        (
            "events",
            "NULL",
            vec![
                ("job_id", "job_id + n".to_owned()),
                ("render_id", format!("render_id {per_render}")),
                ("attempt_id", format!("attempt_id {per_render}")),
                ("at_ms", at("at_ms")),
            ],
        ),
    ];
    for (table, id, changed) in tables {
        copy_table(house, table, id, &changed, copies);
    }
    println!("{copies} copies of a job made in {:.0} s", began.elapsed().as_secs_f64());
}

fn copy_table(house: &House, table: &str, id: &str, changed: &[(&str, String)], copies: usize) {
    let columns = house.rows(&format!("SELECT name FROM pragma_table_info('{table}')")).concat();
    let value = |column: &String| match column.as_str() {
        "id" => id.to_owned(),
        column => {
            let changed = changed.iter().find(|(name, _)| *name == column);
            changed.map_or(format!("{table}.{column}"), |(_, value)| value.clone())
        }
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    // Those that are there before: a table that is read while it is written may grow for ever.
    let last = house.value(&format!("SELECT max(id) FROM {table}"));
    database::execute(
        &house.path("state/zimaged.sqlite"),
        &format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {copies}) \
             INSERT INTO {table} ({}) SELECT {} FROM n CROSS JOIN {table} WHERE id <= {last}",
            columns.join(", "),
            values.join(", ")
        ),
    );
}
