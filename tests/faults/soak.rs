//! I12: nothing grows, however many renders are made, with faults in between.
//!
//! `FAULTS_SOAK` is how many scripted renders are made; a hundredth as many are the miniature's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::asking::ask;
use crate::house::Harried;
use crate::record;

/// What is looked at, by how much it may differ between the second quarter of a run and the last,
/// and the unit of that.
const GAUGES: [(&str, i64, &str); 10] = [
    ("descriptors of the daemon", 2, ""),
    ("threads of the daemon", 3, ""),
    ("memory of the daemon", 6 << 10, " KiB"),
    ("descriptors of the worker", 2, ""),
    ("threads of the worker", 2, ""),
    ("memory of the worker", 8 << 10, " KiB"),
    ("the database's log", 5 << 10, " KiB"),
    ("the database, for each render", 512, " bytes"),
    ("the log, for each render", 256, " bytes"),
    ("the state folder, but for the database and what is kept within bounds", 512, " KiB"),
];

/// The gauges after so many renders.
struct Sample {
    renders: u64,
    values: [i64; GAUGES.len()],
}

fn count(folder: &str) -> i64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as i64)
}

fn bytes(path: &Path) -> i64 {
    let Ok(facts) = path.symlink_metadata() else { return 0 };
    match facts.is_dir() {
        true => fs::read_dir(path)
            .map_or(0, |entries| entries.flatten().map(|entry| bytes(&entry.path())).sum()),
        false => facts.len() as i64,
    }
}

/// Descriptors, threads and resident KiB of a process.
fn of_process(pid: u32) -> [i64; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let resident = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    [count(&format!("/proc/{pid}/fd")), count(&format!("/proc/{pid}/task")), resident]
}

impl Sample {
    fn of(it: &Harried, renders: u64) -> Sample {
        let of = |name: &str| bytes(&it.house.path(name));
        let [database, log] = ["state/zimaged.sqlite", "state/zimaged.sqlite-wal"].map(of);
        // Small copies and texts that are kept: each folder has a bound, and its own test.
        let kept = of("state/thumbnails") + of("state/embeddings");
        let rest = of("state") - database - log - kept;
        let [fds, threads, memory] = of_process(it.pid());
        let worker = it.worker().expect("it has made the last picture").cast_unsigned();
        let [worker_fds, worker_threads, worker_memory] = of_process(worker);
        let made = renders.cast_signed();
        let values = [
            fds,
            threads,
            memory,
            worker_fds,
            worker_threads,
            worker_memory,
            log >> 10,
            database / made,
            of("log") / made,
            rest >> 10,
        ];
        Sample { renders, values }
    }
}

/// What grew in this run, for people; and one line on each gauge.
fn judged(samples: &[Sample]) -> (Vec<String>, Vec<String>) {
    let (mut grown, mut told) = (Vec::new(), Vec::new());
    for (at, (name, allowed, unit)) in GAUGES.into_iter().enumerate() {
        let values: Vec<i64> = samples.iter().map(|sample| sample.values[at]).collect();
        let quarter = values.len() / 4;
        let before = median(&values[quarter..2 * quarter]);
        let after = median(&values[values.len() - quarter..]);
        let slope = slope(&samples[samples.len() / 2..], at);
        let line = format!("{name}: {before}, later {after}{unit}; {slope:+.1} in 1,000 renders");
        if after - before > allowed {
            grown.push(line.clone());
        }
        told.push(line);
    }
    (grown, told)
}

fn median(values: &[i64]) -> i64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

/// By least squares, for 1,000 renders.
fn slope(samples: &[Sample], at: usize) -> f64 {
    let points = samples.iter().map(|it| (it.renders as f64, it.values[at] as f64));
    let n = samples.len() as f64;
    let (x, y) = points.clone().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / n, y / n);
    let along: f64 = points.clone().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let across: f64 = points.map(|point| (point.0 - x).powi(2)).sum();
    1000.0 * along / across.max(1.0)
}

/// How many scripted renders; else what a run of all tests has time for.
fn renders() -> u64 {
    let given = std::env::var("FAULTS_SOAK").ok().and_then(|renders| renders.parse().ok());
    given.unwrap_or(320)
}

const MANY_DEATHS: &str = "deaths_max = 100\nattempts_max = 1000\n";

/// At one of so many samples the worker is killed in the middle of the work.
const KILLED_EVERY: u64 = 3;

/// Makes so many renders in so many pieces, each with its faults.
fn soak(name: &str, mut it: Harried, prompt: &str, renders: u64, pieces: u64) {
    // As many heaps on every machine: else each of many processors' threads fills one of its own.
    it.environment.push(("MALLOC_ARENA_MAX", "2".into()));
    it.settle();
    let of_piece = renders / pieces;
    let samples: Vec<Sample> = (1..=pieces)
        .map(|piece| {
            let job = format!("prompt = '{prompt}'\n{SMALL}num_images = {of_piece}\n");
            it.drop_file(&job, of_piece);
            it.drop_file(OUT_OF_MEMORY, 1);
            it.drop_file("steps = 'many'\n", 0);
            it.request(1);
            if piece.is_multiple_of(KILLED_EVERY) {
                std::thread::sleep(Duration::from_millis(100));
                it.kill_worker();
                // A fast machine has made all of them by then: this wants another worker.
                it.request(1);
            }
            it.until_settled();
            for page in ["GET /", "GET /gallery", "GET /api/v1/status"] {
                assert!(ask(&it.house, page, &[], b"").is_some(), "{page}");
            }
            Sample::of(&it, piece * (of_piece + 2))
        })
        .collect();
    let (grown, told) = judged(&samples);
    println!("{name}:\n  {}", told.join("\n  "));
    assert!(grown.is_empty(), "{name} grows: {grown:#?}");
    it.assert_holds();
    let expected = "descriptors, threads, memory, the database's log, the log and the state folder do not grow";
    record::note(name, expected, samples.last().unwrap().renders, &told.join("; "));
}

/// A picture that runs out of memory as it was asked for, and is made smaller; to the miniature it
/// is one as any other.
const OUT_OF_MEMORY: &str =
    "prompt = 'oom above 64 px'\nwidth = 128\nheight = 128\nmin_side = 64\n";

const SMALL: &str = "width = 64\nheight = 64\nmin_side = 64\n";

#[test]
fn nothing_grows_over_many_renders() {
    let pieces = 16.max(renders() / 50);
    soak("a soak of scripted renders", Harried::new(MANY_DEATHS), "a fox", renders(), pieces);
}

#[test]
fn nothing_grows_over_many_real_pictures() {
    let pieces = 4.max(renders() / 400);
    let house = crate::miniature::house(MANY_DEATHS);
    soak("a soak of real pictures", house, "a red circle", pieces.max(renders() / 100), pieces);
}
