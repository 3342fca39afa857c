//! Decides when a file in `jobs/` is whole: when it has not changed for a while, or the watcher saw
//! its writer close it. The age that its modification time claims does not count. Pure.

use std::time::{Duration, Instant};

/// A file that has not changed for this long counts as whole.
const STABLE: Duration = Duration::from_millis(500);

/// A file that does not parse is set aside when it has not changed for this long, because its
/// writer may only have paused. A file that was moved here was whole when it came: for it
/// [`STABLE`] is enough.
const GRACE: Duration = Duration::from_secs(5);

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub inode: u64,
    pub bytes: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// How the watcher saw a file come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The watcher did not see it come, or saw only a part of it written.
    Unseen,
    /// Its writer closed it.
    Closed,
    /// It was moved here.
    Moved,
}

/// How far a file is ready to be taken in, and so what to do with it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Look again soon.
    Wait,
    /// Take it in if it is a job; else keep waiting.
    Try,
    /// Take it in if it is a job; else set it aside.
    Decide,
    /// Something about it failed: tried again by every scan, but not waited for.
    Again,
}

/// What is known of a file since it last changed.
#[derive(Clone, Debug)]
pub struct Look {
    pub fingerprint: Fingerprint,
    /// Whether an earlier version of the program may have taken it in.
    pub may_be_known: bool,
    /// When it was first seen like this.
    since: Instant,
    arrival: Arrival,
    read: Read,
}

/// What was done with a file since it last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Never,
    /// It is no job as it stands, and the first reason.
    Unfit(String),
    /// Something else has to be done first, and what.
    Waits(String),
    /// It cannot be renamed or moved, and why.
    Stuck(String),
}

impl Fingerprint {
    /// Whether the file has the same content as the `other`, as far as can be known without
    /// reading: a rename changes nothing of it.
    pub fn has_content_of(self, other: Fingerprint) -> bool {
        Fingerprint { ctime_ns: other.ctime_ns, ..self } == other
    }
}

impl Look {
    /// What is known after a scan that found `fingerprint`, given what was known `before`.
    pub fn next(
        before: Option<Look>,
        fingerprint: Fingerprint,
        arrival: Option<Arrival>,
        now: Instant,
    ) -> Look {
        match before {
            Some(look) if look.fingerprint == fingerprint => {
                Look { arrival: arrival.unwrap_or(look.arrival), ..look }
            }
            _ => Look {
                fingerprint,
                may_be_known: false,
                since: now,
                arrival: arrival.unwrap_or(Arrival::Unseen),
                read: Read::Never,
            },
        }
    }

    /// What is known of the same file after we have renamed it.
    pub fn renamed(self, fingerprint: Fingerprint) -> Look {
        Look { fingerprint, ..self }
    }

    /// What to do with the file now.
    pub fn readiness(&self, now: Instant) -> Readiness {
        let unchanged = now.saturating_duration_since(self.since);
        let whole = self.arrival != Arrival::Unseen || unchanged >= STABLE;
        let grace = if self.arrival == Arrival::Moved { STABLE } else { GRACE };
        match self.read {
            Read::Stuck(_) => Readiness::Again,
            _ if unchanged >= grace => Readiness::Decide,
            Read::Never | Read::Waits(_) if whole => Readiness::Try,
            _ => Readiness::Wait,
        }
    }

    /// It was read and is no job for this `reason`: not read again before it changes or its time is
    /// up.
    pub fn unfit(&mut self, reason: &str) {
        self.read = Read::Unfit(reason.to_owned());
    }

    /// It was read, and waits for this `reason`: it is read again by the next scan.
    pub fn waits(&mut self, reason: String) {
        self.read = Read::Waits(reason);
    }

    /// It cannot be renamed or moved for this `reason`; whether that is new.
    pub fn stuck(&mut self, reason: &str) -> bool {
        let stuck = Read::Stuck(reason.to_owned());
        let is_new = self.read != stuck;
        self.read = stuck;
        is_new
    }

    /// Why it is still in the folder.
    pub fn why(&self) -> String {
        match &self.read {
            Read::Never => "it is not whole yet, or was changed since the last look".to_owned(),
            Read::Unfit(reason) => format!("it is refused unless it changes soon: {reason}"),
            Read::Waits(reason) | Read::Stuck(reason) => reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Fingerprint = Fingerprint { inode: 1, bytes: 10, mtime_ns: 5, ctime_ns: 5 };

    fn after_ms(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_file_nobody_saw_come_is_tried_after_half_a_second_without_change() {
        let start = Instant::now();
        let look = Look::next(None, FIRST, None, start);
        assert_eq!(look.readiness(start), Readiness::Wait);
        let look = Look::next(Some(look), FIRST, None, after_ms(start, 499));
        assert_eq!(look.readiness(after_ms(start, 499)), Readiness::Wait);
        assert_eq!(look.readiness(after_ms(start, 500)), Readiness::Try);
    }

    #[test]
    fn any_change_starts_the_wait_again() {
        let start = Instant::now();
        let changes = [
            Fingerprint { inode: 2, ..FIRST },
            Fingerprint { bytes: 11, ..FIRST },
            Fingerprint { mtime_ns: 6, ..FIRST },
            Fingerprint { ctime_ns: 6, ..FIRST },
        ];
        for changed in changes {
            let look = Look::next(
                Some(Look::next(None, FIRST, Some(Arrival::Moved), start)),
                changed,
                None,
                after_ms(start, 400),
            );
            assert_eq!(look.readiness(after_ms(start, 899)), Readiness::Wait);
            assert_eq!(look.readiness(after_ms(start, 900)), Readiness::Try);
        }
    }

    #[test]
    fn a_file_seen_to_arrive_whole_is_tried_at_once() {
        let start = Instant::now();
        for arrival in [Arrival::Closed, Arrival::Moved] {
            assert_eq!(
                Look::next(None, FIRST, Some(arrival), start).readiness(start),
                Readiness::Try
            );
            let seen_half = Look::next(None, FIRST, None, start);
            assert_eq!(
                Look::next(Some(seen_half), FIRST, Some(arrival), start).readiness(start),
                Readiness::Try
            );
        }
    }

    #[test]
    fn no_job_is_set_aside_only_after_its_grace_and_not_read_in_between() {
        for (arrival, grace_ms) in
            [(Arrival::Closed, 5000), (Arrival::Moved, 500), (Arrival::Unseen, 5000)]
        {
            let start = Instant::now();
            let mut look = Look::next(None, FIRST, Some(arrival), start);
            look.unfit("no prompt");
            assert_eq!(look.readiness(after_ms(start, grace_ms - 1)), Readiness::Wait);
            assert_eq!(look.readiness(after_ms(start, grace_ms)), Readiness::Decide);
        }
    }

    /// chaos 10: it was not tried again before the next start.
    #[test]
    fn a_file_that_cannot_be_moved_is_tried_again_and_not_waited_for() {
        let start = Instant::now();
        let mut look = Look::next(None, FIRST, Some(Arrival::Closed), start);
        assert!(look.stuck("no room"));
        assert!(!look.stuck("no room"), "it is told once");
        let look = Look::next(Some(look), FIRST, Some(Arrival::Closed), after_ms(start, 60_000));
        assert_eq!(look.readiness(after_ms(start, 60_000)), Readiness::Again);
        let edited = Fingerprint { bytes: 11, ..FIRST };
        let look = Look::next(Some(look), edited, Some(Arrival::Closed), after_ms(start, 61_000));
        assert_eq!(look.readiness(after_ms(start, 61_000)), Readiness::Try);
    }
}
