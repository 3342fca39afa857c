//! A fetch that ends before its end, and the next one, which goes on.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{BYTES, Newcomer, assert_ends};
use crate::support::kill;

impl Newcomer {
    fn begin(&self) -> Child {
        let mut command = self.command(&["model", "fetch", "turbo", "--revision", "main"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Bytes that the store was asked for since the last call.
    fn asked_bytes(&self) -> usize {
        let seen = self.hub.seen();
        let of_store = seen.iter().filter(|seen| seen.is_store);
        of_store.filter_map(|seen| seen.range.as_ref().map(|range| range.len())).sum()
    }
}

#[test]
fn fifty_kills_at_random_moments_cost_time_and_nothing_else() {
    let newcomer = Newcomer::new();
    // The whole fetch takes about a second so.
    newcomer.hub.set_pause(Duration::from_millis(40));
    let mut random = 42_u64;
    for number in 0..50 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let longest_ms = if number % 2 == 0 { 120 } else { 600 };
        let mut fetch = newcomer.begin();
        thread::sleep(Duration::from_millis((random >> 33) % longest_ms));
        fetch.kill().unwrap();
        fetch.wait().unwrap();
        newcomer.assert_nothing_wrong();
    }
    newcomer.hub.set_pause(Duration::ZERO);
    assert_ends(&newcomer.fetch_turbo(), 0, &["is complete"]);
    newcomer.assert_turbo();
}

#[test]
fn ctrl_c_ends_soon_and_the_next_run_goes_on() {
    let newcomer = Newcomer::new();
    newcomer.hub.set_pause(Duration::from_millis(100));
    let mut fetch = newcomer.begin();
    newcomer.hub.until_sent(2_000_000);
    let began = Instant::now();
    kill("INT", fetch.id());
    assert_eq!(fetch.wait().unwrap().code(), Some(75));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    newcomer.asked_bytes();
    newcomer.hub.set_pause(Duration::ZERO);
    assert_ends(&newcomer.fetch_turbo(), 0, &["is complete"]);
    let (asked, all) = (newcomer.asked_bytes(), BYTES.iter().sum::<usize>());
    assert!(asked < all * 9 / 10, "{asked} of {all} bytes were asked for again");
    newcomer.assert_turbo();
}

#[test]
fn a_second_fetch_of_the_same_model_says_that_there_is_a_first() {
    let newcomer = Newcomer::new();
    newcomer.hub.set_pause(Duration::from_millis(300));
    let mut first = newcomer.begin();
    newcomer.hub.until_sent(1);
    assert_ends(
        &newcomer.fetch_turbo(),
        75,
        &["in use by another zimaged", "it fetches this model"],
    );
    newcomer.hub.set_pause(Duration::ZERO);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    newcomer.assert_turbo();
}

#[test]
fn elsewhere_than_on_a_terminal_a_line_comes_now_and_then() {
    let newcomer = Newcomer::new();
    newcomer.hub.set_pause(Duration::from_millis(250));
    let fetched = newcomer.fetch_turbo();
    let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() <= 3, "{said}");
    let line = lines.first().unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(" of 5.8 MB, ") && line.contains("/s, ") && line.contains(" left"),
        "{line}"
    );
}
