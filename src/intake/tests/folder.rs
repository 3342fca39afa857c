//! The folder itself, and what else lies in it.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn folders_and_other_files_are_left_alone() {
    let mut bench = Bench::with(|jobs| {
        fs::create_dir_all(jobs.join("folder.toml")).unwrap();
        fs::create_dir_all(jobs.join("batch")).unwrap();
        for name in [
            "batch/cat.toml",
            "cat.toml.part",
            ".cat.toml",
            "cat.toml~",
            "cat.toml.txt",
            "notes.txt",
        ] {
            fs::write(jobs.join(name), JOB).unwrap();
        }
    });
    assert_eq!(bench.scan(0), Done::default());
    assert_eq!(bench.scan(GRACE_MS), Done::default());
    let names = [".cat.toml", "accepted", "batch", "cat.toml.part", "cat.toml.txt", "cat.toml~"];
    let more = ["folder.toml", "notes.txt", "rejected"];
    assert_eq!(bench.names("."), [&names[..], &more].concat());
    let contents = contents(&bench.path("")).unwrap();
    assert_eq!(contents.jobs, [] as [&str; 0]);
    let alone: Vec<&str> = contents.left_alone.iter().map(|left| left.file.as_str()).collect();
    let expected = ["batch", "cat.toml.part", "cat.toml.txt", "cat.toml~", "folder.toml"];
    assert_eq!(alone, [&expected[..], &["notes.txt"]].concat());
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

/// chaos 10: a second daemon took jobs from a folder that was removed and made again.
#[test]
fn a_folder_that_another_daemon_has_locked_is_left_to_it() {
    let mut bench = Bench::new();
    fs::remove_dir_all(bench.path("")).unwrap();
    fs::create_dir(bench.path("")).unwrap();
    let other = FolderLock::take(&bench.path("")).unwrap();
    fs::write(bench.path("cat.toml"), JOB).unwrap();
    let error = bench.spool.survey(bench.start).unwrap_err().to_string();
    assert!(error.contains("in use by another zimaged"), "{error}");
    drop(other);
    bench.scan(0);
    assert_eq!(bench.scan(STABLE_MS), accepted(&["cat.toml"]));
    FolderLock::take(&bench.path("")).expect_err("ours again");
}
