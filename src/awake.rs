//! Keeps the machine from going to sleep by itself while renders are due or run: a desktop that
//! nobody touches would be suspended in the middle of the night's work.
//!
//! logind's own tool takes the lock and keeps it until its standard input ends. That is a pipe from
//! here: whatever becomes of the daemon, nothing keeps the machine awake for it.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::countdown::within;
use crate::problem::one_line;
use crate::status::Status;
use crate::store::Store;

/// Between two looks for work that is due: short beside the time after which a machine goes to
/// sleep.
const LOOK: Duration = Duration::from_secs(2);

/// After a refusal, or an end that nobody wanted, it is asked for again: logind may have been
/// started anew.
const PAUSE: Duration = Duration::from_secs(300);

/// How long the tool may take to end, or to say why it has.
const END_GRACE: Duration = Duration::from_secs(2);

/// What the tool says where there is nobody whom it could ask.
const NO_BUS: &str = "Failed to connect to bus";

/// So much of what the tool says is told.
const WORDS_BYTES_MAX: u64 = 500;

/// Keeps the machine awake while a render runs, or one is due and it is not quiet, until `stop`.
pub async fn run(
    store: Arc<Store>,
    config: LiveConfig,
    clock: Arc<dyn Clock>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) {
    let mut inhibitor = Inhibitor { lock: None, ask_at: Instant::now(), was_told: false, status };
    loop {
        let now_ms = clock.now_ms();
        let is_quiet = config.now().power.quiet.until_ms(now_ms, &TimeZone::system()).is_some();
        // What runs is finished, also in quiet hours.
        match store.has_work(!is_quiet, now_ms).await {
            Ok(true) => inhibitor.hold().await,
            Ok(false) => inhibitor.release().await,
            // Nobody knows: it stays as it is.
            Err(error) => debug!(%error, "whether work is due cannot be read"),
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return inhibitor.release().await;
        }
    }
}

/// At most one lock at a time.
struct Inhibitor {
    lock: Option<Lock>,
    /// Not asked for before.
    ask_at: Instant,
    /// Why there is no lock was said once.
    was_told: bool,
    /// Where whoever hands work over sees it, too.
    status: watch::Sender<Status>,
}

/// The tool that holds the lock.
struct Lock {
    child: Child,
    input: ChildStdin,
}

impl Inhibitor {
    /// Sees to it that the lock is held, as far as logind lets us.
    async fn hold(&mut self) {
        let has_ended = |lock: &mut Lock| !matches!(lock.child.try_wait(), Ok(None));
        match self.lock.take_if(has_ended) {
            Some(Lock { mut child, .. }) => {
                let words = last_words(&mut child).await;
                match words.contains(NO_BUS) {
                    true => self.is_not_needed(&words),
                    false => self.went_wrong(&words),
                }
            }
            None if self.lock.is_some() => self.tell(None),
            None if Instant::now() >= self.ask_at => match ask() {
                Ok(lock) => self.lock = Some(lock),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.is_not_needed("systemd-inhibit is not installed");
                }
                Err(error) => self.went_wrong(&error.to_string()),
            },
            None => (),
        }
    }

    /// Where there is no logind nothing is known to send the machine to sleep: in a container, on
    /// most servers.
    fn is_not_needed(&mut self, why: &str) {
        self.ask_at = Instant::now() + PAUSE;
        debug!("the machine is not kept from sleep: {why}");
    }

    fn went_wrong(&mut self, why: &str) {
        self.ask_at = Instant::now() + PAUSE;
        match self.was_told {
            true => debug!("still not kept from sleep: {why}"),
            false => {
                warn!("the machine may go to sleep while work is due");
                warn!("{why}");
            }
        }
        self.was_told = true;
        self.tell(Some(why));
    }

    fn tell(&self, why: Option<&str>) {
        self.status.send_if_modified(|status| {
            let is_new = status.not_kept_awake.as_deref() != why;
            status.not_kept_awake = why.map(str::to_owned);
            is_new
        });
    }

    async fn release(&mut self) {
        let Some(Lock { mut child, input }) = self.lock.take() else { return };
        drop(input);
        if within(END_GRACE, child.wait()).await.is_none() {
            debug!("systemd-inhibit does not end by itself");
            // Dropped, it is killed.
        }
    }
}

fn ask() -> io::Result<Lock> {
    let mut child = Command::new("systemd-inhibit")
        .args(["--what=sleep", "--who=zimaged", "--why=pictures are being rendered"])
        // What it runs, and ends with: this ends with its input.
        .args(["--mode=block", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for the daemon, which may still have work to end.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let input = child.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
    Ok(Lock { child, input })
}

/// Why it has ended, in its own words where it has some.
async fn last_words(child: &mut Child) -> String {
    let mut words = Vec::new();
    if let Some(errors) = child.stderr.take() {
        // What it runs may have its pipe, too, and keep it open.
        let _ = within(END_GRACE, errors.take(WORDS_BYTES_MAX).read_to_end(&mut words)).await;
    }
    match one_line(String::from_utf8_lossy(&words).trim()) {
        words if words.is_empty() => "systemd-inhibit has ended".to_owned(),
        words => format!("systemd-inhibit: {words}"),
    }
}
