//! SIGKILL at random moments and at chosen system calls, on a queue that goes on all the while.

pub mod blow;
pub mod random;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::blow::{Blow, Victim, place};
use self::random::Random;
use crate::house::{Harried, PATIENCE};
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

/// A run of blows of one kind on one house.
struct Storm {
    name: &'static str,
    kind: fn(&mut Random) -> Blow,
    harried: Harried,
    random: Random,
    kills: u64,
    /// How often the program was killed at each place.
    places: BTreeMap<String, u64>,
}

impl Storm {
    fn new(name: &'static str, config: &str, kind: fn(&mut Random) -> Blow) -> Storm {
        let random = Random::seeded(name);
        let harried = Harried::new(config);
        Storm { name, kind, harried, random, kills: 0, places: BTreeMap::new() }
    }

    /// Kills until it was done `kills` times, and asks the oracle in between and at the end.
    fn rage(mut self, kills: u64) {
        let mut rounds = 0;
        while self.kills < kills {
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
        for (place, kills) in &self.places {
            println!("{kills:6}  {place}");
        }
        let ledger = &self.harried.ledger;
        let pictures = self.harried.house.value("SELECT count(*) FROM renders");
        let handed = ledger.drops.len() + ledger.requests.len();
        let seen = format!("{handed} jobs with {pictures} pictures, each there once");
        record::note(self.name, EXPECTED, self.kills, &seen);
    }

    fn look(&self, daemon: Daemon) {
        let Harried { house, ledger, .. } = &self.harried;
        let fallen = match oracle::is_made(house) {
            true => oracle::fallen(house, ledger, daemon),
            false => Vec::new(),
        };
        let (kills, seed) = (self.kills, self.random.seed());
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
            (told.exists() || is_idle()).then_some(())
        });
        let place = self.harried.told().map_or("with nothing to do".to_owned(), |told| {
            self.harried.ledger.worker_deaths += u64::from(told.starts_with("worker"));
            place(&told)
        });
        self.count(&place);
    }

    /// Waits until the daemon answers, and sends a request now and then.
    fn ask_at_times(&mut self) {
        let answers = |house: &crate::support::House| {
            let status = std::fs::read_to_string(house.path("state/status.json")).ok()?;
            status.contains("http://").then_some(())
        };
        if self.harried.while_alive(LIFE, answers).is_some() && self.random.below(3) == 0 {
            self.harried.request(1);
        }
    }

    fn count(&mut self, place: &str) {
        self.kills += 1;
        *self.places.entry(place.to_owned()).or_default() += 1;
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
    Storm::new("kill the daemon at random moments", NO_DEATHS, blow::daemon_at_a_moment)
        .rage(kills());
}

#[test]
fn workers_killed_at_random_moments_cost_nothing_but_time() {
    Storm::new("kill the worker at random moments", MANY_DEATHS, blow::worker_at_a_moment)
        .rage(kills());
}

#[test]
fn daemons_killed_at_chosen_calls_lose_and_charge_nothing() {
    Storm::new("kill the daemon at a system call", NO_DEATHS, blow::daemon_at_a_call).rage(kills());
}

#[test]
fn workers_killed_at_chosen_calls_cost_nothing_but_time() {
    Storm::new("kill the worker at a system call", MANY_DEATHS, blow::worker_at_a_call)
        .rage(kills());
}
