//! Real disks that are full, read-only or gone: small ones of the test's own, for one folder of the
//! daemon's at a time.

use std::fs::{self, File};
use std::io::Write;

use crate::beside;
use crate::disk::Mount;
use crate::house::{Harried, PATIENCE, config};
use crate::ledger::Dropped;
use crate::record;
use crate::support::House;
use crate::trouble::{JOB, Trouble, assert_lives_on, drop_job, holds, request_job};

/// Room for a queue of a few jobs.
const SMALL: &str = "size=6m,nr_inodes=200";

const FILLER: &str = "filler";

/// A house with one folder on a disk of its own.
struct Site {
    // Unmounted before the house is removed.
    mount: Mount,
    it: Harried,
}

impl Site {
    fn new(folder: &str) -> Site {
        let house = House::within(&std::env::temp_dir(), &config("deaths_max = 1\n"));
        fs::create_dir_all(house.path(folder)).unwrap();
        let mount = Mount::small(house.path(folder), SMALL);
        Site { mount, it: Harried::of(house) }
    }
}

/// Writes until there is no room left, not for a byte.
fn fill(it: &Harried, folder: &str) {
    let mut file = File::create(it.house.path(folder).join(FILLER)).unwrap();
    for bytes in [64 << 10, 1 << 10, 1] {
        let chunk = vec![b'x'; bytes];
        while file.write(&chunk).is_ok() {}
    }
}

/// Makes files until no more can be made.
fn use_inodes_up(it: &Harried, folder: &str) {
    let filler = it.house.path(folder).join(FILLER);
    fs::create_dir(&filler).unwrap();
    let is_made = |number: &u32| File::create(filler.join(number.to_string())).is_ok();
    assert!((0..1000).take_while(is_made).count() < 1000);
}

fn make_room(it: &Harried, folder: &str) {
    let filler = it.house.path(folder).join(FILLER);
    let _ = fs::remove_file(&filler);
    let _ = fs::remove_dir_all(&filler);
}

/// Hands over a job and a file that is to be refused, which are written before the disk is full.
fn hand_over_before(it: &mut Harried, fault: fn(&Harried, &str)) {
    let jobs = it.house.path("jobs");
    let files = [("drop-ready.toml", JOB, 2), ("drop-broken.toml", "steps = 'many'\n", 0)];
    for (name, text, pictures) in files {
        fs::write(jobs.join(format!("{name}.part")), text).unwrap();
        it.ledger.drops.push(Dropped { name: name.to_owned(), pictures });
    }
    fault(it, "jobs");
    for (name, ..) in files {
        fs::rename(jobs.join(format!("{name}.part")), jobs.join(name)).unwrap();
    }
}

/// Whether what was handed over to a full jobs folder is in the database.
fn is_known(house: &House) -> bool {
    house.value("SELECT count(*) FROM rejections") == "1"
        && house.value("SELECT count(*) FROM jobs WHERE origin = 'drop'") == "1"
}

/// By the folder that is on the disk.
const CASES: [(&str, Trouble); 6] = [
    (
        "outputs",
        Trouble {
            fault: "the disk of the outputs is full",
            feed: drop_job,
            begin: |it| fill(it, "outputs"),
            is_felt: holds,
            lift: |it| make_room(it, "outputs"),
        },
    ),
    (
        "outputs",
        Trouble {
            fault: "the disk of the outputs has no inodes",
            feed: drop_job,
            begin: |it| use_inodes_up(it, "outputs"),
            is_felt: holds,
            lift: |it| make_room(it, "outputs"),
        },
    ),
    (
        "state",
        Trouble {
            fault: "the disk of the state folder is full",
            feed: drop_job,
            begin: |it| fill(it, "state"),
            is_felt: |house| holds(house) || house.log().contains("job files are not taken in"),
            lift: |it| make_room(it, "state"),
        },
    ),
    (
        "state",
        Trouble {
            fault: "the disk of the state folder has no inodes",
            feed: drop_job,
            begin: |it| use_inodes_up(it, "state"),
            is_felt: |house| house.value("SELECT count(*) FROM jobs") == "2",
            lift: |it| make_room(it, "state"),
        },
    ),
    (
        "jobs",
        Trouble {
            fault: "the disk of the jobs folder is full",
            feed: request_job,
            begin: |it| hand_over_before(it, fill),
            is_felt: is_known,
            lift: |it| make_room(it, "jobs"),
        },
    ),
    (
        "jobs",
        Trouble {
            fault: "the disk of the jobs folder has no inodes",
            feed: request_job,
            begin: |it| hand_over_before(it, use_inodes_up),
            is_felt: is_known,
            lift: |it| make_room(it, "jobs"),
        },
    ),
];

#[test]
#[ignore = "needs root and loop devices"]
fn disks_without_room_cost_no_render() {
    beside::try_all(&CASES, |(folder, case)| case.go_through(&mut Site::new(folder).it));
}

#[test]
#[ignore = "needs root and loop devices"]
fn outputs_that_become_read_only_hold_the_queue() {
    let Site { mount, mut it } = Site::new("outputs");
    it.launch(&[]);
    it.until_listening();
    drop_job(&mut it);
    mount.change("ro");
    // The one before may have ended by then.
    drop_job(&mut it);
    it.while_alive(PATIENCE, |house| holds(house).then_some(())).expect("it is felt");
    mount.change("rw");
    assert_lives_on(&mut it, "the outputs are mounted read-only");
    drop(mount);
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_jobs_folder_that_is_unmounted_is_found_again() {
    let house = House::within(&std::env::temp_dir(), &config("deaths_max = 1\n"));
    let (disk, jobs) = (tempfile::tempdir().unwrap(), house.path("jobs"));
    let mounted = Mount::of_folder(disk.path(), jobs.clone());
    let mut it = Harried::of(house);
    it.launch(&[]);
    it.until_listening();
    drop_job(&mut it);
    it.until_settled();
    drop(mounted);
    // The files of before are on the disk, which comes back.
    let is_looked_at = |house: &House| house.path("jobs/.zimaged.lock").exists().then_some(());
    it.while_alive(PATIENCE, is_looked_at).expect("the folder below is the one now");
    let mounted = Mount::of_folder(disk.path(), jobs);
    drop_job(&mut it);
    assert_lives_on(&mut it, "the jobs folder is unmounted, and mounted again");
    drop(it);
    drop(mounted);
}

/// At start, when the disk of a folder is so, with which code it ends.
#[test]
#[ignore = "needs root and loop devices"]
fn a_start_on_a_disk_without_room_ends_with_75_and_on_a_read_only_one_with_78() {
    let expected = "it ends with the code and the folder's name, and starts when that is mended";
    let cases = [
        ("the disk of the state folder is full at start", "state", 75),
        ("the state folder is read-only at start", "state", 78),
        ("the jobs folder is read-only at start", "jobs", 78),
    ];
    beside::try_all(cases, |(fault, folder, code)| {
        let Site { mount, mut it } = Site::new(folder);
        let is_full = code == 75;
        match is_full {
            true => fill(&it, folder),
            false => mount.change("ro"),
        }
        it.launch(&[]);
        it.while_alive(PATIENCE, |_| None::<()>);
        let (ended, log) = (it.ended().unwrap(), it.house.log());
        assert_eq!(ended.code(), Some(code), "{fault}: {log}");
        assert!(log.contains(&it.house.path(folder).display().to_string()), "{fault}: {log}");
        match is_full {
            true => make_room(&it, folder),
            false => mount.change("rw"),
        }
        drop_job(&mut it);
        it.settle();
        it.assert_holds();
        record::note(fault, expected, 1, &format!("ended with {code}, starts"));
        drop(mount);
    });
}
