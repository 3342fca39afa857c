//! Kills at moments that a storm of them hits too seldom: mistakes that show only there were put
//! into the program, and not found by hundreds of kills.

use std::fs;

use crate::house::{Harried, PATIENCE};
use crate::record;
use crate::trap::{Action, Rule};

const EXPECTED: &str = "no job is lost or taken in twice, every picture is made once, and only a \
                        worker's own death is counted";

/// With `deaths_max = 1` the fourth loss at one step ends a render.
const KILLS: u32 = 5;

const HELD: &str = "prompt = 'hold'\nwidth = 64\nheight = 64\nmin_side = 64\n";

/// Waits until the worker's last word ends so.
fn until_said(it: &Harried, end: &str) {
    let last_word = it.house.path("state/last-word");
    it.house.until(end, || fs::read_to_string(&last_word).ok().filter(|text| text.ends_with(end)));
}

/// The worker outlives its daemon by a moment, and says that it was well: that is no loss.
#[test]
fn a_daemon_that_is_killed_at_one_step_again_and_again_costs_no_render() {
    let mut it = Harried::new("deaths_max = 1\n");
    it.house.hold_renders();
    it.launch(&[]);
    it.until_listening();
    it.drop_file(HELD, 1);
    for attempt in 1..=KILLS {
        let reached = "\"reached\":{\"stage\":\"denoise\",\"step\":0}";
        until_said(&it, &format!("{{\"attempt_id\":{attempt},{reached}}}\n"));
        it.kill_supervisor();
        until_said(&it, "\"well\"\n");
        it.launch(&[]);
    }
    it.house.release_renders();
    it.until_settled();
    it.assert_holds();
    assert_eq!(it.house.value("SELECT state FROM renders"), "done", "{}", it.house.log());
    let fault = "kill the daemon alone, at the same step each time";
    record::note(fault, EXPECTED, u64::from(KILLS), "1 picture, there once");
}

/// A sidecar is named before its picture.
#[test]
fn a_sidecar_whose_picture_got_no_name_is_gone_after_the_next_start() {
    let second = Rule {
        role: "supervisor",
        calls: "rename",
        path: "outputs/.zimaged",
        first: 2,
        count: 1,
        action: Action::Kill,
    };
    let mut it = Harried::new("");
    it.launch(&[second]);
    it.drop_file("prompt = 'a fox'\nwidth = 64\nheight = 64\n", 1);
    it.while_alive(PATIENCE, |_| None::<()>);
    let sidecars = |it: &Harried| {
        let names = fs::read_dir(it.house.path("outputs")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.') && name.ends_with(".json")).count()
    };
    assert_eq!(sidecars(&it), 1, "{:?}\n{}", it.told(), it.house.log());
    it.kill_all();
    it.house.zimaged(&["pause", "a look at what there is"]);
    it.launch(&[]);
    it.until_listening();
    assert_eq!(sidecars(&it), 0, "{}", it.house.log());
    it.house.zimaged(&["resume"]);
    it.until_settled();
    it.assert_holds();
    let fault = "kill the daemon between the names of a sidecar and its picture";
    record::note(fault, EXPECTED, 1, "the sidecar is removed; 1 picture, there once");
}
