//! Questions on a terminal, before something is done that cannot be undone.

use std::io::{self, IsTerminal, stdin};

use super::stderr;

/// Whether somebody is there who would read a question and answer it: programs are not asked.
pub(super) fn can_ask() -> bool {
    stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; what is not said is no.
pub(super) fn is_meant(question: &str) -> io::Result<bool> {
    stderr::tell(&format!("{question} [y/N]"));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
