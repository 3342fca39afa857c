//! systemd itself over the daemon: a manager of the test's own, that is not the first process, with
//! the unit that users get, in shorter times.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::support::{House, kill, said};

const UNIT: &str = "zimaged.service";

/// In a mount namespace of its own: a `/run` as of a machine that was booted by systemd.
const MANAGER: &str = "mount -t tmpfs none /run && mkdir -p -m 700 /run/systemd/system /run/user/0 && \
                       exec /lib/systemd/systemd --user";

/// The pings are seconds apart, and what is not ended by a signal is killed after two.
const IN_SHORT: &str = "WatchdogSec=6\nRestartSec=100ms\nTimeoutStopSec=2\nTimeoutAbortSec=2\n";

/// A manager whose only service is the daemon of a house.
struct Manager {
    process: Child,
    _units: TempDir,
}

impl Manager {
    fn of(house: &House) -> Manager {
        let units = tempfile::tempdir().unwrap();
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/user");
        fs::copy(packaged.join(UNIT), units.path().join(UNIT)).unwrap();
        let (program, folder) = (env!("CARGO_BIN_EXE_zimaged"), house.path(""));
        let folder = folder.display();
        let changes = format!(
            "[Service]\nExecStart=\nExecStart={program} --config {folder}/daemon.toml run\n\
             WorkingDirectory={folder}\nStandardError=append:{folder}/log\n{IN_SHORT}"
        );
        let drop_ins = units.path().join("zimaged.service.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(drop_ins.join("test.conf"), changes).unwrap();
        fs::set_permissions(units.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", MANAGER]);
        let path = format!("{}:/usr/lib/systemd/user", units.path().display());
        command.env("SYSTEMD_UNIT_PATH", path).env("XDG_RUNTIME_DIR", "/run/user/0");
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").stdout(Stdio::null()).stderr(Stdio::null());
        let manager = Manager { process: command.spawn().unwrap(), _units: units };
        manager.until("it answers", |it| it.systemctl(&["show", "-p", "Version"]).0);
        manager
    }

    /// Whether the command succeeded, and what it said.
    fn systemctl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.process.id().to_string(), "systemctl", "--user"]);
        command.args(arguments).env("XDG_RUNTIME_DIR", "/run/user/0");
        let output = command.env_remove("DBUS_SESSION_BUS_ADDRESS").output().unwrap();
        (output.status.success(), said(&output))
    }

    fn assert_done(&self, action: &str) {
        let (is_done, told) = self.systemctl(&[action, UNIT]);
        assert!(is_done, "{action}: {told}");
    }

    fn property(&self, name: &str) -> String {
        let (_, told) = self.systemctl(&["show", "--value", "-p", name, UNIT]);
        told.trim().to_owned()
    }

    fn pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn(&Manager) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let (_, status) = self.systemctl(&["status", UNIT]);
            assert!(Instant::now() < deadline, "never: {what}\n{status}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the daemon was started again, so many times in all.
    fn until_restarted(&self, times: u32) {
        let is_restarted = |it: &Manager| {
            it.property("NRestarts") == times.to_string() && it.property("ActiveState") == "active"
        };
        self.until("it is started again", is_restarted);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.systemctl(&["stop", UNIT]);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until_running(house: &House) {
    house.until_sql("SELECT count(*) FROM attempts WHERE outcome = 'running'", "1");
}

/// A second of work.
const SLOW: &str =
    "prompt = 'steps of 100 ms'\nsteps = 10\nwidth = 64\nheight = 64\nmin_side = 64\n";

/// As many as there have to be until the status is told, which takes five seconds, and longer than
/// the time within which a ping has to come.
const PICTURES: u64 = 8;

#[test]
#[ignore = "needs root and systemd"]
fn under_systemd_the_daemon_is_watched_restarted_reloaded_and_stopped() {
    let mut it = Harried::new("deaths_max = 1\n[defaults]\nguidance = 0.0\n");
    let manager = Manager::of(&it.house);
    // This waits for READY.
    manager.assert_done("start");
    // The file that says where it answers is written a moment later.
    it.house.until("it says where it answers", || it.listens().then_some(()));
    it.drop_file(&format!("{SLOW}num_images = {PICTURES}\n"), PICTURES);
    let tells_steps = |it: &Manager| {
        let status = it.property("StatusText");
        status.starts_with("job 1, picture ") && status.contains(", step ")
    };
    manager.until("the status with its step", tells_steps);
    let done = "SELECT count(*) FROM renders WHERE state = 'done'";
    it.house.until_sql(done, &PICTURES.to_string());
    assert_eq!(manager.property("NRestarts"), "0", "the pings came");
    reloads(&mut it, &manager);
    it.drop_file(SLOW, 1);
    until_running(&it.house);
    kill("STOP", manager.pid());
    manager.until_restarted(1);
    it.drop_file(SLOW, 1);
    until_running(&it.house);
    kill("KILL", manager.pid());
    manager.until_restarted(2);
    stops_in_time(&mut it, &manager);
    needs_a_person(&mut it, &manager);
    drop(manager);
    it.settle();
    it.assert_holds();
    let expected = "start waits for READY, the status has the step, a reload counts for the next job; a hung and a \
                    killed daemon are started again, one that ends with 78 is not, and a stop takes its time at \
                    the most";
    record::note("systemd over the daemon", expected, 1, "all of it");
}

fn reloads(it: &mut Harried, manager: &Manager) {
    let path = it.house.path("daemon.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[defaults]\n", "[defaults]\nsteps = 3\n")).unwrap();
    let pid = manager.pid();
    manager.assert_done("reload");
    it.house.until_logged("configuration");
    manager.until("it is ready again", |it| it.property("ActiveState") == "active");
    it.drop_file("prompt = 'a fox'\nwidth = 64\nheight = 64\nmin_side = 64\n", 1);
    let steps = "SELECT steps FROM renders WHERE job_id = 2 AND state = 'done'";
    it.house.until_sql(steps, "3");
    assert_eq!(manager.pid(), pid, "the same process");
}

/// A daemon that gives its worker more time than it has is killed, and nothing is lost by that.
fn stops_in_time(it: &mut Harried, manager: &Manager) {
    let open = "SELECT count(*) FROM renders WHERE state IN ('queued', 'running')";
    it.house.until_sql(open, "0");
    it.drop_file("prompt = 'hang once'\nwidth = 64\nheight = 64\nmin_side = 64\n", 1);
    until_running(&it.house);
    let began = Instant::now();
    manager.assert_done("stop");
    // Less than the worker has for the step in which it hangs.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(manager.property("Result"), "timeout");
}

/// A configuration with a mistake: there is no use in trying again.
fn needs_a_person(it: &mut Harried, manager: &Manager) {
    let path = it.house.path("daemon.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\nmistake = 1\n")).unwrap();
    assert!(!manager.systemctl(&["start", UNIT]).0);
    // Longer than until the next start.
    sleep(Duration::from_millis(500));
    let told = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| manager.property(name));
    assert_eq!(told, ["failed", "78", "0"]);
    fs::write(&path, text).unwrap();
}
