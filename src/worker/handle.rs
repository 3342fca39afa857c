//! The supervisor's side of a worker: start it, send requests, receive events, learn how it died.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::exit::{MemoryKills, WorkerExit};
use super::protocol::{HashedModel, LINE_BYTES_MAX, Load, PROTOCOL_VERSION, Request, WorkerEvent};
use crate::card::CardReading;
use crate::countdown::within;
use crate::engine::MemoryReading;
use crate::problem::printable;

/// Events read ahead of the dispatcher; a worker that is further ahead waits in its pipe.
const EVENTS_WAITING_MAX: usize = 64;

/// A worker reads its input at all times: one that does not take a request within this is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Between the end of a worker's output and the end of its process: the kernel frees its memory in
/// between.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// Between SIGKILL and the end of the process. Past it the process is stuck in the kernel and may
/// stay for ever.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How much of a bad line is shown.
const EXCERPT_BYTES_MAX: usize = 80;

/// Removed from the worker's environment, so that it cannot notify systemd as if it were the
/// daemon.
const SYSTEMD_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// A running worker child; dropped, it is killed.
pub struct Worker {
    child: Child,
    pid: u32,
    input: ChildStdin,
    events: mpsc::Receiver<Result<WorkerEvent, String>>,
    /// Why its output is no longer read, when that is the worker's fault.
    protocol_error: Option<String>,
    /// How a picture's writing ended, told while an answer was waited for.
    kept: Option<WorkerEvent>,
    /// As [`WorkerEvent::ModelHashed`] told it.
    hashed: Option<HashedModel>,
    /// As they stood when it was started.
    kills: MemoryKills,
}

impl Worker {
    /// Starts `exe worker` and sends it the load request.
    ///
    /// The kernel kills the worker when the thread that started it ends: call this on a thread that
    /// lives as long as the daemon (one of the runtime's own, never `spawn_blocking`).
    pub async fn spawn(exe: &Path, load: &Load) -> Result<Worker, WorkerExit> {
        let not_started = |error: &str| {
            WorkerExit::unknown(format!("{} cannot be started: {error}", exe.display()))
        };
        let mut child = command(exe).spawn().map_err(|error| not_started(&error.to_string()))?;
        let (Some(pid), Some(input), Some(output)) =
            (child.id(), child.stdin.take(), child.stdout.take())
        else {
            return Err(not_started("no pipes"));
        };
        let kills = MemoryKills::now();
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(read_events(BufReader::new(output), sender));
        let mut worker = Worker {
            child,
            pid,
            input,
            events,
            protocol_error: None,
            kept: None,
            hashed: None,
            kills,
        };
        worker.send(&Request::Load(Box::new(load.clone()))).await?;
        Ok(worker)
    }

    /// The operating system's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a request. Never blocks for long: a worker that does not read is dead. Not cancel
    /// safe: half a request would spoil the next.
    pub async fn send(&mut self, request: &Request) -> Result<(), WorkerExit> {
        let line = serde_json::to_string(request)
            .map_err(|error| WorkerExit::unknown(format!("unsendable request: {error}")))?;
        if line.len() >= LINE_BYTES_MAX {
            return Err(WorkerExit::unknown(format!(
                "unsendable request: {} bytes, at most {LINE_BYTES_MAX}",
                line.len()
            )));
        }
        match within(SEND_TIMEOUT, self.input.write_all(format!("{line}\n").as_bytes())).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(self.end(EXIT_GRACE).await),
            None => {
                let exit = self.end(Duration::ZERO).await;
                Err(WorkerExit::unknown(format!(
                    "it did not read a request within {} s; {}",
                    SEND_TIMEOUT.as_secs(),
                    exit.words
                )))
            }
        }
    }

    /// The model's hash, once the worker has told it after loading; then `None` again.
    pub fn take_model_hash(&mut self) -> Option<HashedModel> {
        self.hashed.take()
    }

    /// What memory there is, as a worker that renders nothing tells. It may be writing a picture.
    pub async fn memory(&mut self) -> Result<MemoryReading, WorkerExit> {
        self.send(&Request::Memory).await?;
        loop {
            if let WorkerEvent::Memory(memory) = self.answer().await? {
                return Ok(memory);
            }
        }
    }

    /// How the card is, as a worker that renders nothing tells. It may be writing a picture.
    pub async fn card(&mut self) -> Result<CardReading, WorkerExit> {
        self.send(&Request::Card).await?;
        loop {
            if let WorkerEvent::Card(card) = self.answer().await? {
                return Ok(card);
            }
        }
    }

    /// An event that is no picture's end, which is kept for [`Worker::event`].
    async fn answer(&mut self) -> Result<WorkerEvent, WorkerExit> {
        loop {
            match self.new_event().await? {
                event @ (WorkerEvent::Memory(_) | WorkerEvent::Card(_)) => return Ok(event),
                event @ (WorkerEvent::Done(_) | WorkerEvent::Failed(_)) if self.kept.is_none() => {
                    self.kept = Some(event);
                }
                event => warn!(?event, "ignored: no render is running"),
            }
        }
    }

    /// The next event, but for the model's hash, which may come at any time and is noted for
    /// [`Worker::take_model_hash`]. Cancel safe. A line that is too long, not UTF-8 or no event is
    /// a protocol error: the worker is killed and the death says so.
    pub async fn event(&mut self) -> Result<WorkerEvent, WorkerExit> {
        match self.kept.take() {
            Some(event) => Ok(event),
            None => self.new_event().await,
        }
    }

    async fn new_event(&mut self) -> Result<WorkerEvent, WorkerExit> {
        loop {
            match self.events.recv().await {
                Some(Ok(WorkerEvent::ModelHashed(hashed))) => {
                    self.hashed = Some(hashed);
                    continue;
                }
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => self.protocol_error = Some(error),
                None => {}
            }
            break;
        }
        let grace = if self.protocol_error.is_some() { Duration::ZERO } else { EXIT_GRACE };
        let end = self.end(grace).await;
        Err(self
            .protocol_error
            .as_ref()
            .map_or(end, |error| WorkerExit::unknown(format!("protocol error: {error}"))))
    }

    /// Closes its input and waits up to `grace`, then kills it; never waits without a limit.
    pub async fn stop(self, grace: Duration) {
        let Worker { mut child, pid, input, events, kills, .. } = self;
        drop(input);
        let exit = end(&mut child, pid, grace, &kills).await;
        // Held until now, so that a worker with much to tell is not stopped by a closed pipe.
        drop(events);
        debug!(pid, "the worker is stopped: {}", exit.words);
    }

    /// Kills it at once (a hang, a fatal failure) and says how it ended.
    pub async fn kill(mut self) -> WorkerExit {
        self.end(Duration::ZERO).await
    }

    async fn end(&mut self, grace: Duration) -> WorkerExit {
        end(&mut self.child, self.pid, grace, &self.kills).await
    }
}

fn command(exe: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    for variable in SYSTEMD_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// Waits up to `grace` for the process to end by itself, then kills it.
async fn end(child: &mut Child, pid: u32, grace: Duration, kills: &MemoryKills) -> WorkerExit {
    if let Some(ended) = within(grace, child.wait()).await {
        return WorkerExit::by_itself(ended, kills);
    }
    // An error means that it has ended meanwhile: the wait tells.
    let _ = child.start_kill();
    match within(KILL_GRACE, child.wait()).await {
        Some(ended) => WorkerExit::killed(ended),
        None => WorkerExit::unknown(format!(
            "process {pid} still there {} s after SIGKILL: stuck in a call to its device, which may be lost",
            KILL_GRACE.as_secs()
        )),
    }
}

/// Reads the worker's output to its end or its first mistake.
async fn read_events(
    mut output: BufReader<ChildStdout>,
    events: mpsc::Sender<Result<WorkerEvent, String>>,
) {
    if let Err(error) = forward_events(&mut output, &events).await {
        // Nobody to tell when the worker is already given up.
        let _ = events.send(Err(error)).await;
    }
}

async fn forward_events(
    output: &mut (impl AsyncBufRead + Unpin),
    events: &mpsc::Sender<Result<WorkerEvent, String>>,
) -> Result<(), String> {
    match next_event(output).await? {
        Some(hello) => check_hello(&hello)?,
        None => return Ok(()),
    }
    while let Some(event) = next_event(output).await? {
        if events.send(Ok(event)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The next event; `None` at the end of the output, also in the middle of a line.
async fn next_event(
    output: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<WorkerEvent>, String> {
    let mut line = Vec::new();
    let read = output.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await;
    read.map_err(|error| format!("its output cannot be read: {error}"))?;
    match line.last() {
        Some(b'\n') => {
            serde_json::from_slice(&line).map(Some).map_err(|error| no_event(&line, &error))
        }
        _ if line.len() == LINE_BYTES_MAX => {
            Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"))
        }
        _ => Ok(None),
    }
}

fn no_event(line: &[u8], error: &serde_json::Error) -> String {
    let excerpt = String::from_utf8_lossy(&line[..line.len().min(EXCERPT_BYTES_MAX)]);
    // Neither control characters in the line, which the debug form escapes, nor those that serde
    // quotes are for the reader's terminal.
    format!("a line is no event ({}): {:?}", printable(&error.to_string()), excerpt.trim_end())
}

fn check_hello(hello: &WorkerEvent) -> Result<(), String> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    match hello {
        WorkerEvent::Hello { protocol: PROTOCOL_VERSION, version } if version == VERSION => Ok(()),
        WorkerEvent::Hello { protocol, version } => Err(format!(
            "the worker is zimaged {} (protocol {protocol}) and the daemon zimaged {VERSION} (protocol \
             {PROTOCOL_VERSION}): the program was replaced while it ran, restart the daemon",
            printable(version)
        )),
        other => Err(format!("the first message must be hello, not {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_cannot_speak_to_systemd_for_the_daemon() {
        let command = command(Path::new("zimaged"));
        let removed: Vec<_> =
            command.as_std().get_envs().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(removed.len(), 3, "{removed:?}");
    }

    async fn error_of(output: &[u8]) -> String {
        next_event(&mut BufReader::new(output)).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_line_that_is_no_event_is_shown_short_and_harmless() {
        let error = error_of(b"\x1b[31m not json\n").await;
        assert!(error.ends_with(r#""\u{1b}[31m not json""#), "{error}");
        assert!(error_of(&[b"\xff".repeat(999), b"\n".to_vec()].concat()).await.len() < 500);
        assert!(error_of(&vec![b'x'; LINE_BYTES_MAX + 1]).await.contains("longer"));
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_the_end() {
        assert_eq!(next_event(&mut BufReader::new(&br#"{"event":"st"#[..])).await, Ok(None));
    }
}
