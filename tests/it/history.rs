//! The database is not the daemon's alone: cleared, backed up, put back, taken away, on disks that
//! fail.

use std::fs;

use crate::support::{House, fault, said};

const FOX: &str = "prompt = 'a fox'\n";

/// As the `sqlite3` shell does it.
fn by_hand(house: &House, sql: &str) {
    house.falsify(&format!("PRAGMA foreign_keys = OFF; {sql}"));
}

/// Runs what waits; the exit code and what was said.
fn until_idle(house: &House) -> (Option<i32>, String) {
    let ended = house.zimaged(&["run", "--until-idle"]);
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn submit(house: &House, name: &str) -> String {
    fs::write(house.path(name), FOX).expect("a writable folder");
    house.json(&["submit", name])["jobs"][0]["job"].to_string()
}

/// Case A, jellyfin and others: every file was refused from then on.
#[test]
fn files_are_taken_in_after_the_history_was_cleared_by_hand() {
    let mut house = House::started("");
    assert_eq!(submit(&house, "a.toml"), "1");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    assert_eq!(house.stop("TERM"), Some(0));
    by_hand(&house, "DELETE FROM jobs");
    house.start();
    assert_eq!(submit(&house, "b.toml"), "2");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
}

/// Case A, ai-toolkit: `run --until-idle` never ended.
#[test]
fn a_render_whose_job_was_deleted_is_passed_over_and_told() {
    let mut house = House::started("");
    house.drop_job("later.toml", "prompt = 'a fox'\nnot_before = '2099-01-01T00:00:00Z'\n");
    house.until_sql("SELECT count(*) FROM renders", "1");
    assert_eq!(house.stop("TERM"), Some(0));
    by_hand(&house, "DELETE FROM jobs");
    let (code, said) = until_idle(&house);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("removed from the database by hand"), "{said}");
}

/// Case A: an id in accepted/ is not given to another job, though the database is another one.
#[test]
fn a_missing_database_is_told_and_begun_anew_only_when_that_is_asked_for() {
    let mut house = House::started("");
    submit(&house, "a.toml");
    submit(&house, "b.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    assert_eq!(house.stop("TERM"), Some(0));
    for emptied in [false, true] {
        fs::remove_file(house.path("state/zimaged.sqlite")).expect("a database");
        if emptied {
            fs::write(house.path("state/zimaged.sqlite"), "").expect("a writable folder");
        }
        let (code, said) = until_idle(&house);
        assert_eq!(code, Some(78), "chaos 5: {said}");
        for part in ["missing or empty", "zimaged restore", "zimaged history begin", "2 job files"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(house.zimaged(&["history", "begin"]).status.success());
        let again = house.zimaged(&["history", "begin"]);
        assert_eq!(again.status.code(), Some(1), "it is there");
    }
    house.start();
    assert_eq!(submit(&house, "c.toml"), "3", "accepted/ has 1 and 2");
}

/// Chaos 5: what is written into a file without a name would be lost.
#[test]
fn a_database_that_is_taken_away_is_noticed_saved_and_can_be_put_back() {
    let mut house = House::started("");
    submit(&house, "a.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    fs::remove_file(house.path("state/zimaged.sqlite")).expect("a database");
    house.until_logged("kept as");
    assert_eq!(house.stop("TERM"), Some(78), "{}", house.log());
    let saved = house.path("state/zimaged-saved.sqlite");
    for command in [&["list"][..], &["submit", "--prompt", "a"], &["run", "--until-idle"]] {
        let told = said(&house.zimaged(command));
        assert!(told.contains(&format!("zimaged restore {}", saved.display())), "{told}");
    }
    let restored = house.json(&["restore", saved.to_str().expect("plain")]);
    assert_eq!((&restored["jobs"], &restored["kept"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(until_idle(&house).0, Some(0));
    assert_eq!(house.value("SELECT count(*) FROM history WHERE state = 'done'"), "1");
}

/// Somebody tidies up: nothing says any more that there was a queue but what lies elsewhere.
#[test]
fn a_queue_that_begins_empty_where_there_was_one_says_so_until_that_is_read() {
    let mut house = House::started("");
    submit(&house, "a.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    assert!(!house.log().contains("began empty"), "the first start: {}", house.log());
    assert!(house.json(&["status"])["begun_anew"].is_null());
    assert_eq!(house.stop("TERM"), Some(0));
    fs::rename(house.path("state"), house.path("moved")).expect("the same filesystem");
    fs::remove_dir_all(house.path("jobs/accepted")).expect("a folder");
    let (code, told) = until_idle(&house);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("queue and history began empty"), "{told}");
    let note = house.path("state/begun-anew.txt");
    for command in ["status", "doctor"] {
        let told = said(&house.zimaged(&[command]));
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("began empty"), "{command}: {told}");
        assert!(told.contains(&note.display().to_string()), "{command}: {told}");
    }
    fs::remove_file(&note).expect("what tells it");
    let (_, told) = until_idle(&house);
    assert!(!told.contains("began empty"), "{told}");

    // With another jobs folder the pictures tell it.
    for gone in ["state", "jobs"] {
        fs::remove_dir_all(house.path(gone)).expect("a folder");
    }
    let (_, told) = until_idle(&house);
    assert!(told.contains("is a picture of zimaged"), "{told}");
}

#[test]
fn what_was_saved_of_a_database_keeps_a_start_from_beginning_empty() {
    let mut house = House::started("");
    assert!(house.zimaged(&["pause", "a night"]).status.success());
    fs::rename(house.path("state"), house.path("moved")).expect("the same filesystem");
    house.until_logged("kept as");
    assert_eq!(house.stop("TERM"), Some(78), "{}", house.log());
    let (code, told) = until_idle(&house);
    assert_eq!(code, Some(78), "{told}");
    let saved = house.path("state/zimaged-saved.sqlite").display().to_string();
    assert!(told.contains(&format!("zimaged restore {saved}")), "{told}");
    house.json(&["restore", &saved]);
    assert_eq!(house.value("SELECT reason FROM pause"), "a night");
}

/// The next start goes on with what lies there, and nobody would look for the rest.
#[test]
fn what_was_saved_of_a_replaced_database_is_told_until_it_is_put_back() {
    let mut house = House::started("");
    let empty = house.path("empty.sqlite");
    assert!(house.zimaged(&["backup", empty.to_str().expect("plain")]).status.success());
    submit(&house, "a.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    fs::rename(&empty, house.path("state/zimaged.sqlite")).expect("the same filesystem");
    house.until_logged("kept as");
    assert_eq!(house.stop("TERM"), Some(78), "{}", house.log());
    let saved = house.path("state/zimaged-saved.sqlite").display().to_string();
    let is_told = |told: &str| {
        assert!(told.contains(&format!("zimaged restore {saved}")), "{told}");
    };
    // What they change is changed in the other database.
    is_told(&said(&house.zimaged(&["submit", "--prompt", "an owl"])));
    let started = house.zimaged(&["run", "--until-idle"]);
    assert_eq!(started.status.code(), Some(0), "{}", said(&started));
    is_told(&said(&started));
    for command in ["status", "doctor", "pause", "resume"] {
        is_told(&said(&house.zimaged(&[command])));
    }
    house.json(&["restore", &saved]);
    assert_eq!(house.value("SELECT count(*) FROM history WHERE state = 'done'"), "1");
    let (_, told) = until_idle(&house);
    assert!(!told.contains(&saved), "{told}");
    assert!(house.json(&["status"])["saved_database"].is_null());
}

/// Chaos 3, chaos 4 and the disks of chaos 10: what may pass is 75, and nothing is called damaged
/// for it.
#[test]
fn trouble_with_the_disk_that_may_pass_is_no_damage_and_asks_to_try_again() {
    let house = House::new("");
    assert_eq!(until_idle(&house).0, Some(0), "makes the database");
    let run = |call: &str, path: &str, errno, before, failing| {
        let mut command = house.command(&["run", "--until-idle"]);
        fault::inject(&mut command, call, path, errno, before, failing);
        let ended = command.output().expect("the binary starts");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    const DATABASE: &str = "zimaged.sqlite";
    const ALWAYS: u32 = 1_000_000;
    for before in 0..7 {
        let (code, said) = run("pread", DATABASE, libc::EIO, before, 1);
        assert_eq!(code, Some(0), "read again after {before}: {said}");
    }
    for (call, path, errno) in [
        ("pread", DATABASE, libc::EIO),
        ("open", DATABASE, libc::EMFILE),
        ("open", DATABASE, libc::ENOMEM),
        ("open", "-wal", libc::ENOSPC),
        ("open", "-shm", libc::ENOSPC),
        ("fsync", "-wal", libc::EIO),
        ("lock", "-shm", libc::EAGAIN),
        ("open", ".zimaged.lock", libc::ENFILE),
    ] {
        let (code, said) = run(call, path, errno, 0, ALWAYS);
        assert_eq!(code, Some(75), "{call} {path} {errno}: {said}");
        assert!(!said.contains("damaged"), "{said}");
    }
}

#[test]
fn old_jobs_are_forgotten_with_their_pictures_and_what_waits_is_not_touched() {
    let house = House::started("");
    for name in ["a.toml", "b.toml", "c.toml"] {
        submit(&house, name);
    }
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "3");
    house.drop_job("later.toml", "prompt = 'a fox'\nnot_before = '2099-01-01T00:00:00Z'\n");
    house.until_sql("SELECT count(*) FROM renders", "4");
    let pictures = house.pictures();
    // Painted in: it still says that it is the picture, and is somebody's work.
    let mut painted = fs::read(&pictures[1]).expect("a picture");
    painted.push(0);
    fs::write(&pictures[1], painted).expect("a writable folder");
    house.falsify("UPDATE renders SET finished_at_ms = finished_at_ms + 86400000 WHERE job_id = 3");
    let old = ["history", "prune", "--older-than", "0h"];
    let counts = |pruned: &serde_json::Value| {
        ["jobs", "renders", "pictures", "left"]
            .map(|count| pruned[count].as_u64().expect("a count"))
    };
    let asked = house.json(&[&old[..], &["--dry-run"]].concat());
    assert_eq!(counts(&asked), [2, 2, 1, 1]);
    assert_eq!(house.pictures(), pictures, "only asked");
    let thumbnails = || fs::read_dir(house.path("state/thumbnails")).map_or(0, Iterator::count);
    house.until("small copies of all", || (thumbnails() == 3).then_some(()));
    assert_eq!(counts(&house.json(&old)), [2, 2, 1, 1], "while the daemon runs");
    assert_eq!(house.pictures(), pictures[1..]);
    assert_eq!(thumbnails(), 1, "those of forgotten pictures go with them");
    let rest = "SELECT group_concat(job || ' ' || state) FROM jobs_state";
    assert_eq!(house.value(rest), "3 done,4 queued");
    assert_eq!(house.value("SELECT count(*) FROM attempts"), "1");
    assert_eq!(house.value("SELECT count(*) FROM events WHERE job_id < 3"), "0");
    house.falsify("UPDATE renders SET finished_at_ms = 1 WHERE job_id = 3");
    let kept = house.json(&[&old[..], &["--keep-pictures"]].concat());
    assert_eq!(counts(&kept), [1, 1, 0, 0]);
    assert_eq!(house.pictures(), pictures[1..]);
    assert_eq!(thumbnails(), 1, "that of a picture which stays does, too");
    assert_eq!(submit(&house, "d.toml"), "5");
}

/// The lost picture's row stayed, and what was made again of it did not.
#[test]
fn a_picture_that_is_made_again_has_the_star_of_the_lost_one_and_stays_as_that_would() {
    let house = House::started("");
    submit(&house, "a.toml");
    let done = "SELECT count(*) FROM renders WHERE state = 'done'";
    house.until_sql(done, "1");
    house.ask("PUT /api/v1/renders/1.1/star", &[], b"").ok();
    let path = house.path("outputs").join(house.value("SELECT path FROM history"));
    fs::remove_file(path).expect("a picture");
    house.json(&["pause", "nothing is to be made yet"]);
    house.json(&["retry", "--missing", "1"]);
    house.json(&["cancel", "2"]);
    house.json(&["retry", "2"]);
    house.json(&["resume"]);
    house.until_sql(done, "2");
    assert_eq!(house.value("SELECT starred FROM renders WHERE job_id = 3"), "1");
    let pruned = house.json(&["history", "prune", "--older-than", "0h"]);
    assert_eq!((&pruned["starred"], &pruned["pictures"]), (&2.into(), &0.into()));
    assert_eq!(house.pictures().len(), 1, "it stays");
}

#[test]
fn a_job_of_which_a_picture_has_a_star_is_forgotten_only_where_that_is_asked_for() {
    let house = House::started("");
    for name in ["a.toml", "b.toml"] {
        submit(&house, name);
    }
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.ask("PUT /api/v1/renders/1.1/star", &[], b"").ok();
    let prune =
        |more: &[&str]| house.json(&[&["history", "prune", "--older-than", "0h"], more].concat());
    let asked = prune(&["--starred", "--dry-run"]);
    assert_eq!((&asked["jobs"], &asked["starred"]), (&2.into(), &0.into()));
    let kept = prune(&[]);
    assert_eq!(
        (&kept["jobs"], &kept["starred"], &kept["pictures"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(house.value("SELECT group_concat(id) FROM jobs"), "1");
    assert_eq!(house.pictures().len(), 1, "its file stays, too");
    let told = said(&house.zimaged(&["history", "prune", "--older-than", "0h"]));
    assert!(told.contains("1 old job with a starred picture left"), "{told}");
    assert_eq!(prune(&["--starred"])["jobs"], 1);
    assert_eq!((house.value("SELECT count(*) FROM jobs"), house.pictures().len()), ("0".into(), 0));
}

#[test]
fn a_backup_is_whole_or_not_there_and_comes_back_with_what_happened_since_told() {
    let mut house = House::started("");
    submit(&house, "a.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    assert_eq!(house.json(&["backup", "kept.sqlite"])["jobs"], 1);
    let again = house.zimaged(&["backup", "kept.sqlite"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("replaces nothing"));
    assert_eq!(house.zimaged(&["backup", "nowhere/kept.sqlite"]).status.code(), Some(1));
    submit(&house, "b.toml");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    assert_eq!(house.zimaged(&["restore", "kept.sqlite"]).status.code(), Some(75), "in use");
    // Killed, so that a log lies there.
    house.stop("KILL");
    fs::remove_file(house.path("state/status.json")).expect("left by the killed daemon");
    fs::write(house.path("bad.sqlite"), [0x5a; 9000]).expect("a writable folder");
    for wrong in ["bad.sqlite", "state/zimaged.sqlite"] {
        assert!(!house.zimaged(&["restore", wrong]).status.success(), "{wrong}");
    }
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "2", "nothing was changed");
    let restored = house.json(&["restore", "kept.sqlite"]);
    assert_eq!((&restored["jobs"], &restored["newer"]), (&1.into(), &1.into()));
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "1");
    house.start();
    assert_eq!(submit(&house, "c.toml"), "3", "2 is known by its file");
    house.until_sql("SELECT max(id) FROM attempts", "3");
    assert_eq!(house.stop("TERM"), Some(0));
    let before = house.path("state/zimaged-before.sqlite");
    let back = house.json(&["restore", before.to_str().expect("plain")]);
    assert_eq!((&back["jobs"], &back["newer"]), (&2.into(), &1.into()));
    assert!(house.path("state/zimaged-before-2.sqlite").exists());
    let leftovers = fs::read_dir(house.path("")).expect("the house").flatten();
    let parts = leftovers.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(parts.count(), 0);
}

/// A backup that was taken before the night: what was rendered after it would be made again without
/// a word.
#[test]
fn a_backup_that_is_put_back_says_what_it_renders_once_more_and_what_keeps_it_from_that() {
    let mut house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    house.json(&["submit", "--prompt", "a fox", "-n", "2", "--output", "fox"]);
    house.json(&["submit", "--prompt", "later", "--not-before", "2099-01-01T00:00:00Z"]);
    house.json(&["backup", "kept.sqlite"]);
    assert!(house.zimaged(&["resume"]).status.success());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    house.stop("TERM");
    let told = said(&house.zimaged(&["restore", "kept.sqlite"]));
    for part in ["3 renders waiting", "2 of them for the second time", "outputs", "cancel --all"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let again = said(&house.zimaged(&["restore", "kept.sqlite"]));
    let told =
        "kept.sqlite is put back and changes nothing, the queue was as in it already: 2 jobs";
    assert!(again.contains(told), "{again}");
    let before = house.path("state/zimaged-before.sqlite");
    house.json(&["restore", before.to_str().expect("plain")]);
    let restored = house.json(&["restore", "kept.sqlite"]);
    assert_eq!((&restored["waiting"], &restored["made_since"]), (&3.into(), &2.into()));
    assert_eq!(restored["unchanged"], false);
    // What was said holds, on both ways.
    assert!(house.zimaged(&["resume"]).status.success());
    house.start();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    assert_eq!(house.pictures().len(), 4, "nothing was replaced");
    house.stop("TERM");
    house.json(&["restore", "kept.sqlite"]);
    assert_eq!(house.json(&["cancel", "--all"])["cancelled"], 3);
    assert_eq!(until_idle(&house).0, Some(0));
    assert_eq!(house.pictures().len(), 4);
}
