//! A daemon in a folder of its own: the real binary, the fake engine, real files and a real
//! database.

pub mod fault;
pub mod http;
pub mod library;
pub mod notify;
pub mod nvml;
pub mod places;
pub mod silent;
mod status;
pub mod terminal;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use self::terminal::{OwnTerminal, give_terminal};

/// How long anything may take on a loaded machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(240);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// A configuration with the fake engine; tests add lines to it. A loaded machine may stand still
/// for a while, and a worker is not to be ended for that.
const CONFIG: &str = r#"
engine = "fake"

[model]
path = "model"

[worker]
backoff = "10ms"
step_timeout = "60s"
"#;

/// What has root read and write whatever the rights of files say, as the kernel counts it.
const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;

/// The folder of a daemon, and the daemon when it runs.
pub struct House {
    folder: TempDir,
    daemon: Option<Child>,
}

impl House {
    /// A folder with a configuration; `more` is appended to it.
    pub fn new(more: &str) -> House {
        House::with_config(&format!("{CONFIG}{more}"))
    }

    /// As [`House::new`], where a step may take no more than three seconds: for workers that hang.
    pub fn impatient(more: &str) -> House {
        House::with_config(&format!("{}{more}", CONFIG.replace("60s", "3s")))
    }

    /// A folder with exactly this configuration, and a port of its own where it names none.
    pub fn with_config(config: &str) -> House {
        House::within(&std::env::temp_dir(), config)
    }

    /// As [`House::with_config`], in a folder that the test has chosen.
    pub fn within(place: &std::path::Path, config: &str) -> House {
        let port =
            if config.contains("[http]") { "" } else { "\n[http]\nlisten = '127.0.0.1:0'\n" };
        let config = format!("{config}{port}");
        let folder = tempfile::tempdir_in(place).expect("a temporary folder");
        for name in ["jobs", "model"] {
            fs::create_dir(folder.path().join(name)).expect("a writable folder");
        }
        fs::write(folder.path().join("daemon.toml"), config).expect("a writable folder");
        House { folder, daemon: None }
    }

    /// A running daemon.
    pub fn started(more: &str) -> House {
        let mut house = House::new(more);
        house.start();
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the daemon and waits until it takes jobs.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// As [`House::start`], with variables in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        self.start_logging_to(self.log_file(), environment);
    }

    fn log_file(&self) -> Stdio {
        fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log file")
            .into()
    }

    /// As [`House::start`], where no more files may be open.
    pub fn start_with_descriptors(&mut self, number: u64) {
        let mut command = self.command(&["run"]);
        let few = move || {
            setrlimit(Resource::Nofile, Rlimit { current: Some(number), maximum: Some(number) })?;
            Ok(())
        };
        // SAFETY: between fork and exec only `setrlimit` is called, which is safe there.
        unsafe { command.pre_exec(few) };
        command.stderr(self.log_file());
        self.launch(command);
    }

    /// As [`House::start`], where the rights of files count, also for root.
    pub fn start_as_anybody(&mut self) {
        let mut command = self.command(&["run"]);
        let weaken = || {
            for capability in [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH] {
                // SAFETY: the call has nothing to do with memory. To anybody else it is refused, and
                // changes nothing.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec only `prctl` is called, which is safe there.
        unsafe { command.pre_exec(weaken) };
        command.stderr(self.log_file());
        self.launch(command);
    }

    /// As [`House::start_with`], with another place for the log; the daemon's process.
    pub fn start_logging_to(&mut self, log: Stdio, environment: &[(&str, &str)]) -> &mut Child {
        let mut command = self.command(&["run"]);
        command.envs(environment.iter().copied()).stderr(log);
        self.launch(command)
    }

    /// As [`House::start`], with the end of the terminal ignored, as under nohup.
    pub fn start_under_nohup(&mut self) {
        self.spawn_under_nohup();
        self.until_ready();
    }

    /// As [`House::start_under_nohup`], but does not wait until the daemon is ready.
    pub fn spawn_under_nohup(&mut self) {
        let mut command = self.command(&["run"]);
        let ignore = || {
            // SAFETY: to ignore a signal installs no code.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
            Ok(())
        };
        // SAFETY: between fork and exec only `signal` is called, which is safe there.
        unsafe { command.pre_exec(ignore) };
        command.stderr(self.log_file());
        self.spawn(command);
    }

    /// As [`House::start`], on a terminal of the daemon's own, which is closed when it is dropped.
    pub fn start_on_terminal(&mut self) -> OwnTerminal {
        let mut command = self.command(&["run"]);
        hear_hangups(&mut command);
        let terminal = give_terminal(&mut command);
        command.stderr(self.log_file());
        self.launch(command);
        terminal
    }

    /// As [`House::start_with`], without a terminal, whatever the tests run on: as systemd does it.
    pub fn start_as_service(&mut self, environment: &[(&str, &str)]) {
        let mut command = self.command(&["run"]);
        hear_hangups(&mut command);
        let leave = || {
            // SAFETY: the call has nothing to do with memory.
            unsafe { libc::setsid() };
            Ok(())
        };
        // SAFETY: between fork and exec only `setsid` is called, which is safe there.
        unsafe { command.pre_exec(leave) };
        command.envs(environment.iter().copied()).stderr(self.log_file());
        self.launch(command);
    }

    fn launch(&mut self, command: Command) -> &mut Child {
        self.spawn(command);
        self.until_ready();
        self.daemon.as_mut().expect("just started")
    }

    fn spawn(&mut self, mut command: Command) {
        // What an earlier life has left says nothing of this one.
        let _ = fs::remove_file(self.path("state/status.json"));
        self.daemon = Some(command.stdout(Stdio::null()).spawn().expect("the binary starts"));
    }

    fn until_ready(&self) {
        self.until("the daemon is ready", || self.path("state/status.json").exists().then_some(()));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zimaged"));
        command
            .arg("--config")
            .arg(self.path("daemon.toml"))
            .args(arguments)
            .current_dir(self.folder.path());
        command.env_remove("NOTIFY_SOCKET").env("ZIMAGED_LOG", "info");
        command
    }

    /// Runs a command of the program to its end.
    pub fn zimaged(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.zimaged(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }

    /// Puts a job file into `jobs/` as a careful user does: whole, by a rename.
    pub fn drop_job(&self, name: &str, text: &str) {
        let temporary = self.path("jobs").join(format!("{name}.part"));
        fs::write(&temporary, text).expect("a writable folder");
        fs::rename(&temporary, self.path("jobs").join(name)).expect("the same filesystem");
    }

    /// From now on renders whose scripts say `hold` stand still there, for as long as a test needs.
    pub fn hold_renders(&self) {
        fs::write(self.path("model/hold"), "").expect("a writable folder");
    }

    /// The end of [`House::hold_renders`].
    pub fn release_renders(&self) {
        fs::remove_file(self.path("model/hold")).expect("our own file");
    }

    /// Puts a file where a folder of the daemon's is: as good as a disk that is not there, and
    /// works for root too. The daemon may use the folder meanwhile, and make it again.
    pub fn make_unusable(&self, folder: &str) {
        let path = self.path(folder);
        self.until(&format!("a file in the place of {folder}"), || {
            let _ = fs::remove_dir_all(&path);
            fs::write(&path, "").ok()
        });
    }

    /// Waits until a job file of this name is set aside; the report beside it, which is written
    /// before the file is moved.
    pub fn until_refused(&self, name: &str) -> String {
        let rejected = self.path("jobs/rejected");
        let is_moved = || rejected.join(name).exists().then_some(());
        self.until(&format!("{name} is refused"), is_moved);
        fs::read_to_string(rejected.join(format!("{name}.error.txt"))).expect("its report")
    }

    /// The rows that `sql` answers, each column as text.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        database::rows(&self.path("state/zimaged.sqlite"), sql)
    }

    /// Changes the database behind the daemon's back.
    pub fn falsify(&self, sql: &str) {
        database::execute(&self.path("state/zimaged.sqlite"), sql);
    }

    /// Does something with the house while another program keeps its database locked.
    pub fn while_locked<T>(&self, work: impl FnOnce() -> T) -> T {
        database::while_locked(&self.path("state/zimaged.sqlite"), work)
    }

    /// As [`House::while_locked`], for work that starts or stops the daemon.
    pub fn while_locked_mut<T>(&mut self, work: impl FnOnce(&mut House) -> T) -> T {
        let path = self.path("state/zimaged.sqlite");
        database::while_locked(&path, || work(self))
    }

    /// The one value that `sql` answers.
    pub fn value(&self, sql: &str) -> String {
        self.rows(sql).into_iter().flatten().next().unwrap_or_default()
    }

    /// Waits until `sql` answers `expected`.
    pub fn until_sql(&self, sql: &str, expected: &str) {
        let mut last = String::new();
        self.until(&format!("{sql} is {expected}"), || {
            last = self.value(sql);
            (last == expected).then_some(())
        });
    }

    /// Waits until `look` finds something.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the log has this text: it is written by a thread of its own, after the row.
    pub fn until_logged(&self, text: &str) {
        self.until(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The pictures in `outputs/`, sorted.
    pub fn pictures(&self) -> Vec<PathBuf> {
        let mut pictures: Vec<PathBuf> = fs::read_dir(self.path("outputs"))
            .map(|entries| {
                entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect()
            })
            .unwrap_or_default();
        pictures.sort();
        pictures
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// The worker's process id, once it is loaded.
    pub fn worker_pid(&self) -> u32 {
        self.until("a worker is ready", || {
            let status: Value =
                serde_json::from_slice(&fs::read(self.path("state/status.json")).ok()?).ok()?;
            u32::try_from(status["worker"]["pid"].as_u64()?).ok()
        })
    }

    /// Sends a signal to the daemon and waits for its end; its exit code.
    pub fn stop(&mut self, signal: &str) -> Option<i32> {
        let mut daemon = self.daemon.take().expect("a running daemon");
        kill(signal, daemon.id());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = daemon.try_wait().expect("our own child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon does not end\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// What must hold after everything (the numbers are those of the invariants).
    pub fn assert_invariants(&self) {
        let done = self.rows("SELECT path, bytes FROM history WHERE state = 'done'");
        for row in &done {
            let picture = self.path("outputs").join(&row[0]);
            let bytes = fs::metadata(&picture).map(|metadata| metadata.len()).unwrap_or_default();
            assert_eq!(bytes.to_string(), row[1], "I3: {} stands as recorded", row[0]);
        }
        for picture in self.pictures() {
            let name =
                picture.strip_prefix(self.path("outputs")).expect("inside").display().to_string();
            assert!(!name.ends_with(".part"), "I4: {name} is gone");
            let rows = done.iter().filter(|row| row[0] == name).count();
            assert_eq!(rows, 1, "I5: {name} has one row");
        }
        let running = self.value("SELECT count(*) FROM renders WHERE state = 'running'");
        assert!(running.parse::<u32>().expect("a number") <= 1, "I2");
        assert_eq!(self.value("PRAGMA quick_check"), "ok", "I8");
        assert!(self.rows("PRAGMA foreign_key_check").is_empty(), "I8");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Not even where the tests run under nohup is SIGHUP ignored.
fn hear_hangups(command: &mut Command) {
    let hear = || {
        // SAFETY: the default installs no code.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: between fork and exec only `signal` is called, which is safe there.
    unsafe { command.pre_exec(hear) };
}

/// For a test with hundreds of connections, beside others: usual limits allow 1024 files.
pub fn allow_many_descriptors() {
    let allowed = getrlimit(Resource::Nofile);
    let all = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    setrlimit(Resource::Nofile, all).expect("no more than is allowed");
}

/// Sends a signal by name ("TERM", "KILL", "STOP").
pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(sent.expect("kill is everywhere").success(), "kill -{signal} {pid}");
}

pub mod database {
    use std::path::Path;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
    use sqlx::{Column, ConnectOptions, Row, TypeInfo, ValueRef};

    /// A second program's look at the database, as with the `sqlite3` shell.
    pub fn rows(path: &Path, sql: &str) -> Vec<Vec<String>> {
        try_rows(path, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As [`rows`], for a database that may be any.
    pub fn try_rows(path: &Path, sql: &str) -> sqlx::Result<Vec<Vec<String>>> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let Ok(mut connection) = options.connect().await else { return Ok(Vec::new()) };
            let rows =
                sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
            Ok(rows.iter().map(texts).collect())
        })
    }

    pub fn execute(path: &Path, sql: &str) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection =
                SqliteConnectOptions::new().filename(path).connect().await.expect("a database");
            let done =
                sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        });
    }

    pub fn while_locked<T>(path: &Path, work: impl FnOnce() -> T) -> T {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = runtime.block_on(options.connect()).expect("a database");
        runtime
            .block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut connection))
            .expect("nobody writes for long");
        let result = work();
        runtime
            .block_on(sqlx::query("ROLLBACK").execute(&mut connection))
            .expect("our own transaction");
        result
    }

    fn texts(row: &SqliteRow) -> Vec<String> {
        (0..row.len()).map(|column| text(row, column)).collect()
    }

    fn text(row: &SqliteRow, column: usize) -> String {
        let value = row.try_get_raw(column).expect("a column");
        match value.type_info().name() {
            "NULL" => String::new(),
            "INTEGER" | "BOOLEAN" => row.get::<i64, _>(column).to_string(),
            "REAL" => row.get::<f64, _>(column).to_string(),
            "TEXT" => row.get::<String, _>(column),
            other => panic!("column {} is {other}", row.column(column).name()),
        }
    }
}

/// What a program has said, on both streams.
pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}
