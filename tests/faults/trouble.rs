//! A fault that begins in the middle of the work, lasts for a while and is then gone: everything
//! that was handed over is made.

use crate::house::{Harried, PATIENCE, last_of};
use crate::oracle;
use crate::record;
use crate::support::House;
use crate::{beside, folders, limits, permissions};

pub const EXPECTED: &str = "it goes on by itself, or ends with 75 and goes on at the next start; no render \
                            fails";

/// What the daemon goes through without an end.
const LIVES_ON: &str = "it goes on by itself, and no render fails";

/// A job of some hundred milliseconds.
pub const JOB: &str = "prompt = 'steps of 60 ms'\nsteps = 5\nwidth = 64\nheight = 64\nmin_side = 64\n\
                       num_images = 2\n";

/// Whether all has ended is asked at one of so many looks.
pub const LOOKS: u32 = 20;

pub struct Trouble {
    pub fault: &'static str,
    /// Hands work over: before the fault, and again when it has begun.
    pub feed: fn(&mut Harried),
    pub begin: fn(&mut Harried),
    /// Whether the daemon has come upon it.
    pub is_felt: fn(&House) -> bool,
    pub lift: fn(&mut Harried),
}

/// A dropped file with two pictures.
pub fn drop_job(it: &mut Harried) {
    it.drop_file(JOB, 2);
}

/// Work that comes without a file, where dropped files are in the way of the fault.
pub fn request_job(it: &mut Harried) {
    it.request(2);
}

/// Whether the log tells that nothing is started.
pub fn holds(house: &House) -> bool {
    house.log().contains("nothing is started")
}

impl Trouble {
    /// Lets a daemon that runs go through it.
    pub fn go_through(&self, it: &mut Harried) {
        let fault = self.fault;
        it.launch(&[]);
        it.until_listening();
        (self.feed)(it);
        let is_begun = "SELECT 1 FROM attempts LIMIT 1";
        it.while_alive(PATIENCE, |house| (house.value(is_begun) == "1").then_some(()));
        (self.begin)(it);
        (self.feed)(it);
        let is_felt = |house: &House| (self.is_felt)(house).then_some(());
        // A fault that the daemon has not come upon by then shows nothing.
        let is_felt = it.while_alive(PATIENCE, is_felt).is_some() || it.ended().is_some();
        assert!(is_felt, "{fault}: not felt\n{}", last_of(&it.house.log()));
        (self.lift)(it);
        assert_lives_on(it, fault);
    }
}

/// Waits until all has ended or the daemon has.
pub fn until_settled_or_ended(it: &mut Harried) {
    let ledger = it.ledger.clone();
    let mut looks: u32 = 0;
    it.while_alive(PATIENCE, |house| {
        looks += 1;
        (looks.is_multiple_of(LOOKS) && oracle::is_settled(house, &ledger)).then_some(())
    });
}

/// The fault is gone: all is made, by a new start if the daemon has ended with 75, no render has
/// failed, and the oracle finds nothing. Notes it for the table.
pub fn assert_goes_on(it: &mut Harried, fault: &str) {
    assert_made(it, fault, EXPECTED);
}

/// As [`assert_goes_on`], by a daemon that has not ended.
pub fn assert_lives_on(it: &mut Harried, fault: &str) {
    until_settled_or_ended(it);
    let ended = it.ended();
    assert!(ended.is_none(), "{fault}: {ended:?}\n{}", it.house.log());
    assert_made(it, fault, LIVES_ON);
}

fn assert_made(it: &mut Harried, fault: &str, expected: &str) {
    until_settled_or_ended(it);
    let seen = match it.ended() {
        None => {
            // Requests that were not answered are sent again.
            it.until_settled();
            "goes on"
        }
        Some(status) => {
            assert_eq!(status.code(), Some(75), "{fault}\n{}", it.house.log());
            it.settle();
            "ended with 75, goes on"
        }
    };
    let states = it.house.value("SELECT group_concat(DISTINCT state) FROM renders");
    assert_eq!(states, "done", "{fault}\n{}", it.house.log());
    it.assert_holds();
    record::note(fault, expected, 1, seen);
}

/// A picture that could not be written holds the queue for a quarter of a minute.
#[test]
fn what_is_taken_from_the_daemon_for_a_while_costs_no_render() {
    let cases = folders::CASES.iter().chain(&permissions::CASES).chain(&limits::CASES);
    beside::try_all(cases, |case| {
        let mut it = Harried::new("deaths_max = 1\n");
        it.heeds_modes = true;
        case.go_through(&mut it);
    });
}
