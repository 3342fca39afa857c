//! How far a fetch is: a bar on a terminal, a line now and then elsewhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::stderr;
use crate::hub::{FetchActivity, FetchProgress, gigabytes};
use crate::moment;

/// Speed is what came in this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Where no bar can be drawn, a line is said so often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// While nothing can be fetched, so often after the first line that says so.
const WAIT_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct FetchBar {
    bar: ProgressBar,
    /// When so many bytes had come, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    told_at: Instant,
    /// The last line said that nothing can be fetched.
    told_wait: bool,
}

impl FetchBar {
    pub(super) fn new(name: &str) -> FetchBar {
        let is_live = stderr::is_live() && !stderr::is_quiet();
        let bar = if is_live { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:20} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        FetchBar { bar, seen: VecDeque::new(), told_at: Instant::now(), told_wait: false }
    }

    pub(super) fn show(&mut self, progress: &FetchProgress) {
        let (done, total) = progress.bytes();
        let now = Instant::now();
        let speed = self.speed(now, progress.received_bytes());
        let FetchActivity { text, is_wait } = progress.activity();
        let line = line(done, total, speed, &text);
        if !self.bar.is_hidden() {
            self.bar.set_length(total);
            self.bar.set_position(done);
            self.bar.set_message(line);
        } else if !stderr::is_quiet() && self.is_due(now, is_wait) {
            stderr::tell(&line);
        }
    }

    /// Whether a line is due where no bar can be drawn: what is waited for is no news each time.
    fn is_due(&mut self, now: Instant, is_wait: bool) -> bool {
        let is_known = is_wait && self.told_wait;
        let interval = if is_known { WAIT_INTERVAL } else { PLAIN_INTERVAL };
        let is_due = now.duration_since(self.told_at) >= interval;
        if is_due {
            (self.told_at, self.told_wait) = (now, is_wait);
        }
        is_due
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Bytes a second, over the last seconds.
    fn speed(&mut self, now: Instant, received: u64) -> f64 {
        self.seen.push_back((now, received));
        while self.seen.len() > 2 && now.duration_since(self.seen[1].0) >= WINDOW {
            self.seen.pop_front();
        }
        let (since, before) = self.seen[0];
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { (received - before) as f64 / seconds } else { 0.0 }
    }
}

/// `5.21 of 20.68 GB, 84.2 MB/s, 3 min left, fetching vae/ae.safetensors`.
fn line(done: u64, total: u64, speed: f64, activity: &str) -> String {
    if total == 0 {
        return activity.to_owned();
    }
    let mut line = format!("{} of {}", gigabytes(done), gigabytes(total));
    if speed >= 1.0 {
        let left_ms = (total.saturating_sub(done)) as f64 / speed * 1000.0;
        let left = moment::duration(left_ms as i64);
        line += &format!(", {}/s, {left} left", gigabytes(speed as u64));
    }
    format!("{line}, {activity}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_bytes_speed_and_time() {
        let told = line(5_210_000_000, 20_680_000_000, 84_200_000.0, "fetching a");
        assert!(told.starts_with("5.21 GB of 20.68 GB, 84.2 MB/s, 3 min"), "{told}");
        assert!(told.ends_with(" left, fetching a"), "{told}");
        assert_eq!(line(0, 10_000_000, 0.0, "checking a"), "0.0 kB of 10.0 MB, checking a");
        assert_eq!(line(0, 0, 0.0, "asking"), "asking");
    }

    #[test]
    fn what_is_waited_for_is_told_once_and_then_rarely() {
        let mut bar = FetchBar::new("m");
        let start = bar.told_at;
        let mut told = |seconds, is_wait| bar.is_due(start + Duration::from_secs(seconds), is_wait);
        let lines = (1..=125).filter(|seconds| told(*seconds, true)).collect::<Vec<_>>();
        assert_eq!(lines, [5, 65, 125]);
        let lines = (126..=140).filter(|seconds| told(*seconds, false)).collect::<Vec<_>>();
        assert_eq!(lines, [130, 135, 140]);
    }

    #[test]
    fn speed_forgets_what_is_long_ago() {
        let mut bar = FetchBar::new("m");
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(bar.speed(at(0), 0), 0.0);
        assert_eq!(bar.speed(at(2), 200), 100.0);
        assert_eq!(bar.speed(at(10), 200), 20.0);
        assert_eq!(bar.speed(at(20), 200), 0.0, "nothing came in ten seconds");
    }
}
