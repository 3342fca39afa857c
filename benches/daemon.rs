//! The queue's own speed, with the scripted engine: how long a drop waits, what lies between two
//! renders, how fast a flood of files and a list of prompts are taken in. Prints one line a figure; `cargo bench --bench
//! daemon`.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use support::House;

/// Drops one after the other on an idle daemon.
const DROPS: usize = 50;

/// Renders of one job, back to back.
const RENDERS: usize = 500;

/// Pictures of a usual size, back to back.
const PICTURES: usize = 30;

/// Files moved into the folder at once.
const FLOOD: usize = 10_000;

/// Lines of one list of prompts.
const PROMPTS: usize = 10_000;

/// Commands that hand one job over, one after the other.
const SUBMITS: usize = 20;

fn main() {
    // `cargo test --benches` builds and starts benchmarks too; it does not pass this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    drop_to_start();
    between_renders();
    between_pictures();
    flood();
    submit();
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292,000,000")
}

/// From the rename into `jobs/` to the attempt's start.
fn drop_to_start() {
    let house = House::started("");
    house.worker_pid();
    let mut waits_ms = Vec::new();
    for index in 0..DROPS {
        let dropped_ms = now_ms();
        house.drop_job(&format!("fox{index}.toml"), "prompt = 'a fox'\nsteps = 1\n");
        house.until_sql(
            &format!(
                "SELECT count(*) FROM renders WHERE state = 'done' AND job_id = {}",
                index + 1
            ),
            "1",
        );
        let started = house.value("SELECT max(started_at_ms) FROM attempts");
        waits_ms.push(started.parse::<i64>().expect("a time") - dropped_ms);
    }
    report("drop to start, idle daemon", &mut waits_ms, 50);
}

/// From the end of a render in the worker to the start of the next one.
fn between_renders() {
    let house = House::started("");
    house.worker_pid();
    house.drop_job(
        "many.toml",
        &format!("prompt = 'a fox'\nsteps = 1\nseed = 1\nnum_images = {RENDERS}\n"),
    );
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", &RENDERS.to_string());
    let rows = house.rows(
        "SELECT lead(started_at_ms) OVER (ORDER BY id) - started_at_ms - total_ms FROM attempts ORDER BY id LIMIT 499",
    );
    let mut gaps_ms: Vec<i64> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    report("one render's end to the next one's start", &mut gaps_ms, 5);
}

/// What the device waits between two pictures of a usual size: all that is neither text, nor steps,
/// nor decode. The steps are long enough for a picture to be written beside them.
fn between_pictures() {
    let house = House::started("");
    house.worker_pid();
    let size = "width = 1024\nheight = 1024\nmin_steps = 2\nsteps = 2\n";
    let what = "prompt = 'steps of 250 ms'\nseed = 1";
    house.drop_job("many.toml", &format!("{what}\n{size}num_images = {PICTURES}\n"));
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", &PICTURES.to_string());
    let rows = house.rows(&format!(
        "SELECT lead(started_at_ms) OVER (ORDER BY id) - started_at_ms - text_encode_ms - denoise_ms \
         - vae_decode_ms FROM attempts ORDER BY id LIMIT {}",
        PICTURES - 1
    ));
    let mut gaps_ms: Vec<i64> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    report("the device's wait between two pictures of 1024x1024", &mut gaps_ms, 20);
}

/// All files taken in, their jobs in the database, their files moved.
fn flood() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    let elsewhere = house.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a writable folder");
    for index in 0..FLOOD {
        fs::write(elsewhere.join(format!("{index}.toml")), format!("prompt = 'fox {index}'\n"))
            .expect("room");
    }
    let started = Instant::now();
    for index in 0..FLOOD {
        let name = format!("{index}.toml");
        fs::rename(elsewhere.join(&name), house.path("jobs").join(&name))
            .expect("the same filesystem");
    }
    house.until("all are accepted", || {
        let left = fs::read_dir(house.path("jobs")).expect("the folder").flatten();
        (left
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "toml"))
            .count()
            == 0)
            .then_some(())
    });
    let took = started.elapsed();
    assert_eq!(house.value("SELECT count(*) FROM jobs"), FLOOD.to_string());
    verdict(&format!("{FLOOD} files accepted"), took, Duration::from_secs(10));
}

/// How long `submit` takes beside a daemon that runs: of one file, and of a long list of prompts.
fn submit() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("room");
    let timed = |arguments: &[&str]| {
        let started = Instant::now();
        let output = house.zimaged(arguments);
        assert!(output.status.success(), "{output:?}");
        started.elapsed()
    };
    let one = |_| i64::try_from(timed(&["submit", "fox.toml"]).as_millis()).expect("short");
    report("submit of one file", &mut (0..SUBMITS).map(one).collect::<Vec<_>>(), 50);
    let prompts: Vec<String> = (0..PROMPTS)
        .map(|number| format!("a fox with {number} spots, in a wood of birches at the first light"))
        .collect();
    fs::write(house.path("foxes.txt"), prompts.join("\n")).expect("room");
    let took = timed(&["submit", "--prompts", "foxes.txt"]);
    let renders = house.value("SELECT count(*) FROM renders");
    assert_eq!(renders, (SUBMITS + PROMPTS).to_string());
    verdict(&format!("submit of {PROMPTS} prompts"), took, Duration::from_secs(1));
}

fn report(what: &str, values_ms: &mut [i64], limit_ms: i64) {
    values_ms.sort_unstable();
    let at = |share: usize| values_ms[(values_ms.len() - 1) * share / 100];
    println!(
        "{what}: median {} ms, 95 % {} ms, most {} ms (limit {limit_ms} ms)",
        at(50),
        at(95),
        at(100)
    );
}

fn verdict(what: &str, took: Duration, limit: Duration) {
    println!("{what}: {:.2} s (limit {} s)", took.as_secs_f64(), limit.as_secs());
}
