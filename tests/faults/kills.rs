//! SIGKILL at random moments and at chosen system calls, on a queue that goes on all the while.

pub mod blow;
pub mod random;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use self::blow::{Blow, Victim, place};
use self::random::Random;
use crate::beside;
use crate::house::{Harried, PATIENCE, is_told};
use crate::oracle::{self, Daemon};
use crate::record;
use crate::trap::Rule;

/// The oracle is asked of the dead house after so many blows, and of the settled one.
const AT_REST_EVERY: u64 = 5;
const SETTLED_EVERY: u64 = 40;

const EXPECTED: &str = "no job is lost or taken in twice, every picture is made once, and only a \
                        worker's own death is counted";

/// A life in which the chosen call does not come ends after this.
const LIFE: Duration = Duration::from_millis(800);

/// Whether there is anything left to do is asked at one of so many looks.
const LOOKS: u32 = 10;

/// So many workers are killed in one life of a daemon, each after at most so many milliseconds.
const WORKERS_A_LIFE: u64 = 4;
const WORKER_MS_MAX: u64 = 120;

/// So many houses are under blows beside each other in one storm: each waits for most of its time.
const HOUSES: u64 = 4;

/// A house is left for a new one after so many kills: the oracle reads all that a house has made.
const KILLS_A_HOUSE_MAX: u64 = 125;

/// Blows of one kind.
struct Storm {
    name: &'static str,
    config: &'static str,
    kind: fn(&mut Random) -> Blow,
}

impl Storm {
    /// Kills until it was done `kills` times, in as many houses as that takes.
    fn rage(&self, kills: u64) {
        let a_house = kills.div_ceil(HOUSES).min(KILLS_A_HOUSE_MAX);
        let houses = kills.div_ceil(a_house);
        let sum = Mutex::new(Tally::default());
        beside::try_all(0..HOUSES, |first| {
            for number in (first..houses).step_by(HOUSES as usize) {
                let tally = Siege::new(self, number).hold(a_house);
                sum.lock().unwrap().add(tally);
            }
        });
        let Tally { kills, jobs, pictures, places } = sum.into_inner().unwrap();
        for (place, kills) in &places {
            println!("{kills:6}  {place}");
        }
        let seen = format!("{jobs} jobs with {pictures} pictures, each there once");
        record::note(self.name, EXPECTED, kills, &seen);
    }
}

/// What was done, and what was made in spite of it.
#[derive(Default)]
struct Tally {
    kills: u64,
    jobs: u64,
    pictures: u64,
    /// How often the program was killed at each place.
    places: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.kills += other.kills;
        self.jobs += other.jobs;
        self.pictures += other.pictures;
        for (place, kills) in other.places {
            *self.places.entry(place).or_default() += kills;
        }
    }
}

/// A house in a storm, on whose queue all the work goes on.
struct Siege {
    kind: fn(&mut Random) -> Blow,
    harried: Harried,
    random: Random,
    tally: Tally,
}

impl Siege {
    fn new(storm: &Storm, number: u64) -> Siege {
        let random = Random::seeded(&format!("{}, house {number}", storm.name));
        let harried = Harried::new(storm.config);
        Siege { kind: storm.kind, harried, random, tally: Tally::default() }
    }

    /// Kills until it was done `kills` times, and asks the oracle in between and at the end.
    fn hold(mut self, kills: u64) -> Tally {
        let mut rounds = 0;
        while self.tally.kills < kills {
            rounds += 1;
            self.round();
            if rounds % AT_REST_EVERY == 0 {
                self.look(Daemon::Killed);
            }
            if rounds % SETTLED_EVERY == 0 {
                self.harried.settle();
                self.look(Daemon::Alive);
            }
        }
        self.harried.settle();
        self.look(Daemon::Alive);
        let Harried { house, ledger, .. } = &self.harried;
        self.tally.jobs = (ledger.drops.len() + ledger.requests.len()) as u64;
        self.tally.pictures = house.value("SELECT count(*) FROM renders").parse().unwrap();
        self.tally
    }

    fn look(&self, daemon: Daemon) {
        let Harried { house, ledger, .. } = &self.harried;
        let fallen = match oracle::is_made(house) {
            true => oracle::fallen(house, ledger, daemon),
            false => Vec::new(),
        };
        let (kills, seed) = (self.tally.kills, self.random.seed());
        let log = crate::house::last_of(&house.log());
        assert!(fallen.is_empty(), "{fallen:#?}\nafter {kills} kills, FAULTS_SEED={seed}\n{log}");
    }

    fn round(&mut self) {
        // Half of it lies there at the start, and half comes while the daemon looks.
        self.feed();
        match (self.kind)(&mut self.random) {
            Blow::Moment { ms, victim } => self.at_moment(ms, victim),
            Blow::Call(rule) => self.at_call(&rule),
        }
        self.harried.kill_all();
    }

    /// Hands something over, unless much is waiting.
    fn feed(&mut self) {
        if !oracle::is_settled(&self.harried.house, &self.harried.ledger)
            && self.random.below(3) > 0
        {
            return;
        }
        let pictures = 1 + self.random.below(2);
        let format = ["png", "jpeg", "webp"][self.random.index(3)];
        let output = ["", "output = 'set/same'\n"][self.random.index(2)];
        let job = format!(
            "prompt = 'steps of 5 ms'\nsteps = 3\nwidth = 64\nheight = 64\nmin_side = 64\n\
             num_images = {pictures}\nformat = '{format}'\n{output}"
        );
        self.harried.drop_file(&job, pictures);
        if self.random.below(12) == 0 {
            self.harried.drop_file("steps = 'many'\n", 0);
        }
    }

    fn at_moment(&mut self, ms: u64, victim: Victim) {
        self.harried.launch(&[]);
        if ms.is_multiple_of(2) {
            self.ask_at_times();
            self.feed();
        }
        std::thread::sleep(Duration::from_millis(ms));
        match victim {
            Victim::Supervisor => self.harried.kill_supervisor(),
            Victim::Both => self.harried.kill_all(),
            Victim::Worker => return self.kill_workers(),
        }
        self.count(&format!("{victim:?} at a random moment"));
    }

    fn kill_workers(&mut self) {
        for _ in 0..WORKERS_A_LIFE {
            let deadline = Instant::now() + PATIENCE;
            while self.harried.worker().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            let ms = self.random.below(WORKER_MS_MAX);
            std::thread::sleep(Duration::from_millis(ms));
            if self.harried.kill_worker() {
                self.count("Worker at a random moment");
            }
        }
    }

    /// Waits until the program has come to the call that kills it, or has nothing to do any more.
    fn at_call(&mut self, rule: &Rule) {
        self.harried.launch(std::slice::from_ref(rule));
        self.ask_at_times();
        self.feed();
        let told = self.harried.house.path("told");
        let ledger = self.harried.ledger.clone();
        let mut looks: u32 = 0;
        self.harried.while_alive(LIFE, |house| {
            looks += 1;
            let is_idle = || looks.is_multiple_of(LOOKS) && oracle::is_settled(house, &ledger);
            (is_told(&told) || is_idle()).then_some(())
        });
        // Until then one worker after the other may come to it, and each dies.
        self.harried.kill_all();
        let told = self.harried.told();
        let is_worker = |told: &&String| told.starts_with("worker");
        self.harried.ledger.worker_deaths += told.iter().filter(is_worker).count() as u64;
        self.count(&told.first().map_or("with nothing to do".to_owned(), |told| place(told)));
    }

    /// Waits until the daemon answers, and sends a request now and then.
    fn ask_at_times(&mut self) {
        if self.harried.comes_to_listen() && self.random.below(3) == 0 {
            self.harried.request(1);
        }
    }

    fn count(&mut self, place: &str) {
        self.tally.kills += 1;
        *self.tally.places.entry(place.to_owned()).or_default() += 1;
    }
}

/// `FAULTS_KILLS` in all, in four storms; else what a run of all tests has time for.
fn kills() -> u64 {
    let all = std::env::var("FAULTS_KILLS").ok().and_then(|kills| kills.parse::<u64>().ok());
    all.map_or(130, |all| all.div_ceil(4))
}

/// A worker that we kill is counted against its render, which is to be made all the same.
const MANY_DEATHS: &str = "deaths_max = 100\nattempts_max = 1000\n";

/// One death would fail the render: none may be counted.
const NO_DEATHS: &str = "deaths_max = 1\n";

#[test]
fn daemons_killed_at_random_moments_lose_and_charge_nothing() {
    let name = "kill the daemon at random moments";
    Storm { name, config: NO_DEATHS, kind: blow::daemon_at_a_moment }.rage(kills());
}

#[test]
fn workers_killed_at_random_moments_cost_nothing_but_time() {
    let name = "kill the worker at random moments";
    Storm { name, config: MANY_DEATHS, kind: blow::worker_at_a_moment }.rage(kills());
}

#[test]
fn daemons_killed_at_chosen_calls_lose_and_charge_nothing() {
    let name = "kill the daemon at a system call";
    Storm { name, config: NO_DEATHS, kind: blow::daemon_at_a_call }.rage(kills());
}

#[test]
fn workers_killed_at_chosen_calls_cost_nothing_but_time() {
    let name = "kill the worker at a system call";
    Storm { name, config: MANY_DEATHS, kind: blow::worker_at_a_call }.rage(kills());
}
