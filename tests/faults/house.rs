//! A house whose daemon may die at any moment: nothing here waits for it without looking whether it
//! lives.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::asking::ask;
use crate::ledger::{Asked, Dropped, Ledger};
use crate::oracle;
use crate::support::House;
use crate::trap::{self, Rule};

/// As long as anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

const POLL: Duration = Duration::from_millis(5);

/// The configuration of a harried house: workers may die often, and come back at once.
const CONFIG: &str = r#"
engine = "fake"

[power]
inhibit_sleep = false

[output]
sidecar = "json"

[model]
path = "model"

[worker]
backoff = "10ms"
step_timeout = "60s"
load_timeout = "60s"
"#;

/// What all houses that are tried beside each other need together.
const ROOM_BYTES: u64 = 2 << 30;

/// A kill takes nothing from the page cache: a folder in memory does as well, and is fast.
/// Containers often have a small one.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    if room >= ROOM_BYTES { memory.to_owned() } else { std::env::temp_dir() }
}

/// The user's own file among the pictures, and what is in it.
pub const PRECIOUS: (&str, &str) = ("outputs/holiday.png", "the user's own");

pub struct Harried {
    pub house: House,
    pub ledger: Ledger,
    /// Where the program notes to which rules it has come.
    pub told: PathBuf,
    /// What each daemon finds in its environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// Whether the permissions of files count, as for everybody but root.
    pub heeds_modes: bool,
    daemon: Option<Child>,
}

/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`.
const RIGHTS_TO_ALL_FILES: [libc::c_ulong; 2] = [1, 2];

/// Takes from root what it may do whatever a file's permissions say.
fn heed_modes(command: &mut Command) {
    let drop_rights = || {
        for right in RIGHTS_TO_ALL_FILES {
            // SAFETY: the call takes numbers. It fails for who has no such rights.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only `prctl` is called, which is safe there.
    unsafe { command.pre_exec(drop_rights) };
}

impl Harried {
    /// A house with `more` in its configuration.
    pub fn new(more: &str) -> Harried {
        Harried::within(&place(), more)
    }

    /// As [`Harried::new`], in a folder that the test has chosen.
    pub fn within(place: &Path, more: &str) -> Harried {
        Harried::of(House::within(place, &config(more)))
    }

    /// As [`Harried::new`], in a house that the test has made.
    pub fn of(house: House) -> Harried {
        fs::create_dir_all(house.path("outputs")).unwrap();
        fs::write(house.path(PRECIOUS.0), PRECIOUS.1).unwrap();
        let told = house.path("told");
        let (ledger, environment) = (Ledger::default(), Vec::new());
        Harried { house, ledger, told, environment, heeds_modes: false, daemon: None }
    }

    /// Starts the daemon, which leads a group of its own, and does not wait for it.
    pub fn launch(&mut self, rules: &[Rule]) {
        self.kill_all();
        let log = fs::File::options().create(true).append(true).open(self.house.path("log"));
        let mut command = self.house.command(&["run"]);
        let _ = fs::remove_file(&self.told);
        // What an earlier life has left says nothing of this one.
        let _ = fs::remove_file(self.house.path("state/status.json"));
        trap::set(&mut command, rules, &self.told);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.heeds_modes {
            heed_modes(&mut command);
        }
        command.process_group(0).stdout(Stdio::null()).stderr(log.unwrap());
        self.daemon = Some(command.spawn().expect("the binary starts"));
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// How the daemon has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.as_mut().and_then(|daemon| daemon.try_wait().expect("our own child"))
    }

    /// The points of the rules that its processes came to: `supervisor write /path kill`.
    pub fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(&self.told).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    /// Whether the daemon has come so far that it answers over HTTP: its database is ready then.
    pub fn listens(&self) -> bool {
        listens(&self.house)
    }

    /// Waits until the daemon answers over HTTP; false where it ends before that.
    pub fn comes_to_listen(&mut self) -> bool {
        self.while_alive(PATIENCE, |house| listens(house).then_some(())).is_some()
    }

    /// Waits until `look` finds something or the daemon has ended.
    pub fn while_alive<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&House) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        while self.ended().is_none() && Instant::now() < deadline {
            if let Some(found) = look(&self.house) {
                return Some(found);
            }
            sleep(POLL);
        }
        None
    }

    /// SIGKILL to daemon and worker; waits until both are gone.
    pub fn kill_all(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let group = -i32::try_from(daemon.id()).unwrap();
        // SAFETY: the group is that of our own child, which was not waited for before.
        unsafe { libc::kill(group, libc::SIGKILL) };
        daemon.wait().expect("our own child");
        let deadline = Instant::now() + PATIENCE;
        // SAFETY: signal 0 asks whether anybody is left.
        while unsafe { libc::kill(group, 0) } == 0 {
            assert!(Instant::now() < deadline, "the worker outlives its daemon and SIGKILL");
            sleep(Duration::from_millis(1));
        }
    }

    /// As SIGKILL to the daemon alone.
    pub fn kill_supervisor(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        daemon.kill().expect("our own child");
        daemon.wait().expect("our own child");
    }

    /// SIGTERM, and how the daemon ended.
    pub fn stop(&mut self) -> ExitStatus {
        // SAFETY: the process is our own child, which was not waited for before.
        unsafe { libc::kill(i32::try_from(self.pid()).unwrap(), libc::SIGTERM) };
        let mut daemon = self.daemon.take().expect("a daemon");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = daemon.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not stop\n{}", self.house.log());
            sleep(POLL);
        }
    }

    /// The process that the daemon has started, if there is one.
    pub fn worker(&self) -> Option<i32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?.flatten();
        let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
        let children: String = lists.filter_map(Result::ok).collect();
        children.split_whitespace().next()?.parse().ok()
    }

    /// SIGKILL to the worker alone, if there is one.
    pub fn kill_worker(&mut self) -> bool {
        let Some(worker) = self.worker() else { return false };
        // Counted before, because the daemon may be faster.
        self.ledger.worker_deaths += 1;
        // SAFETY: a child of our own child, which reaps it.
        unsafe { libc::kill(worker, libc::SIGKILL) == 0 }
    }

    /// Drops a file as a careful user does. The number makes its name, which is never used again.
    pub fn drop_file(&mut self, text: &str, pictures: u64) {
        let name = format!("drop-{:05}.toml", self.ledger.drops.len());
        self.ledger.drops.push(Dropped { name: name.clone(), pictures });
        self.house.drop_job(&name, text);
    }

    /// Asks for a job over HTTP, if the daemon answers at all.
    pub fn request(&mut self, pictures: u64) {
        let key = format!("request-{:05}", self.ledger.requests.len());
        self.ledger.requests.push(Asked { key, pictures, is_answered: false });
        self.send(self.ledger.requests.len() - 1);
    }

    /// Sends the request again, as a client does that got no answer.
    fn send(&mut self, at: usize) -> bool {
        let Asked { key, pictures, .. } = self.ledger.requests[at].clone();
        let body = format!("prompt = '{key}'\nwidth = 64\nheight = 64\nnum_images = {pictures}\n");
        let headers = [("Content-Type", "application/toml"), ("Idempotency-Key", key.as_str())];
        let answer = ask(&self.house, "POST /api/v1/jobs", &headers, body.as_bytes());
        let is_answered = answer.is_some_and(|reply| [200, 201].contains(&reply.status));
        self.ledger.requests[at].is_answered |= is_answered;
        is_answered
    }

    /// Starts the daemon without faults and waits until all that was handed over has ended.
    pub fn settle(&mut self) {
        self.launch(&[]);
        self.until_settled();
    }

    /// Waits until the daemon answers over HTTP.
    pub fn until_listening(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.listens() {
            self.assert_waiting(deadline, "it does not listen");
        }
    }

    /// Waits until all that was handed over has ended, and the daemon lives.
    pub fn until_settled(&mut self) {
        self.until_listening();
        let deadline = Instant::now() + PATIENCE;
        for at in 0..self.ledger.requests.len() {
            while !self.ledger.requests[at].is_answered && !self.send(at) {
                self.assert_waiting(deadline, "a request is not answered");
            }
        }
        while !oracle::is_settled(&self.house, &self.ledger) {
            self.assert_waiting(deadline, "the queue does not end");
        }
    }

    fn assert_waiting(&mut self, deadline: Instant, why: &str) {
        let ended = self.ended();
        let is_well = ended.is_none() && Instant::now() < deadline;
        assert!(is_well, "{why}; the daemon: {ended:?}\n{}", last_of(&self.house.log()));
        sleep(POLL);
    }

    /// All invariants, asked of the settled house; the daemon runs.
    pub fn assert_holds(&mut self) {
        let state = match self.ended() {
            None => oracle::Daemon::Alive,
            Some(status) => oracle::Daemon::Ended(status.code()),
        };
        let fallen = oracle::fallen(&self.house, &self.ledger, state);
        let folder = self.house.path("");
        assert!(fallen.is_empty(), "{fallen:#?}\n{folder:?}\n{}", last_of(&self.house.log()));
    }
}

impl Drop for Harried {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            // For whoever looks for the reason.
            let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults/fallen");
            let _ = fs::create_dir_all(&kept);
            let copy = [self.house.path(""), kept];
            let _ = std::process::Command::new("cp").arg("-r").args(copy).status();
        }
    }
}

/// Whether a process has come to a rule. It makes the file a moment before the line in it.
pub fn is_told(told: &Path) -> bool {
    fs::metadata(told).is_ok_and(|told| told.len() > 0)
}

fn listens(house: &House) -> bool {
    let status = fs::read_to_string(house.path("state/status.json"));
    status.is_ok_and(|status| status.contains("http://"))
}

pub fn config(more: &str) -> String {
    let http = "\n[http]\nlisten = '127.0.0.1:0'\ntoken = 'always'\n";
    format!("{CONFIG}{more}{http}")
}

/// The end of a long text.
pub fn last_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
