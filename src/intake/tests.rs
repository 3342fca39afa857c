//! The spool over real files, with the clock in the test's hand and a counter for a database.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::fs::{CWD, Dev, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::engine::fake;
use crate::store::Accepted;

const JOB: &str = "prompt = 'a cat'\n";

/// Longer than a file must be unchanged to be whole.
const STABLE_MS: u64 = 500;

/// The time of day does not matter to these files.
const NOW_MS: i64 = 0;

/// Longer than an unfit file may stay.
const GRACE_MS: u64 = 5000;

struct Bench {
    folder: TempDir,
    spool: Spool,
    wake: Arc<Notify>,
    start: Instant,
    job_id: i64,
}

/// What a scan did.
#[derive(Debug, Default, PartialEq)]
struct Done {
    accepted: Vec<String>,
    rejected: Vec<String>,
    waiting: usize,
}

/// What an empty configuration and the fake engine ask of a job.
fn rules() -> Rules {
    Config::parse("", Path::new("/")).unwrap().rules(&fake::description(), TimeZone::UTC).unwrap()
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|_| ())
    }

    /// With files that lie in `jobs/` before the start: nobody saw them come.
    fn with(before: impl FnOnce(&Path)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let jobs = folder.path().join("jobs");
        fs::create_dir(&jobs).unwrap();
        before(&jobs);
        let wake = Arc::new(Notify::new());
        let spool = Spool::open(jobs, rules(), wake.clone()).unwrap();
        Bench { folder, spool, wake, start: Instant::now(), job_id: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("jobs").join(name)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// One scan, so many milliseconds after the start.
    fn scan(&mut self, ms: u64) -> Done {
        let now = self.start + Duration::from_millis(ms);
        self.spool.survey(now).unwrap();
        let mut done = Done::default();
        while let Some(batch) = self.spool.next_batch(now, NOW_MS).unwrap() {
            done.accepted.extend(batch.jobs.iter().map(|job| job.name.clone()));
            done.rejected.extend(batch.unfit.iter().map(|unfit| unfit.file.name.clone()));
            let ids = batch.jobs.iter().map(|_| {
                self.job_id += 1;
                Accepted { job_id: self.job_id, fresh: true }
            });
            let ids = ids.collect();
            self.spool.put_away(batch, ids).unwrap();
        }
        done.waiting = self.spool.waiting(now);
        done
    }

    /// Waits for the watcher's word that something arrived.
    fn hear(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let heard =
            async { tokio::time::timeout(Duration::from_secs(30), self.wake.notified()).await };
        runtime.block_on(heard).expect("the watcher says something");
    }

    /// Scans at one time until `enough`: the watcher's hints come when they come.
    fn scan_until(&mut self, ms: u64, enough: impl Fn(&Done) -> bool) -> Done {
        loop {
            let done = self.scan(ms);
            if enough(&done) {
                return done;
            }
            self.hear();
        }
    }
}

fn accepted(names: &[&str]) -> Done {
    Done { accepted: names.iter().map(ToString::to_string).collect(), ..Done::default() }
}

fn rejected(names: &[&str]) -> Done {
    Done { rejected: names.iter().map(ToString::to_string).collect(), ..Done::default() }
}

fn waiting(waiting: usize) -> Done {
    Done { waiting, ..Done::default() }
}

#[test]
fn files_that_were_there_are_taken_oldest_first_once_they_were_still() {
    let mut bench = Bench::with(|jobs| {
        for (name, age_s) in
            [("new.toml", 1), ("b-old.toml", 100), ("a-old.toml", 100), ("future.toml", -90_000)]
        {
            let file = File::create(jobs.join(name)).unwrap();
            (&file).write_all(JOB.as_bytes()).unwrap();
            let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs((now_s - age_s) as u64))
                .unwrap();
        }
    });
    assert_eq!(bench.scan(0), waiting(4));
    assert_eq!(bench.scan(STABLE_MS - 1), waiting(4));
    assert_eq!(
        bench.scan(STABLE_MS),
        accepted(&["a-old.toml", "b-old.toml", "new.toml", "future.toml"])
    );
    assert_eq!(
        bench.names("accepted"),
        ["1-a-old.toml", "2-b-old.toml", "3-new.toml", "4-future.toml"]
    );
    assert_eq!(bench.names("."), ["accepted", "rejected"]);
    assert_eq!(bench.scan(2 * STABLE_MS), Done::default());
}

#[test]
fn a_file_moved_here_is_taken_at_once() {
    let mut bench = Bench::new();
    fs::write(bench.path("cat.toml.part"), JOB).unwrap();
    fs::rename(bench.path("cat.toml.part"), bench.path("cat.toml")).unwrap();
    assert_eq!(bench.scan_until(0, |done| done.waiting == 0), accepted(&["cat.toml"]));
}

#[test]
fn a_file_closed_by_its_writer_is_taken_at_once() {
    let mut bench = Bench::new();
    fs::write(bench.path("cat.toml"), JOB).unwrap();
    assert_eq!(bench.scan_until(0, |done| done.waiting == 0), accepted(&["cat.toml"]));
}

#[test]
fn a_half_written_file_waits_and_is_taken_whole() {
    let mut bench = Bench::new();
    let mut writer = File::create(bench.path("cat.toml")).unwrap();
    writer.write_all(b"prompt = 'a").unwrap();
    assert_eq!(bench.scan(0), waiting(1));
    assert_eq!(bench.scan(3000), waiting(1));
    writer.write_all(b" cat'\n").unwrap();
    assert_eq!(bench.scan(3001), waiting(1));
    assert_eq!(bench.scan(3001 + STABLE_MS), accepted(&["cat.toml"]));
    assert_eq!(bench.text("accepted/1-cat.toml"), JOB);
}

#[test]
fn an_empty_file_closed_and_filled_later_is_taken_whole() {
    let mut bench = Bench::new();
    drop(File::create(bench.path("cat.toml")).unwrap());
    bench.hear();
    assert_eq!(bench.scan(0), waiting(1));
    assert_eq!(bench.scan(GRACE_MS - 1), waiting(1));
    fs::write(bench.path("cat.toml"), JOB).unwrap();
    assert_eq!(bench.scan_until(GRACE_MS, |done| done.waiting == 0), accepted(&["cat.toml"]));
}

#[test]
fn a_file_with_mistakes_is_set_aside_with_all_of_them_after_its_grace() {
    let text = "prompt = 'a cat'\nwidht = 64\nsteps = 'many'\n";
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), text).unwrap());
    for ms in [0, STABLE_MS, GRACE_MS - 1] {
        assert_eq!(bench.scan(ms), waiting(1), "after {ms} ms");
    }
    assert_eq!(bench.scan(GRACE_MS), rejected(&["cat.toml"]));
    assert_eq!(bench.names("rejected"), ["cat.toml", "cat.toml.error.txt"]);
    let report = bench.text("rejected/cat.toml.error.txt");
    assert!(report.contains("cat.toml:2:1: ") && report.contains("cat.toml:3:9: "), "{report}");
    assert_eq!(bench.text("rejected/cat.toml"), text);
    assert_eq!(bench.names("."), ["accepted", "rejected"]);
}

#[test]
fn rejects_of_one_name_are_kept_apart() {
    let mut bench = Bench::new();
    fs::write(bench.path("rejected/cat.toml.error.txt"), "the user's own").unwrap();
    for ms in [0, 2 * GRACE_MS] {
        fs::write(bench.path("cat.toml"), "junk").unwrap();
        bench.scan(ms);
        assert_eq!(bench.scan(ms + GRACE_MS), rejected(&["cat.toml"]));
    }
    let names = [
        "2-cat.toml",
        "2-cat.toml.error.txt",
        "3-cat.toml",
        "3-cat.toml.error.txt",
        "cat.toml.error.txt",
    ];
    assert_eq!(bench.names("rejected"), names);
    assert_eq!(bench.text("rejected/cat.toml.error.txt"), "the user's own");
}

#[test]
fn nothing_but_plain_files_is_opened() {
    let mut bench = Bench::with(|jobs| {
        let secret = jobs.parent().unwrap().join("secret");
        fs::write(&secret, JOB).unwrap();
        symlink(&secret, jobs.join("link.toml")).unwrap();
        symlink("nowhere", jobs.join("dangling.toml")).unwrap();
        symlink("loop.toml", jobs.join("loop.toml")).unwrap();
        fs::hard_link(&secret, jobs.join("hard.toml")).unwrap();
        mknodat(CWD, jobs.join("fifo.toml"), FileType::Fifo, Mode::from(0o666), Dev::default())
            .unwrap();
        symlink("fifo.toml", jobs.join("fifolink.toml")).unwrap();
        File::create(jobs.join("huge.toml")).unwrap().set_len(2 << 30).unwrap();
    });
    assert_eq!(bench.scan(0), waiting(7));
    let mut done = bench.scan(GRACE_MS);
    done.rejected.sort();
    let names = [
        "dangling.toml",
        "fifo.toml",
        "fifolink.toml",
        "hard.toml",
        "huge.toml",
        "link.toml",
        "loop.toml",
    ];
    assert_eq!(done, rejected(&names));
    assert!(bench.text("rejected/link.toml.error.txt").contains("it is a link"));
    assert!(bench.text("rejected/hard.toml.error.txt").contains("hard link"));
    assert!(bench.text("rejected/fifo.toml.error.txt").contains("not a file"));
    assert!(
        bench.text("rejected/huge.toml.error.txt").contains("2147483648 bytes; at most 1048576")
    );
    assert_eq!(fs::read_to_string(bench.folder.path().join("secret")).unwrap(), JOB);
}

#[test]
fn names_that_could_fool_a_reader_are_set_aside_under_harmless_ones() {
    let mut bench = Bench::with(|jobs| {
        for name in [&b"a\nb.toml"[..], b"\x1b[2J.toml", b"\xff.toml"] {
            fs::write(jobs.join(OsStr::from_bytes(name)), JOB).unwrap();
        }
    });
    bench.scan(0);
    bench.scan(STABLE_MS);
    assert_eq!(bench.scan(GRACE_MS).rejected.len(), 3);
    let names: Vec<String> =
        bench.names("rejected").into_iter().filter(|name| name.ends_with(".toml")).collect();
    assert_eq!(names, ["_u{1b}[2J.toml", "a_u{a}b.toml", "\u{fffd}.toml"]);
}

#[test]
fn folders_and_other_files_are_left_alone() {
    let mut bench = Bench::with(|jobs| {
        fs::create_dir_all(jobs.join("folder.toml")).unwrap();
        fs::create_dir_all(jobs.join("batch")).unwrap();
        for name in
            ["batch/cat.toml", "cat.toml.part", ".cat.toml", "cat.toml~", "cat.TOML", "notes.txt"]
        {
            fs::write(jobs.join(name), JOB).unwrap();
        }
    });
    assert_eq!(bench.scan(0), Done::default());
    assert_eq!(bench.scan(GRACE_MS), Done::default());
    let names =
        [".cat.toml", "accepted", "batch", "cat.TOML", "cat.toml.part", "cat.toml~", "folder.toml"];
    assert_eq!(bench.names("."), [&names[..], &["notes.txt", "rejected"]].concat());
}

#[test]
fn a_file_changed_between_the_look_and_the_reading_is_left_for_the_next_scan() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.spool.survey(now).unwrap();
    let mut writer = File::options().append(true).open(bench.path("cat.toml")).unwrap();
    writer.write_all(b"steps = 4\n").unwrap();
    assert!(bench.spool.next_batch(now, NOW_MS).unwrap().is_none());
    assert_eq!(bench.spool.waiting(now), 1);
    bench.scan(STABLE_MS + 1);
    assert_eq!(bench.scan(2 * STABLE_MS + 1), accepted(&["cat.toml"]));
    assert!(bench.text("accepted/1-cat.toml").ends_with("steps = 4\n"));
}

#[test]
fn a_file_swapped_for_a_link_before_the_reading_is_not_followed() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.spool.survey(now).unwrap();
    fs::rename(bench.path("cat.toml"), bench.path("real")).unwrap();
    symlink("real", bench.path("cat.toml")).unwrap();
    assert!(bench.spool.next_batch(now, NOW_MS).unwrap().is_none());
}

#[test]
fn a_file_taken_back_is_forgotten() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    assert_eq!(bench.scan(0), waiting(1));
    fs::remove_file(bench.path("cat.toml")).unwrap();
    assert_eq!(bench.scan(STABLE_MS), Done::default());
}

#[test]
fn the_longest_names_fit_with_the_id_and_the_error_file() {
    let [good, bad] = [("g".repeat(250) + ".toml", JOB), ("b".repeat(250) + ".toml", "junk")];
    let mut bench = Bench::with(|jobs| {
        for (name, text) in [&good, &bad] {
            fs::write(jobs.join(name), text).unwrap();
        }
    });
    bench.scan(0);
    assert_eq!(bench.scan(STABLE_MS).accepted, [good.0]);
    assert_eq!(bench.scan(GRACE_MS).rejected, [bad.0]);
    assert_eq!((bench.names("accepted").len(), bench.names("rejected").len()), (1, 2));
}

#[test]
fn thousands_of_files_go_in_batches() {
    let mut bench = Bench::with(|jobs| {
        for number in 0..1001 {
            fs::write(jobs.join(format!("{number}.toml")), JOB).unwrap();
        }
    });
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.spool.survey(now).unwrap();
    let batches = std::iter::from_fn(|| bench.spool.next_batch(now, NOW_MS).unwrap());
    assert_eq!(batches.map(|batch| batch.jobs.len()).collect::<Vec<_>>(), [500, 500, 1]);
}

#[test]
fn a_folder_made_again_is_watched_again() {
    let mut bench = Bench::new();
    fs::remove_dir_all(bench.path("")).unwrap();
    assert_eq!(bench.scan_until(0, |_| true), Done::default());
    assert_eq!(bench.names("."), ["accepted", "rejected"]);
    fs::rename(bench.path(""), bench.folder.path().join("away")).unwrap();
    assert_eq!(bench.scan(1), Done::default());
    fs::write(bench.path("cat.toml"), JOB).unwrap();
    assert_eq!(
        bench.scan_until(2, |done| done.waiting == 0 && done.accepted.len() == 1),
        accepted(&["cat.toml"])
    );
}

#[test]
fn folders_replaced_by_links_or_files_are_refused() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["accepted", "rejected"] {
        fs::remove_dir(bench.path(name)).unwrap();
        symlink(elsewhere.path(), bench.path(name)).unwrap();
        let error = bench.spool.survey(bench.start).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("is a link or a file"), "{error}");
        fs::remove_file(bench.path(name)).unwrap();
        fs::write(bench.path(name), "").unwrap();
        bench.spool.survey(bench.start).unwrap_err();
        fs::remove_file(bench.path(name)).unwrap();
    }
    bench.scan(0);
    assert_eq!(bench.scan(STABLE_MS), accepted(&["cat.toml"]));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_job_whose_move_fails_is_known_to_the_database_and_moved_by_the_next_scan() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.spool.survey(now).unwrap();
    let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
    let first = batch.jobs[0].origin;
    fs::remove_dir(bench.path("accepted")).unwrap();
    bench.spool.put_away(batch, vec![Accepted { job_id: 1, fresh: true }]).unwrap();
    assert_eq!(bench.names("."), ["cat.toml", "rejected"]);

    bench.spool.survey(now).unwrap();
    bench.spool.survey(now + Duration::from_millis(STABLE_MS)).unwrap();
    let batch =
        bench.spool.next_batch(now + Duration::from_millis(STABLE_MS), NOW_MS).unwrap().unwrap();
    assert_eq!(batch.jobs[0].origin, first);
    bench.spool.put_away(batch, vec![Accepted { job_id: 1, fresh: false }]).unwrap();
    assert_eq!(bench.names("accepted"), ["1-cat.toml"]);
}
