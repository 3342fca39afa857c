//! A drop has an identity of its own, and is never two jobs, nor two drops one.

use super::*;

/// The one file that has its identity and still lies in `jobs/`.
fn taken_name(bench: &Bench) -> String {
    let taken = bench.names(".").into_iter().find(|name| name.starts_with(".taken-"));
    taken.expect("a file with its identity")
}

/// A copy of the file in its place: another inode, as when the folder comes back from elsewhere.
fn replace_by_copy(path: &Path) {
    let copy = path.with_file_name(".copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(&copy, path).unwrap();
}

fn ready(text: &str) -> Bench {
    let mut bench = Bench::with(|jobs| fs::write(jobs.join("cat.toml"), text).unwrap());
    bench.scan(0);
    bench
}

/// case B, chaos 7: a copy that kept its time and got the freed inode counted as a drop of the
/// past. The file itself, moved back, is all that such a copy can be.
#[test]
fn a_file_with_time_inode_and_content_of_a_past_drop_is_a_drop_of_its_own() {
    let mut bench = ready(JOB);
    bench.scan(STABLE_MS);
    for past in 1..=3 {
        let name = format!("accepted/{past:06}-cat.toml");
        fs::rename(bench.path(&name), bench.path("cat.toml")).unwrap();
        let done = bench.scan_until(2 * STABLE_MS, |done| !done.accepted.is_empty());
        assert_eq!(done, accepted(&["cat.toml"]));
    }
    assert_eq!(bench.job_id, 4);
    assert_eq!(bench.names("accepted"), ["000004-cat.toml"]);
}

/// chaos 7: a death after the file has its identity and before its row loses nothing.
#[test]
fn a_death_between_identity_and_row_loses_nothing() {
    let mut bench = ready(JOB);
    let now = bench.survey(STABLE_MS);
    let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
    assert_eq!(batch.job_places, [std::ffi::OsString::from(taken_name(&bench))]);
    let id = batch.jobs[0].origin;
    let mut bench = bench.restarted();
    bench.scan(2 * STABLE_MS);
    let now = bench.survey(3 * STABLE_MS);
    let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
    assert_eq!((batch.jobs[0].origin, batch.jobs[0].name.as_str()), (id, "cat.toml"));
    let ids = bench.commit(&batch);
    bench.spool.put_away(batch, ids).unwrap();
    assert_eq!(bench.names("accepted"), ["000001-cat.toml"]);
}

/// chaos 7: killed between row and move, a drop ran twice when the folder came back under another
/// device number. A copy of the file stands for that: another inode, and other times.
#[test]
fn a_death_between_row_and_move_is_only_moved_wherever_the_folder_is() {
    for (text, after_ms, fate) in
        [(JOB, STABLE_MS, "accepted"), ("prompt = 7\n", GRACE_MS, "rejected")]
    {
        let mut bench = ready(text);
        let now = bench.survey(after_ms);
        let batch = bench.spool.next_batch(now, NOW_MS).unwrap().expect(fate);
        bench.commit(&batch);
        replace_by_copy(&bench.path(&taken_name(&bench)));
        let mut bench = bench.restarted();
        for ms in [3 * GRACE_MS, 5 * GRACE_MS] {
            assert_eq!(bench.scan(ms), Done::default(), "{fate}: nothing is new");
        }
        assert_eq!(bench.fates.len(), 1, "{fate}");
        assert_eq!(bench.names("."), ["accepted", "rejected"]);
        assert_eq!(bench.names(fate).len(), if fate == "accepted" { 1 } else { 2 });
    }
}

/// chaos 10: a failed move was not tried again before the next start.
#[test]
fn a_move_that_fails_is_tried_again_by_the_next_scan() {
    let mut bench = ready(JOB);
    let now = bench.survey(STABLE_MS);
    let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
    let ids = bench.commit(&batch);
    fs::remove_dir(bench.path("accepted")).unwrap();
    bench.spool.put_away(batch, ids).unwrap();
    assert_eq!(bench.spool.waiting(now), 0, "nobody waits for it");
    let reason = &bench.spool.waiting_files()[0];
    assert_eq!(reason.file, "cat.toml");
    assert!(reason.reason.contains("cannot be moved away"), "{reason:?}");
    assert_eq!(bench.scan(STABLE_MS), Done::default());
    assert_eq!(bench.names("accepted"), ["000001-cat.toml"]);
    assert_eq!(bench.spool.waiting_files(), []);
}

/// Where a move is two links, a death in between leaves both.
#[test]
fn a_move_cut_short_between_two_links_is_finished() {
    let mut bench = ready(JOB);
    let now = bench.survey(STABLE_MS);
    let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
    bench.commit(&batch);
    let taken = bench.path(&taken_name(&bench));
    fs::hard_link(&taken, bench.path("accepted/000001-cat.toml")).unwrap();
    let mut bench = bench.restarted();
    assert_eq!(bench.scan(2 * STABLE_MS), Done::default());
    assert_eq!(bench.names("accepted"), ["000001-cat.toml"]);
    assert_eq!(bench.names("."), ["accepted", "rejected"]);
}

/// Only what lay there when the program started may be known to an earlier version.
#[test]
fn only_files_from_before_the_start_are_asked_for_in_rows_of_earlier_versions() {
    let mut bench = ready(JOB);
    let before = |bench: &mut Bench, ms| {
        let now = bench.survey(ms);
        let batch = bench.spool.next_batch(now, NOW_MS).unwrap().unwrap();
        let Origin::Drop { before, .. } = batch.jobs[0].origin else { panic!("a drop") };
        let ids = bench.commit(&batch);
        bench.spool.put_away(batch, ids).unwrap();
        before
    };
    assert!(before(&mut bench, STABLE_MS).is_some());
    fs::write(bench.path("owl.toml"), JOB).unwrap();
    bench.hear();
    bench.spool.survey(bench.start + Duration::from_millis(STABLE_MS)).unwrap();
    assert_eq!(before(&mut bench, 2 * STABLE_MS), None);
}
