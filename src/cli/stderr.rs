//! Standard error. While the daemon runs, a thread writes to it: a pipe that nobody reads, or a
//! terminal that was stopped, makes nobody else wait.
//!
//! The thread of tracing-appender tells its own trouble at the end with `eprintln!`, which waits
//! for the very pipe that is full. It also could not keep a progress line below the log.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::warn;

use crate::problem::printable_lines;
use crate::recent_log;
use crate::spelling::without_codes;

/// Lines that wait for the reader. Those that come when so many wait are dropped and counted.
const WAITING_MAX: usize = 512;

/// How long the end of the program waits until everything is written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Between two tries to hand over the wish to flush.
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// What the thread is told.
enum Message {
    Lines(Vec<u8>),
    /// The line that stays below all others from now on, or its end.
    Progress(Option<String>),
    /// Everything before this is to be written; then an answer.
    Flush(SyncSender<()>),
}

/// The way to the thread.
struct Sink {
    messages: SyncSender<Message>,
    lost_lines: AtomicU64,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Whether nothing but answers and errors is to be shown.
static QUIET: AtomicBool = AtomicBool::new(false);

pub(super) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Starts the thread, once in a process. Where the system has no thread to give, lines are written
/// by whoever has them, as before the start.
pub(super) fn start() {
    let (messages, received) = sync_channel(WAITING_MAX);
    let started = thread::Builder::new().name("log".to_owned()).spawn(move || serve(&received));
    if started.is_ok() && SINK.set(Sink { messages, lost_lines: AtomicU64::new(0) }).is_ok() {
        // SAFETY: the function is called once, by the thread that ends the process, and touches
        // nothing but a channel.
        unsafe { libc::atexit(flush_at_exit) };
        recent_log::flush_by(|| flush(FLUSH_TIMEOUT));
    }
}

/// As [`tell`], of what is no error: whoever wants quiet is spared it.
pub(super) fn remark(text: &str) {
    if !is_quiet() {
        tell(text);
    }
}

/// Says one line, or some, in which nothing can speak to the terminal. Nobody may read any more;
/// that is nobody's concern here.
pub(super) fn tell(text: &str) {
    let _ = Lines.write_all(format!("{}\n", printable_lines(text)).as_bytes());
}

/// Shows a line below all others, in place of the last one; `None` takes it away. Before the start
/// and where no line can be shown ([`is_live`]) it does nothing.
pub(super) fn show(progress: Option<String>) {
    if let Some(sink) = SINK.get() {
        // A line that is lost here is out of date in a moment.
        let _ = sink.messages.try_send(Message::Progress(progress));
    }
}

/// Whether a line can be drawn again and again in its place.
pub(super) fn is_live() -> bool {
    let terminal = std::env::var_os("TERM").is_some_and(|name| name != "dumb" && !name.is_empty());
    terminal && io::stderr().is_terminal()
}

/// The width of the terminal, where it is one that tells it.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether colours are wanted here: on a terminal that has them, unless `NO_COLOR`, `CLICOLOR` or
/// `CLICOLOR_FORCE` say otherwise.
pub(super) fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// The stream as a writer that takes everything at once, whole lines at a time.
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(lines);
        let told = without_codes(&text);
        let told = told.as_bytes();
        recent_log::note(told);
        let Some(sink) = SINK.get() else {
            return io::stderr().write_all(told).map(|()| lines.len());
        };
        if sink.messages.try_send(Message::Lines(told.to_vec())).is_err() {
            sink.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

extern "C" fn flush_at_exit() {
    flush(FLUSH_TIMEOUT);
}

/// Waits until everything is written, for no longer than `timeout`.
fn flush(timeout: Duration) {
    let Some(sink) = SINK.get() else { return };
    let deadline = Instant::now() + timeout;
    let (written, answer) = sync_channel(1);
    while sink.messages.try_send(Message::Flush(written.clone())).is_err() {
        if Instant::now() >= deadline {
            return;
        }
        thread::sleep(FLUSH_POLL);
    }
    let _ = answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// The thread: writes until nobody can send any more, which is the end of the process.
fn serve(messages: &Receiver<Message>) {
    let mut progress = None;
    loop {
        let message = match messages.try_recv() {
            Err(TryRecvError::Empty) => {
                tell_lost_lines();
                messages.recv().ok()
            }
            received => received.ok(),
        };
        match message {
            Some(Message::Lines(lines)) => write_above(progress.as_ref(), &lines),
            Some(Message::Progress(text)) => draw(&mut progress, text),
            Some(Message::Flush(written)) => {
                draw(&mut progress, None);
                let _ = written.send(());
            }
            None => return,
        }
    }
}

/// Everything that waited is written, so that this line finds a place.
fn tell_lost_lines() {
    let lost_lines = SINK.get().map_or(0, |sink| sink.lost_lines.swap(0, Ordering::Relaxed));
    if lost_lines > 0 {
        warn!(lost_lines, "lines of the log are missing: nobody read it in time");
    }
}

fn write_above(progress: Option<&ProgressBar>, lines: &[u8]) {
    let write = || {
        // Nobody may read any more.
        let _ = io::stderr().write_all(lines);
    };
    match progress {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn draw(progress: &mut Option<ProgressBar>, text: Option<String>) {
    match text {
        Some(text) => progress.get_or_insert_with(bar).set_message(text),
        None => {
            if let Some(bar) = progress.take() {
                bar.finish_and_clear();
            }
        }
    }
}

/// A line as wide as the terminal; on anything else nothing is drawn.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The error and its causes in one line. A cause that the words before it end with, or hold,
/// is not told twice.
pub(super) fn told(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| without_codes(&cause.to_string()).into_owned());
    causes.fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    // newcomer 33
    #[test]
    fn a_cause_is_told_once() {
        let source = || std::io::Error::from_raw_os_error(2);
        let twice = ConfigError::Unreadable { path: "d.toml".into(), source: source() };
        assert_eq!(
            told(&twice.into()),
            "cannot read the configuration d.toml: No such file or directory"
        );
        let other = anyhow::Error::from(source()).context("cannot watch jobs");
        assert_eq!(told(&other), "cannot watch jobs: No such file or directory");
    }
}
