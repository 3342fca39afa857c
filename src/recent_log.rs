//! The newest lines that this process has logged, for whoever looks at the daemon in a browser.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};

/// So many lines are kept.
const LINES_MAX: usize = 500;

/// What is longer is cut: with the lines, a megabyte at the most.
const LINE_CHARS_MAX: usize = 500;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Keeps the lines of `text`, without the colours of a terminal.
pub fn note(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let mut kept = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    for line in text.lines() {
        if kept.len() >= LINES_MAX {
            kept.pop_front();
        }
        kept.push_back(plain(line));
    }
}

/// All that are kept, the newest last.
pub fn lines() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// How what is logged but not written yet is written.
static FLUSH: OnceLock<fn()> = OnceLock::new();

/// Has [`flush`] call this from now on.
pub fn flush_by(write: fn()) {
    let _ = FLUSH.set(write);
}

/// Waits for a moment until what was logged is written: for an end of the process that runs no
/// exit handlers.
pub fn flush() {
    if let Some(write) = FLUSH.get() {
        write();
    }
}

/// A line without escape sequences of colours, which begin with ESC and end with `m`.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    told.chars().take(LINE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_without_colours_cut_and_only_the_newest() {
        note(b"\x1b[2m08:00\x1b[0m \x1b[32m INFO\x1b[0m ready\n");
        assert!(lines().contains(&"08:00  INFO ready".to_owned()), "{:?}", lines());
        note("x".repeat(10_000).as_bytes());
        assert!(lines().iter().all(|line| line.len() <= LINE_CHARS_MAX));
        for number in 0..2 * LINES_MAX {
            note(format!("line {number}").as_bytes());
        }
        assert_eq!(lines().len(), LINES_MAX);
        assert_eq!(lines().last().map(String::as_str), Some("line 999"));
    }
}
