//! A fetch that ends before its end, and the next one, which goes on.

use std::fs;
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

    /// Waits until the store has sent so many bytes more, or the fetch has ended.
    fn until_more_came(&self, fetch: &mut Child, bytes: usize) {
        let until = self.hub.sent_bytes() + bytes;
        while self.hub.sent_bytes() < until && fetch.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a file is half there, and whether the next run can go on with bytes of it.
    fn half_there(&self) -> (bool, bool) {
        let entries = fs::read_dir(self.model(".fetch")).into_iter().flatten().flatten();
        let ends: Vec<_> =
            entries.filter_map(|entry| Some(entry.path().extension()?.to_owned())).collect();
        let has = |end: &str| ends.iter().any(|found| found == end);
        (has("part"), has("json"))
    }
}

/// So many are enough to find it half done and with bytes to go on with, on any machine.
const KILLS_MAX: usize = 400;

/// The moments are random bytes and not times, so that a slow machine kills at the same places. A
/// fetch that was complete is begun anew, so that every kill can find one under way.
#[test]
fn fifty_kills_at_random_moments_cost_time_and_nothing_else() {
    let newcomer = Newcomer::new();
    // Longer than the interval at which the journal is kept.
    newcomer.hub.set_pause(Duration::from_millis(60));
    let mut random = 42_u64;
    let (mut kills, mut half_done, mut with_bytes) = (0, 0, 0);
    while kills < 50 || half_done < 30 || with_bytes < 10 {
        assert!(kills < KILLS_MAX, "{half_done} half done, {with_bytes} with bytes, of {kills}");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bytes = (random >> 33) as usize % BYTES[0];
        let mut fetch = newcomer.begin();
        match kills % 4 {
            0 => thread::sleep(Duration::from_millis((random >> 33) % 120)),
            _ => newcomer.until_more_came(&mut fetch, bytes),
        }
        fetch.kill().unwrap();
        fetch.wait().unwrap();
        kills += 1;
        newcomer.assert_nothing_wrong();
        let (is_half, has_bytes) = newcomer.half_there();
        half_done += usize::from(is_half);
        with_bytes += usize::from(has_bytes);
        if newcomer.model("zimaged-fetched.json").exists() {
            fs::remove_dir_all(newcomer.path("models")).unwrap();
        }
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
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
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
    let began = Instant::now();
    let fetched = newcomer.fetch_turbo();
    let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    // Five seconds apart.
    assert!(lines.len() as u64 <= 2 + began.elapsed().as_secs() / 5, "{said}");
    let line = lines.first().unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(" of 5.8 MB, ") && line.contains("/s, ") && line.contains(" left"),
        "{line}"
    );
}
