//! Files that are no jobs are set aside, and nothing is opened that could do harm.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Dev, FileType, Mode, mknodat};

use super::*;

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

/// The report is written first: a death before the move left it alone, and the next try made
/// another.
#[test]
fn a_report_that_a_death_has_left_without_its_file_is_written_anew() {
    let mut bench = Bench::new();
    for (begin, left) in [(0, "cat.toml:1:"), (2 * GRACE_MS, "")] {
        fs::write(bench.path("rejected/cat.toml.error.txt"), left).unwrap();
        fs::write(bench.path("cat.toml"), "junk").unwrap();
        bench.scan(begin);
        assert_eq!(bench.scan(begin + GRACE_MS), rejected(&["cat.toml"]));
        assert_eq!(bench.names("rejected"), ["cat.toml", "cat.toml.error.txt"]);
        assert!(bench.text("rejected/cat.toml.error.txt").starts_with("cat.toml:1:"));
        fs::remove_file(bench.path("rejected/cat.toml")).unwrap();
    }
}

/// In a folder where others may write, a second name of an empty file had the report written into
/// it.
#[test]
fn a_report_is_not_written_into_a_file_that_has_another_name() {
    let mut bench = Bench::new();
    let theirs = bench.folder.path().join("theirs");
    fs::write(&theirs, "").unwrap();
    fs::hard_link(&theirs, bench.path("rejected/cat.toml.error.txt")).unwrap();
    fs::write(bench.path("cat.toml"), "junk").unwrap();
    bench.scan(0);
    assert_eq!(bench.scan(GRACE_MS), rejected(&["cat.toml"]));
    assert_eq!(fs::read_to_string(theirs).unwrap(), "");
    assert!(bench.text("rejected/2-cat.toml.error.txt").starts_with("cat.toml:1:"));
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

/// case B: a name was a reason to refuse a job.
#[test]
fn names_that_could_fool_a_reader_are_cleaned_and_taken() {
    let mut bench = Bench::with(|jobs| {
        for name in
            [&b"a\nb.toml"[..], b"\x1b[2J.toml", b"\xff.toml", "\u{200e}fox.TOML".as_bytes()]
        {
            fs::write(jobs.join(OsStr::from_bytes(name)), JOB).unwrap();
        }
    });
    bench.scan(0);
    assert_eq!(bench.scan(STABLE_MS).accepted.len(), 4);
    let mut names = bench.names("accepted");
    names.iter_mut().for_each(|name| drop(name.drain(.."000001-".len())));
    names.sort();
    assert_eq!(names, ["[2J.toml", "_.toml", "a b.toml", "fox.toml"]);
}

#[test]
fn a_file_swapped_for_a_link_before_the_reading_is_not_followed() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.survey(STABLE_MS);
    fs::rename(bench.path("cat.toml"), bench.path("real")).unwrap();
    symlink("real", bench.path("cat.toml")).unwrap();
    assert!(bench.spool.next_batch(now, NOW_MS).unwrap().is_none());
}
