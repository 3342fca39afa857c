//! Power cuts: a filesystem of its own in a file, shut down at a chosen system call without its
//! journal, as a disk is left by a cut that honours flushes; then mounted again.
//!
//! ext4 alone is tried, with ordered data. Sectors that are half written are not.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::asking::ask;
use crate::beside;
use crate::disk::Disk;
use crate::house::{Harried, PATIENCE, is_told};
use crate::kills::blow::place;
use crate::kills::random::Random;
use crate::oracle::{self, Daemon};
use crate::record;
use crate::trap::{Action, Rule};

/// A life in which the chosen call does not come is cut after this.
const LIFE: Duration = Duration::from_millis(1500);

/// What the daemon, or its worker, is about to do to which files when the power goes, and how many
/// such calls a life may see.
const POINTS: [(&str, &str, &str, u64); 16] = [
    ("supervisor", "sync", "-wal", 12),
    ("supervisor", "write", "-wal", 120),
    ("supervisor", "sync", "zimaged.sqlite", 16),
    ("supervisor", "rename", "-starts", 2),
    ("supervisor", "rename", "jobs/drop-", 2),
    ("supervisor", "sync", "jobs", 8),
    ("supervisor", "rename", ".taken-", 2),
    ("supervisor", "sync", "accepted", 2),
    ("supervisor", "sync", "rejected", 2),
    ("supervisor", "rename", "outputs/.zimaged", 3),
    ("supervisor", "sync", "outputs", 3),
    ("supervisor", "unlink", "latents", 3),
    ("worker", "sync", ".part", 3),
    ("worker", "sync", "latents", 3),
    ("worker", "write", "last-word", 12),
    ("worker", "rename", "latents", 2),
];

/// Writes all that is not on the disk of `folder` yet.
fn sync(folder: &Path) {
    rustix::fs::syncfs(fs::File::open(folder).unwrap()).unwrap();
}

/// A house on a disk of its own.
struct Site {
    // Dropped before the disk is.
    harried: Harried,
    disk: Disk,
}

impl Site {
    fn new(more: &str) -> Site {
        let disk = Disk::new();
        let mut harried = Harried::within(&disk.root(), more);
        harried.told = disk.beside().join("told");
        harried.launch(&[]);
        harried.settle();
        harried.kill_all();
        sync(&disk.root());
        Site { harried, disk }
    }

    /// Hands over work that is on the disk before anybody looks at it.
    fn feed(&mut self, text: &str, pictures: u64) {
        self.harried.drop_file(text, pictures);
        sync(&self.disk.root());
    }

    /// Works until the power goes at a chosen call, or until the life is over; says where.
    fn live(&mut self, random: &mut Random) -> String {
        // Before the fault: a file that the power takes from the harness was never handed over.
        self.feed(&format!("{JOB}num_images = 2\n"), 2);
        if random.below(6) == 0 {
            self.feed("steps = 'many'\n", 0);
        }
        let rule = choose(random, &self.disk);
        self.harried.launch(&[rule]);
        let told = self.harried.told.clone();
        let answers = |house: &crate::support::House| {
            let status = fs::read_to_string(house.path("state/status.json")).ok()?;
            (is_told(&told) || status.contains("http://")).then_some(())
        };
        if self.harried.while_alive(LIFE, answers).is_some() && !is_told(&told) {
            self.harried.request(1);
        }
        self.harried.while_alive(LIFE, |_| is_told(&told).then_some(()));
        self.harried.told().first().map_or("nothing".to_owned(), |told| place(told))
    }

    /// The power goes, if it has not gone yet, and comes back.
    fn cut(&mut self) {
        self.disk.cut();
        self.harried.kill_all();
        self.disk.unmount();
        self.disk.mount();
        // It is no promise of the daemon's that its log is whole.
        let _ = fs::remove_file(self.harried.house.path("log"));
    }
}

const JOB: &str = "prompt = 'steps of 5 ms'\nsteps = 3\nwidth = 64\nheight = 64\nmin_side = 64\n";

fn choose(random: &mut Random, disk: &Disk) -> Rule {
    let (role, calls, path, most) = POINTS[random.index(POINTS.len())];
    let first = 1 + random.below(most);
    Rule { role, calls, path, first, count: 1, action: Action::Cut(disk.root()) }
}

/// `FAULTS_CUTS`; else what a run of all tests has time for.
fn cuts() -> u64 {
    std::env::var("FAULTS_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(40)
}

/// So many disks lose their power beside each other: each waits for most of its time.
const DISKS: u64 = 8;

/// A disk is left for a new one after so many cuts: the oracle reads all that was made on it.
const CUTS_A_DISK_MAX: u64 = 125;

const NAME: &str = "cut the power at a commit point";

#[test]
#[ignore = "needs root and loop devices"]
fn power_cuts_lose_and_double_nothing() {
    let a_disk = cuts().div_ceil(DISKS).min(CUTS_A_DISK_MAX);
    let disks = cuts().div_ceil(a_disk);
    let pictures = AtomicU64::new(0);
    beside::try_all(0..DISKS, |first| {
        for number in (first..disks).step_by(DISKS as usize) {
            pictures.fetch_add(survive(number, a_disk), Ordering::Relaxed);
        }
    });
    let expected = "what was accepted or answered is there, and no picture is cut short";
    let seen = format!("{} pictures, each there once", pictures.into_inner());
    record::note(NAME, expected, disks * a_disk, &seen);
}

/// Cuts the power of one disk so often, asks the oracle each time, and counts the pictures.
fn survive(disk: u64, cuts: u64) -> u64 {
    let mut random = Random::seeded(&format!("{NAME}, disk {disk}"));
    let mut site = Site::new("deaths_max = 1\n");
    for number in 1..=cuts {
        let at = site.live(&mut random);
        site.cut();
        site.harried.settle();
        let Harried { house, ledger, .. } = &site.harried;
        let fallen = oracle::fallen(house, ledger, Daemon::Alive);
        let seed = random.seed();
        assert!(fallen.is_empty(), "cut {number}, {at}, FAULTS_SEED={seed}: {fallen:#?}");
    }
    site.harried.house.value("SELECT count(*) FROM renders").parse().unwrap()
}

/// Calls that are said to have succeeded and were not made.
fn forget(role: &'static str, path: &'static str) -> Rule {
    let action = Action::Nothing;
    Rule { role, calls: "sync", path, first: 1, count: u64::from(u32::MAX), action }
}

/// What has fallen after a job was made, or at least answered, and the power then went.
fn fallen_after(rules: &[Rule]) -> Vec<String> {
    let mut site = Site::new("");
    site.harried.launch(rules);
    assert!(site.harried.comes_to_listen());
    site.harried.request(1);
    assert!(site.harried.ledger.requests[0].is_answered);
    // Asked of the daemon: whoever closes a log that was emptied before has ext4 write it out.
    let is_done = |house: &crate::support::House| {
        let shown = ask(house, "GET /api/v1/jobs/1", &[], b"")?.json();
        (shown["job"]["state"] == "done").then_some(())
    };
    site.harried.while_alive(PATIENCE, is_done).expect("it is made");
    site.cut();
    let Harried { house, ledger, .. } = &site.harried;
    oracle::fallen(house, ledger, Daemon::Killed)
}

/// The cuts above prove nothing where a database or a picture that is not flushed would pass them.
#[test]
#[ignore = "needs root and loop devices"]
fn without_its_flushes_a_cut_loses_jobs_and_pictures() {
    assert_eq!(fallen_after(&[]), [""; 0], "with all of them");
    // As `synchronous = NORMAL`: the log is not flushed when a transaction ends.
    let fallen = fallen_after(&[forget("supervisor", "-wal")]);
    assert!(fallen.iter().any(|told| told.starts_with("I1: ")), "{fallen:#?}");
    let fallen = fallen_after(&[forget("worker", ".part")]);
    assert!(fallen.iter().any(|told| told.starts_with("I3: ")), "{fallen:#?}");
}
