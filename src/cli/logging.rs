//! Log lines on standard error: for people on a terminal, bare for the journal, JSON when asked.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::stderr;

/// Says what is logged; the worker inherits it.
const FILTER: &str = "ZIMAGED_LOG";

/// How much is said.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Verbosity {
    /// Log more; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = super::EVERYWHERE)]
    verbose: u8,
    /// Say nothing but answers and errors: no warnings, no progress
    #[arg(
        short,
        long,
        global = true,
        action = clap::ArgAction::Count,
        conflicts_with = "verbose",
        help_heading = super::EVERYWHERE
    )]
    quiet: u8,
}

impl Verbosity {
    pub(super) fn is_verbose(self) -> bool {
        self.verbose > 0
    }

    /// The filter that the command line asks for, if it does.
    fn filter(self) -> Option<&'static str> {
        match (self.verbose, self.quiet) {
            (0, 0) => None,
            (0, _) => Some("error"),
            (1, _) => Some("info,zimaged=debug"),
            _ => Some("debug,zimaged=trace"),
        }
    }

    /// Hands the wish on to the worker, and so to [`start`]. To be called while the process has one
    /// thread.
    pub(super) fn hand_on(self) {
        if self.quiet > 0 {
            stderr::be_quiet();
        }
        if let Some(filter) = self.filter() {
            // SAFETY: nobody reads the environment at the same time: there is no other thread.
            unsafe { std::env::set_var(FILTER, filter) };
        }
    }
}

/// Unless something else was asked for, a worker says warnings only: its user waits for a report
/// and watches no daemon. To be called while the process has one thread.
pub(super) fn expect_warnings_only() {
    if asked().is_none() {
        // SAFETY: as in `hand_on`.
        unsafe { std::env::set_var(FILTER, "warn") };
    }
}

/// What tells of every request and of every client that goes away, unless it is asked for by name.
const TALKATIVE: &str = "rmcp=off";

/// The variable that says what is logged, where one does.
fn asked() -> Option<&'static str> {
    [FILTER, "RUST_LOG"].into_iter().find(|name| std::env::var_os(name).is_some())
}

/// Starts logging, as the command line and the environment say; the worker inherits both.
///
/// `ZIMAGED_LOG`, or else `RUST_LOG`, chooses what is logged (`info` unless said;
/// `zimaged=debug,sqlx=warn`), `ZIMAGED_LOG_FORMAT=json` how. What is logged waits for no reader.
pub(super) fn start() {
    let mut filter = EnvFilter::builder()
        .with_env_var(asked().unwrap_or(FILTER))
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let text = asked().and_then(|name| std::env::var(name).ok()).unwrap_or_default();
    if !text.contains("rmcp") {
        filter = filter.add_directive(TALKATIVE.parse().expect("a directive"));
    }
    stderr::start();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| stderr::Lines)
        .with_target(false)
        // Nobody may read any more: that would be told to the same closed stream, by a panic.
        .log_internal_errors(false)
        .with_timer(LocalTime);
    let json = std::env::var("ZIMAGED_LOG_FORMAT").is_ok_and(|format| format == "json");
    if json {
        log.json().init();
    } else if is_journal() {
        // The journal notes the time itself, and shows no colours.
        log.without_time().with_ansi(false).init();
    } else {
        log.with_ansi(stderr::has_colours()).init();
    }
    log_panics();
}

/// A panic is told as everything else is: the usual way would wait for whoever reads the stream.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => tracing::error!("{panic}\n{trace}"),
            _ => tracing::error!("{panic}"),
        }
    }));
}

/// Whether lines go to people, and not into a file or a program.
pub(super) fn is_for_people() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("ZIMAGED_LOG_FORMAT").is_none()
}

/// Whether standard error is the journal's stream. The variable alone does not say so: a whole
/// desktop inherits it.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = rustix::fs::fstat(std::io::stderr()).ok();
    stream
        .zip(stderr)
        .is_some_and(|(stream, stat)| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The day and time with their offset, as RFC 3339 has them.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        write!(line, "{}", jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z"))
    }
}
