//! Log lines on standard error: for people on a terminal, bare for the journal, JSON when asked.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::uptime;

/// Starts logging, as the environment says; the worker inherits it.
///
/// `ZIMAGED_LOG` chooses what is logged (`info` unless said; `zimaged=debug,sqlx=warn`), `ZIMAGED_LOG_FORMAT=json` how.
pub(super) fn start() {
    let filter = EnvFilter::builder()
        .with_env_var("ZIMAGED_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let json = std::env::var("ZIMAGED_LOG_FORMAT").is_ok_and(|format| format == "json");
    // The journal has the time and no colours.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    if json {
        log.json().init();
    } else if journal {
        log.without_time().with_ansi(false).init();
    } else {
        log.with_timer(uptime()).with_ansi(std::io::stderr().is_terminal()).init();
    }
}
