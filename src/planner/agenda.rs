//! When work that waits is begun and done: the queue, run through in thought, by priority, order of
//! arrival and the times of each job. Pure.

use jiff::tz::TimeZone;

use crate::job::quiet::{QuietHours, Silence};
use crate::job::times::{Opening, Times};

/// Renders that wait: alike, with the same rank and the same times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgendaEntry {
    /// Higher runs first; those of the same priority in the order of their entries.
    pub priority: i64,
    pub times: Times,
    /// It was begun, and goes on in quiet hours.
    pub is_running: bool,
    pub renders: u64,
    /// How long one of them takes.
    pub each_ms: f64,
}

/// What becomes of the renders of an entry. Moments are UTC, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// When the first of them is started; `None` where none is in time.
    pub begins_ms: Option<i64>,
    /// When the last of those that are started has ended.
    pub ends_ms: Option<i64>,
    /// Those that are not started, because their time is over before it is their turn.
    pub too_late: u64,
}

/// More entries take longer to run through than anybody waits for an answer.
const ENTRIES_MAX: usize = 2_000;

/// So often the next entry is looked for: enough for each entry, and for years of nights.
const LOOKS_MAX: usize = 10_000;

/// So often an entry is given its next opening, which takes longer than a look.
const REOPENED_MAX: usize = 20_000;

/// The turn of each entry, from `now_ms` on, where nothing is started in `quiet` hours, and times
/// of day are in `zone`; `None` where that takes too long to find out.
pub fn turns(
    entries: &[AgendaEntry],
    now_ms: i64,
    quiet: &QuietHours,
    zone: &TimeZone,
) -> Option<Vec<Turn>> {
    if entries.len() > ENTRIES_MAX {
        return None;
    }
    let silence = quiet.next(now_ms, zone);
    let mut agenda = Agenda { now_ms, quiet, silence, zone, waiting: Vec::new(), reopened: 0 };
    for entry in entries {
        let opening = entry.times.opening(now_ms, zone);
        agenda.waiting.push(Waiting { entry, left: entry.renders, opening, turn: Turn::default() });
    }
    // Of the same priority the first one stays first: the sort is stable.
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(entries[*place].priority));
    for _ in 0..LOOKS_MAX {
        if !agenda.step(&order) {
            let turn = |waiting: Waiting| Turn { too_late: waiting.left, ..waiting.turn };
            return Some(agenda.waiting.into_iter().map(turn).collect());
        }
        if agenda.reopened > REOPENED_MAX {
            break;
        }
    }
    None
}

struct Agenda<'a> {
    now_ms: i64,
    quiet: &'a QuietHours,
    /// The first that has not ended.
    silence: Option<Silence>,
    zone: &'a TimeZone,
    waiting: Vec<Waiting<'a>>,
    /// How often an entry was given its next opening.
    reopened: usize,
}

struct Waiting<'a> {
    entry: &'a AgendaEntry,
    left: u64,
    /// The first that has not ended; `None` where none comes any more.
    opening: Option<Opening>,
    turn: Turn,
}

impl Agenda<'_> {
    /// Renders of one entry, or waits for the next one that may start; false where nothing is left
    /// that ever may. `order` has the entries by rank.
    fn step(&mut self, order: &[usize]) -> bool {
        self.close();
        let opens = |place: &usize| self.starts_ms(&self.waiting[*place]);
        let first = order.iter().copied().find(|p| opens(p).is_some_and(|at| at <= self.now_ms));
        let Some(first) = first else {
            let next_ms = order.iter().filter_map(opens).min();
            self.now_ms = next_ms.unwrap_or(self.now_ms);
            return next_ms.is_some();
        };
        let ahead = order.iter().take_while(|place| **place != first);
        let closes = [self.waiting[first].closes_ms(), self.silent_from_ms(first)];
        let until_ms = ahead.filter_map(opens).chain(closes.into_iter().flatten()).min();
        self.now_ms = self.waiting[first].render(self.now_ms, until_ms);
        true
    }

    /// When the next of an entry may be started, if one ever may.
    fn starts_ms(&self, waiting: &Waiting<'_>) -> Option<i64> {
        let opens_ms = waiting.opens_ms()?;
        match self.silence.filter(|it| it.from_ms <= self.now_ms && !waiting.entry.is_running) {
            Some(silence) => Some(opens_ms.max(silence.until_ms)),
            None => Some(opens_ms),
        }
    }

    /// When nothing more of the entry is started for a while.
    fn silent_from_ms(&self, place: usize) -> Option<i64> {
        let silence = self.silence.filter(|_| !self.waiting[place].entry.is_running)?;
        Some(silence.from_ms).filter(|from_ms| *from_ms > self.now_ms)
    }

    /// Gives entries whose opening is over their next one; of what is quiet likewise.
    fn close(&mut self) {
        if self.silence.is_some_and(|silence| silence.until_ms <= self.now_ms) {
            self.silence = self.quiet.next(self.now_ms, self.zone);
        }
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.left > 0) {
            if waiting.closes_ms().is_some_and(|closes_ms| closes_ms <= self.now_ms) {
                waiting.opening = waiting.entry.times.opening(self.now_ms, self.zone);
                self.reopened += 1;
            }
        }
    }
}

impl Waiting<'_> {
    /// When the next of it may be started, if one ever may.
    fn opens_ms(&self) -> Option<i64> {
        self.opening.filter(|_| self.left > 0).map(|opening| opening.from_ms)
    }

    fn closes_ms(&self) -> Option<i64> {
        self.opening?.until_ms
    }

    /// Renders what is started before `until_ms`; answers when the last of it has ended.
    fn render(&mut self, now_ms: i64, until_ms: Option<i64>) -> i64 {
        // What takes no time would never let the time go on.
        let each_ms = self.entry.each_ms.max(1.0);
        let room = until_ms.map_or(u64::MAX, |until_ms| {
            ((until_ms - now_ms) as f64 / each_ms).ceil().max(1.0) as u64
        });
        let started = self.left.min(room);
        self.left -= started;
        let ends_ms = now_ms.saturating_add((started as f64 * each_ms).round() as i64);
        self.turn.begins_ms.get_or_insert(now_ms);
        self.turn.ends_ms = Some(ends_ms);
        ends_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;

    fn entry(priority: i64, renders: u64, times: Times) -> AgendaEntry {
        AgendaEntry { priority, times, is_running: false, renders, each_ms: HOUR_MS as f64 }
    }

    /// In hours after the epoch: from when until when, and how many are too late. An entry's
    /// renders take an hour each.
    fn hours(entries: &[AgendaEntry], now_hours: i64) -> Vec<(Option<i64>, Option<i64>, u64)> {
        let turns = turns(entries, now_hours * HOUR_MS, &QuietHours::default(), &TimeZone::UTC)
            .expect("few entries");
        let hours = |at_ms: Option<i64>| at_ms.map(|at_ms| at_ms / HOUR_MS);
        turns
            .iter()
            .map(|turn| (hours(turn.begins_ms), hours(turn.ends_ms), turn.too_late))
            .collect()
    }

    fn not_before(hours: i64) -> Times {
        Times { not_before_ms: Some(hours * HOUR_MS), ..Times::default() }
    }

    fn night() -> Times {
        Times { window: "22:00-07:00".parse().ok(), ..Times::default() }
    }

    #[test]
    fn the_queue_before_a_job_is_what_ranks_higher_or_came_earlier() {
        let entries = [(0, 2), (5, 3), (0, 1), (-1, 1)];
        let entries = entries.map(|(priority, renders)| entry(priority, renders, Times::default()));
        let turns = [(3, 5), (0, 3), (5, 6), (6, 7)].map(|(from, to)| (Some(from), Some(to), 0));
        assert_eq!(hours(&entries, 0), turns);
    }

    #[test]
    fn what_ranks_higher_comes_in_between_as_soon_as_its_time_has_come() {
        let entries = [entry(0, 4, Times::default()), entry(1, 2, not_before(3))];
        assert_eq!(hours(&entries, 0), [(Some(0), Some(6), 0), (Some(3), Some(5), 0)]);
        // Nothing is begun between two times.
        let entries = [entry(0, 1, Times::default()), entry(0, 1, not_before(30))];
        assert_eq!(hours(&entries, 0), [(Some(0), Some(1), 0), (Some(30), Some(31), 0)]);
    }

    #[test]
    fn a_night_that_is_too_short_goes_on_in_the_next_one() {
        // Nine hours a night: from 22:00 on the first day to 08:00 on the third.
        let entries = [entry(0, 11, night()), entry(0, 2, Times::default())];
        assert_eq!(hours(&entries, 12), [(Some(22), Some(48), 0), (Some(12), Some(14), 0)]);
    }

    #[test]
    fn what_is_not_started_in_time_is_too_late() {
        let until = Times { not_after_ms: Some(3 * HOUR_MS), ..Times::default() };
        let entries = [entry(1, 2, Times::default()), entry(0, 5, until)];
        assert_eq!(hours(&entries, 0), [(Some(0), Some(2), 0), (Some(2), Some(3), 4)]);
        assert_eq!(hours(&entries[1..], 4), [(None, None, 5)]);
        // What is started before the end is rendered to its own end.
        let long = AgendaEntry { each_ms: 2.5 * HOUR_MS as f64, ..entries[1] };
        assert_eq!(hours(&[long], 0), [(Some(0), Some(5), 3)]);
    }

    #[test]
    fn more_than_can_be_run_through_has_no_answer() {
        let entries = vec![entry(0, 1, Times::default()); ENTRIES_MAX + 1];
        assert_eq!(turns(&entries, 0, &QuietHours::default(), &TimeZone::UTC), None);
        assert!(turns(&entries[1..], 0, &QuietHours::default(), &TimeZone::UTC).is_some());
        let years = entry(0, 100_000, night());
        assert_eq!(turns(&[years], 0, &QuietHours::default(), &TimeZone::UTC), None);
    }

    #[test]
    fn in_quiet_hours_nothing_is_started_and_what_runs_goes_on() {
        let night = vec!["23:00-07:00".parse().expect("a time")];
        let quiet = QuietHours::new(night).expect("not the whole week");
        let running = AgendaEntry { is_running: true, ..entry(i64::MAX, 1, Times::default()) };
        let entries = [running, entry(0, 3, Times::default()), entry(0, 1, not_before(3))];
        let hours = |now_hours: i64| -> Vec<(i64, i64)> {
            let turns = turns(&entries, now_hours * HOUR_MS, &quiet, &TimeZone::UTC);
            let hours = |at_ms: Option<i64>| at_ms.expect("in time") / HOUR_MS;
            let turns = turns.expect("few entries").into_iter();
            turns.map(|turn| (hours(turn.begins_ms), hours(turn.ends_ms))).collect()
        };
        assert_eq!(hours(20), [(20, 21), (21, 32), (32, 33)], "two are begun before the night");
        assert_eq!(hours(23), [(23, 24), (31, 34), (34, 35)], "one that runs is finished");
    }
}
