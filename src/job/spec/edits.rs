//! Changes of a job that was taken in: of the keys that say when it is rendered and how it is
//! found, and not what is painted. Read as a job file is.

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::fields::{self, tag};
use super::read_priority;
use super::times::{time_ms, window};
use crate::job::times::Times;
use crate::problem::Problem;
use crate::table::{self, Check, Mistake, Table};

/// In place of a time: there is none from now on.
const NONE: &str = "none";

/// What a job has, as far as a change may depend on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Editable {
    pub times: Times,
    pub tags: Vec<String>,
}

/// What a job is to have from now on; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    pub priority: Option<i64>,
    pub times: Option<Times>,
    pub tags: Option<Vec<String>>,
}

/// Reads the changes that `text` asks for: `priority`, `not_before`, `not_after` and `window`,
/// which may be `"none"`, and `tags`, `add_tags` and `remove_tags`. Times of day are those of a job
/// that is taken in at `now_ms`.
pub fn edits(
    text: &str,
    before: &Editable,
    zone: &TimeZone,
    now_ms: i64,
) -> Result<Edits, Vec<Problem>> {
    table::read(
        text,
        |_| None,
        |top| {
            let priority = read_priority(top);
            let times = times(top, before.times, zone, now_ms);
            let tags = tags(top, &before.tags);
            Some(Edits { priority, times, tags })
        },
    )
}

fn times(top: &mut Table, before: Times, zone: &TimeZone, now_ms: i64) -> Option<Times> {
    let given = ["not_after", "not_before", "window"].into_iter().find(|key| top.has(key))?;
    let not_before_ms =
        or_kept(top, "not_before", before.not_before_ms, |value| time_ms(value, zone, now_ms));
    let begin_ms = now_ms.max(not_before_ms.unwrap_or(now_ms));
    let not_after_ms =
        or_kept(top, "not_after", before.not_after_ms, |value| time_ms(value, zone, begin_ms));
    let window = or_kept(top, "window", before.window, window);
    let times = Times { not_before_ms, not_after_ms, window };
    if times.opening(now_ms, zone).is_none() {
        let why = match not_after_ms.is_some_and(|end_ms| end_ms <= begin_ms) {
            true if begin_ms > now_ms => "not_after is no later than not_before",
            true => "not_after lies in the past",
            false => "not_after comes before the window opens",
        };
        let mistake = Mistake::new(format!("nothing would be started: {why}"));
        top.mistake(given, mistake.help(cure(given)));
    }
    Some(times)
}

/// What would be right where `given` leaves no time in which anything is started.
fn cure(given: &str) -> &'static str {
    match given {
        "not_after" => "use a later time, or \"none\" for no end",
        "not_before" => "use an earlier time, or give a later not_after with it",
        _ => "use another window, or give a later not_after with it",
    }
}

/// The value that the text gives, none where it says so, else the one of before.
fn or_kept<T>(
    top: &mut Table,
    key: &'static str,
    before: Option<T>,
    check: impl FnOnce(&DeValue) -> Check<T>,
) -> Option<T> {
    let read = |value: &DeValue| match value.as_str() {
        Some(NONE) => Ok(None),
        _ => check(value).map(Some),
    };
    if top.has(key) { top.read(key, read).flatten() } else { before }
}

fn tags(top: &mut Table, before: &[String]) -> Option<Vec<String>> {
    let given = ["tags", "add_tags", "remove_tags"].into_iter().find(|key| top.has(key))?;
    let mut tags = top.read_list("tags", tag).unwrap_or_else(|| before.to_vec());
    let removed = top.read_list("remove_tags", tag).unwrap_or_default();
    tags.retain(|tag| !removed.contains(tag));
    for added in top.read_list("add_tags", tag).unwrap_or_default() {
        if !tags.contains(&added) {
            tags.push(added);
        }
    }
    fields::limit_tags(top, given, &tags);
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_767_225_600_000; // 2026-01-01 00:00 UTC
    const HOUR_MS: i64 = 3_600_000;

    fn read(text: &str, before: &Editable) -> Result<Edits, String> {
        let edits = edits(text, before, &TimeZone::UTC, NOW_MS);
        edits.map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn what_is_not_named_stays_and_none_takes_away() {
        let window = "22:00-07:00".parse().ok();
        let times = Times { not_before_ms: Some(5), window, ..Times::default() };
        let before = Editable { times, tags: vec!["a".into(), "b".into()] };
        let edited = |text| read(text, &before).expect(text);
        assert_eq!(edited("priority = 3"), Edits { priority: Some(3), ..Edits::default() });
        let only_window = Times { window, ..Times::default() };
        assert_eq!(edited("not_before = 'none'").times, Some(only_window));
        let later = Times { not_before_ms: Some(NOW_MS + HOUR_MS), ..times };
        assert_eq!(edited("not_before = '01:00'").times, Some(later));
        assert_eq!(edited("window = 'none'").times, Some(Times { window: None, ..times }));
        for (text, tags) in [
            ("tags = ['c']", &["c"][..]),
            ("tags = []", &[]),
            ("add_tags = ['b', 'c']", &["a", "b", "c"]),
            ("remove_tags = ['a', 'x']", &["b"]),
        ] {
            assert_eq!(edited(text).tags.expect(text), tags, "{text}");
        }
    }

    #[test]
    fn an_end_is_the_first_after_the_begin_that_the_job_has() {
        let times = Times { not_before_ms: Some(NOW_MS + 22 * HOUR_MS), ..Times::default() };
        let before = Editable { times, ..Editable::default() };
        let edited = read("not_after = '07:00'", &before).expect("the next morning");
        let not_after_ms = edited.times.expect("one was given").not_after_ms;
        assert_eq!(not_after_ms, Some(NOW_MS + 31 * HOUR_MS));
    }

    #[test]
    fn what_a_job_file_may_not_say_is_a_mistake_here_too() {
        let times = Times { not_after_ms: Some(NOW_MS + HOUR_MS), ..Times::default() };
        let before = Editable { times, tags: (0..16).map(|tag| tag.to_string()).collect() };
        for (text, message) in [
            ("priority = 1000001", "priority: 1000001 is out of range"),
            ("window = '22'", "window: \"22\" is no window"),
            (
                "not_before = '02:00'",
                "not_before: nothing would be started: not_after is no later than not_before",
            ),
            (
                "window = '05:00-06:00'",
                "window: nothing would be started: not_after comes before the window opens",
            ),
            ("add_tags = ['x']", "add_tags: 17 of them"),
            ("add_tags = ['a b']", "add_tags: \"a b\" is no tag"),
            ("seed = 1", "seed: unknown key"),
        ] {
            assert_eq!(read(text, &before).expect_err(text), message);
        }
    }
}
