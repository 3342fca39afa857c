//! What a machine has for everybody: watches on folders, and the time.

use std::path::Path;

use super::{Aspect, Finding};
use crate::clock::{Clock, SystemClock, local, time_zone_problem};
use crate::intake;

/// No clock of this program's life shows an earlier moment: 1 January 2026, UTC.
const EARLIEST_MS: i64 = 1_767_225_600_000;

/// Whether the system would tell of a file that is dropped.
pub(super) fn watching(jobs: &Path) -> Finding {
    if !jobs.is_dir() {
        return Finding::ok(Aspect::Watching, "the jobs folder is watched once it is there");
    }
    match intake::check_watch(jobs) {
        Ok(()) => Finding::ok(Aspect::Watching, "the system tells of files that are dropped"),
        Err(why) => Finding::warning(
            Aspect::Watching,
            format!("the jobs folder is looked at every two seconds instead of at once: {why}"),
        ),
    }
}

/// The time of day and its zone.
pub(super) fn clock() -> Vec<Finding> {
    let now_ms = SystemClock.now_ms();
    let mut findings = vec![time(now_ms)];
    findings.extend(time_zone_problem().map(|told| {
        Finding::warning(Aspect::Clock, format!("{told}; TZ or /etc/localtime names the zone"))
    }));
    findings
}

fn time(now_ms: i64) -> Finding {
    let told = local(now_ms).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    if now_ms < EARLIEST_MS {
        let cure = "set the clock, or not_before and windows mean other moments";
        return Finding::wrong(Aspect::Clock, format!("it is not {told}: {cure}"));
    }
    Finding::ok(Aspect::Clock, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        assert_eq!(time(0).verdict, Verdict::Wrong);
        assert_eq!(time(EARLIEST_MS).verdict, Verdict::Ok);
    }
}
