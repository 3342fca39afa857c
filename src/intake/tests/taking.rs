//! Files that are jobs are taken once they are whole.

use std::fs::File;
use std::io::Write;

use super::*;

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
        ["000001-a-old.toml", "000002-b-old.toml", "000003-new.toml", "000004-future.toml"]
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
    assert_eq!(bench.text("accepted/000001-cat.toml"), JOB);
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
fn a_file_changed_between_the_look_and_the_reading_is_left_for_the_next_scan() {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), JOB).unwrap());
    bench.scan(0);
    let now = bench.start + Duration::from_millis(STABLE_MS);
    bench.survey(STABLE_MS);
    let mut writer = File::options().append(true).open(bench.path("cat.toml")).unwrap();
    writer.write_all(b"steps = 4\n").unwrap();
    assert!(bench.spool.next_batch(now, NOW_MS).unwrap().is_none());
    assert_eq!(bench.spool.waiting(now), 1);
    bench.scan(STABLE_MS + 1);
    assert_eq!(bench.scan(2 * STABLE_MS + 1), accepted(&["cat.toml"]));
    assert!(bench.text("accepted/000001-cat.toml").ends_with("steps = 4\n"));
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
    bench.survey(STABLE_MS);
    let batches = std::iter::from_fn(|| bench.spool.next_batch(now, NOW_MS).unwrap());
    assert_eq!(batches.map(|batch| batch.jobs.len()).collect::<Vec<_>>(), [500, 500, 1]);
}
