//! Log lines on standard error: for people on a terminal, bare for the journal, JSON when asked.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Starts logging, as the environment says; the worker inherits it.
///
/// `ZIMAGED_LOG` chooses what is logged (`info` unless said; `zimaged=debug,sqlx=warn`),
/// `ZIMAGED_LOG_FORMAT=json` how.
pub(super) fn start() {
    let filter = EnvFilter::builder()
        .with_env_var("ZIMAGED_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
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
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
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

/// The time of day with its offset, as RFC 3339 has it.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        write!(line, "{}", jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z"))
    }
}
