//! The queue's own speed, with the scripted engine: how long a drop waits, what lies between two
//! renders, alone and while many clients follow what happens, how fast a flood of files and a list
//! of prompts are taken in, and what a long history costs. Prints one line a figure; `cargo bench
//! --bench daemon`, or with `-- beside_clients` one of them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

#[path = "daemon/history.rs"]
mod history;

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

/// Clients that follow what happens, or try to: a daemon has room for fewer.
const FOLLOWERS: usize = 200;

/// Renders of a job whose gaps are counted, and how often that is done alone and beside clients.
const GAPS: usize = 200;
const ROUNDS: usize = 5;

const BENCHMARKS: [(&str, fn()); 7] = [
    ("drop_to_start", drop_to_start),
    ("between_renders", between_renders),
    ("between_pictures", between_pictures),
    ("beside_clients", beside_clients),
    ("flood", flood),
    ("submit", submit),
    ("history", history::history),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_named = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo test --benches` builds and starts benchmarks too; it does not pass this.
    if !is_named("--bench") {
        return;
    }
    let is_any_named = BENCHMARKS.iter().any(|(name, _)| is_named(name));
    for (name, run) in BENCHMARKS {
        if !is_any_named || is_named(name) {
            run();
        }
    }
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

/// The same gap alone, and while many clients follow the events and one reads a byte a second of
/// all pictures: in turns, so that both meet the same machine.
fn beside_clients() {
    let house = House::started("");
    house.worker_pid();
    let (mut alone, mut beside, mut followed) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        alone.extend(gaps_ms(&house, 2 * round));
        let (is_over, following) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..FOLLOWERS {
                scope.spawn(|| follow(&house, &is_over, &following));
            }
            scope.spawn(|| read_slowly(&house, &is_over));
            house.until("some follow", || (following.load(Ordering::Relaxed) > 0).then_some(()));
            beside.extend(gaps_ms(&house, 2 * round + 1));
            followed = followed.max(following.load(Ordering::Relaxed));
            is_over.store(true, Ordering::Relaxed);
        });
    }
    let [alone, beside] = [alone, beside].map(middle_mean);
    println!(
        "one render's end to the next one's start, middle half of {}: alone {alone:.2} ms, beside \
         {FOLLOWERS} clients of which {followed} follow at once and one that reads a byte a second \
         {beside:.2} ms: {:+.2} ms (limit 1 ms)",
        ROUNDS * (GAPS - 1),
        beside - alone
    );
}

/// The mean of the middle half: a machine that does much else makes some of them long, and the
/// median of whole milliseconds tells no tenths.
fn middle_mean(mut values: Vec<i64>) -> f64 {
    values.sort_unstable();
    let middle = &values[values.len() / 4..values.len() * 3 / 4];
    middle.iter().sum::<i64>() as f64 / middle.len() as f64
}

/// What lies between the renders of one more job; `jobs` were there before.
fn gaps_ms(house: &House, jobs: usize) -> Vec<i64> {
    let text = format!("prompt = 'a fox'\nsteps = 1\nseed = 1\nnum_images = {GAPS}\n");
    house.drop_job(&format!("many{jobs}.toml"), &text);
    let done =
        format!("SELECT count(*) FROM renders WHERE state = 'done' AND job_id = {}", jobs + 1);
    house.until_sql(&done, &GAPS.to_string());
    let rows = house.rows(&format!(
        "SELECT lead(a.started_at_ms) OVER (ORDER BY a.id) - a.started_at_ms - a.total_ms \
         FROM attempts a JOIN renders r ON r.id = a.render_id WHERE r.job_id = {} \
         ORDER BY a.id LIMIT {}",
        jobs + 1,
        GAPS - 1
    ));
    rows.iter().map(|row| row[0].parse().expect("a number")).collect()
}

fn asked(house: &House, path: &str) -> TcpStream {
    let mut stream = house.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", house.http());
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    stream
}

/// Reads events as they come, and tries again a second after it was refused.
fn follow(house: &House, is_over: &AtomicBool, following: &AtomicUsize) {
    let mut piece = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = asked(house, "/api/v1/events");
        let is_let_in = stream.read(&mut piece).is_ok() && piece.starts_with(b"HTTP/1.1 200");
        if !is_let_in {
            thread::sleep(Duration::from_secs(1));
            continue;
        }
        following.fetch_add(1, Ordering::Relaxed);
        while !is_over.load(Ordering::Relaxed) {
            // Nothing for a while is an error, too.
            if stream.read(&mut piece).is_ok_and(|read| read == 0) {
                break;
            }
        }
        following.fetch_sub(1, Ordering::Relaxed);
    }
}

fn read_slowly(house: &House, is_over: &AtomicBool) {
    let mut stream = asked(house, "/api/v1/pictures.zip");
    while !is_over.load(Ordering::Relaxed) {
        let _ = stream.read(&mut [0]);
        thread::sleep(Duration::from_secs(1));
    }
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
