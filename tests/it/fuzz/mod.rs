//! What others write, broken: examples that are kept, and random changes to them, thrown at
//! whatever reads it. No input may stop the program, take it long, take much memory, or be refused
//! without a word.
//!
//! `ZIMAGED_FUZZ_S` is how many seconds each target has, `ZIMAGED_FUZZ_SEED` repeats a run. An
//! input that fails is kept in `target/fuzz`; once mended it belongs into
//! `tests/data/fuzz/TARGET/`, which every run begins with.

mod http;
mod meter;
mod mutate;
mod pictures;
mod protocol;
mod texts;
mod weights;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use self::mutate::{Dice, mutated};

/// Seconds for each target where nothing else is asked for.
const BUDGET_S: u64 = 2;

/// One input takes milliseconds; this long only if it takes for ever, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest message that may be told of one input.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Something that reads what others write.
struct Target {
    name: &'static str,
    /// Good examples, and bad ones.
    corpus: Vec<Vec<u8>>,
    /// Pieces that mean something to it.
    words: &'static [&'static str],
    /// The most that one input may take of the heap.
    heap_bytes_max: usize,
}

/// What was done with an input: taken, or refused with words for people.
type Fate = Result<(), String>;

impl Target {
    /// Throws inputs at `take` until the time is over. Panics with the seed at the first that is
    /// not dealt with as it should be.
    fn run(self, take: impl Fn(&[u8]) -> Fate + Send + 'static) {
        let seed = seed();
        let (name, heap_bytes_max) = (self.name, self.heap_bytes_max);
        let (sender, inputs) = mpsc::channel::<Vec<u8>>();
        let (answer, answers) = mpsc::channel::<Option<String>>();
        thread::spawn(move || {
            for input in inputs {
                if answer.send(complaint(&take, &input, heap_bytes_max)).is_err() {
                    return;
                }
            }
        });
        let fails = |input: &[u8], why: &str| {
            let kept = keep(name, seed, input);
            panic!("{name}, ZIMAGED_FUZZ_SEED={seed}: {why}; the input is {}", kept.display());
        };
        let mut count = 0;
        for input in self.inputs(seed) {
            sender.send(input.clone()).expect("the thread waits for inputs");
            match answers.recv_timeout(PATIENCE) {
                Ok(None) => count += 1,
                Ok(Some(why)) => fails(&input, &why),
                Err(RecvTimeoutError::Timeout) => fails(&input, "it takes for ever"),
                Err(RecvTimeoutError::Disconnected) => fails(&input, "the thread is gone"),
            }
        }
        println!("{name}: {count} inputs, seed {seed}");
    }

    /// What is kept, then changes of it until the time is over.
    fn inputs(mut self, seed: u64) -> impl Iterator<Item = Vec<u8>> {
        self.corpus.extend(kept(self.name));
        assert!(!self.corpus.is_empty(), "{} has no example", self.name);
        let (mut dice, deadline) = (Dice::new(seed), Instant::now() + budget());
        let mut first = self.corpus.clone().into_iter();
        std::iter::from_fn(move || {
            first.next().or_else(|| {
                let is_over = Instant::now() >= deadline;
                (!is_over).then(|| mutated(&mut dice, &self.corpus, self.words))
            })
        })
    }
}

/// What is wrong with how `take` dealt with the input, if anything.
fn complaint(take: &impl Fn(&[u8]) -> Fate, input: &[u8], heap_bytes_max: usize) -> Option<String> {
    let (taken, bytes) = meter::measured(|| catch_unwind(AssertUnwindSafe(|| take(input))));
    let told = match taken {
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            return Some(format!("panicked: {}", words.unwrap_or_default()));
        }
        Ok(_) if bytes > heap_bytes_max => return Some(format!("took {bytes} bytes")),
        Ok(Ok(())) => return None,
        Ok(Err(told)) => told,
    };
    let is_raw = |character: char| character.is_control() && character != '\n';
    if told.trim().is_empty() {
        Some("refused without a word".to_owned())
    } else if told.len() > MESSAGE_BYTES_MAX {
        Some(format!("refused with {} bytes", told.len()))
    } else if told.contains(is_raw) {
        Some(format!("told with raw control characters: {told:?}"))
    } else {
        None
    }
}

/// The usual runs are the same each time; longer ones look for something new.
fn seed() -> u64 {
    if let Ok(seed) = std::env::var("ZIMAGED_FUZZ_SEED") {
        return seed.parse().expect("ZIMAGED_FUZZ_SEED is a number");
    }
    if std::env::var_os("ZIMAGED_FUZZ_S").is_none() {
        return 1;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    now.as_nanos() as u64
}

fn budget() -> Duration {
    let seconds = std::env::var("ZIMAGED_FUZZ_S");
    let seconds = seconds.map(|text| text.parse().expect("ZIMAGED_FUZZ_S is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(BUDGET_S))
}

fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(name);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

fn keep(name: &str, seed: u64, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    fs::create_dir_all(&folder).expect("a writable target folder");
    let path = folder.join(format!("{name}-{seed}"));
    fs::write(&path, input).expect("a writable target folder");
    path
}

/// A file of the repository, for corpora.
fn example(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the repository")
}

#[test]
fn an_input_that_panics_is_greedy_mute_or_raw_is_noticed() {
    let complaint = |take: fn(&[u8]) -> Fate| complaint(&take, b"x", 1 << 20).unwrap_or_default();
    assert_eq!(complaint(|_| Ok(())), "");
    assert_eq!(complaint(|_| Err("line 1: no number".to_owned())), "");
    assert!(complaint(|_| panic!("no")).contains("panicked: no"));
    assert!(complaint(|_| Err(" ".to_owned())).contains("without a word"));
    assert!(complaint(|_| Err("\u{1b}[31m".to_owned())).contains("raw control"));
    let greedy = |_: &[u8]| {
        drop(std::hint::black_box(vec![1_u8; 2 << 20]));
        Ok(())
    };
    assert!(complaint(greedy).contains("took 2"));
}
