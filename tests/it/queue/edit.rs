//! What is queued gets another priority, other times, other tags.

use serde_json::{Value, json};

use crate::support::{House, said};

/// A house with a running daemon that starts nothing, and three jobs.
fn paused() -> House {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    for job in ["a", "b", "c"] {
        let tags = format!("tags = [\"{job}\", \"all\"]");
        house.drop_job(
            &format!("{job}.toml"),
            &format!("prompt = [\"{job} 1\", \"{job} 2\"]\n{tags}\n"),
        );
        house.until_sql("SELECT max(file_name) FROM jobs", &format!("{job}.toml"));
    }
    house
}

/// What the edit answers programs.
fn edit(house: &House, arguments: &[&str]) -> Value {
    house.json(&[&["edit"], arguments].concat())
}

fn priorities(house: &House) -> String {
    house.value(
        "SELECT group_concat(priority, ' ' ORDER BY id) FROM (SELECT id, priority FROM renders)",
    )
}

#[test]
fn a_priority_is_changed_for_jobs_for_single_renders_and_for_what_has_a_tag() {
    let house = paused();
    let answer = edit(&house, &["2", "1.2", "--priority", "-5"]);
    assert_eq!(
        answer,
        json!({"changed": 2, "queued": 3, "running": 0, "refused": [], "not_before_ms": null,
            "too_late": 0, "warnings": []})
    );
    assert_eq!(priorities(&house), "0 -5 -5 -5 0 0");
    assert_eq!(house.rows("SELECT priority FROM jobs ORDER BY id"), [["0"], ["-5"], ["0"]]);
    assert!(said(&house.zimaged(&["show", "1.2"])).contains("-5, of its own"));
    let answer = edit(&house, &["--tag", "all", "--priority", "7"]);
    assert_eq!((answer["changed"].clone(), answer["queued"].clone()), (json!(3), json!(6)));
    assert_eq!(priorities(&house), "7 7 7 7 7 7");
    let events = house.rows(
        "SELECT job_id, coalesce(render_id, 0), detail FROM events WHERE kind = 'edited' ORDER BY id LIMIT 2",
    );
    assert_eq!(events, [["2", "0", "priority = -5"], ["1", "2", "priority = -5"]]);
    assert_eq!(
        said(&house.zimaged(&["edit", "--all", "--priority", "1"])),
        "3 changed: 6 renders queued\n"
    );
}

#[test]
fn the_changed_order_is_the_order_of_the_pictures() {
    let house = paused();
    edit(&house, &["3", "--priority", "9"]);
    edit(&house, &["2.2", "--priority", "8"]);
    assert!(house.zimaged(&["resume"]).status.success());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "6");
    let order = "SELECT group_concat(prompt, ', ' ORDER BY a.id) FROM attempts a JOIN renders r \
                 ON r.id = a.render_id";
    assert_eq!(house.value(order), "c 1, c 2, b 2, a 1, a 2, b 1");
}

#[test]
fn what_runs_goes_on_what_waits_gets_the_new_times_and_what_has_ended_stays() {
    let house = House::started("");
    house.hold_renders();
    house.drop_job("night.toml", "prompt = ['a', 'hold', 'c', 'd']\n");
    house.until_sql("SELECT state FROM renders WHERE position = 2", "running");
    let answer = edit(&house, &["1", "--not-before", "2999-01-01T12:00"]);
    assert_eq!((&answer["queued"], &answer["running"]), (&json!(2), &json!(1)));
    assert!(answer["not_before_ms"].as_i64() > Some(32_472_000_000_000), "{answer}");
    let told = said(&house.zimaged(&["edit", "1", "--not-before", "2999-01-02T12:00"]));
    assert!(told.contains("starts on 2999-01-02 12:00"), "newcomer 2: {told}");
    house.release_renders();
    house.until_sql("SELECT state FROM renders WHERE position = 2", "done");
    let shown = said(&house.zimaged(&["show", "1"]));
    assert!(shown.contains("starts on 2999-01-02 12:00"), "{shown}");
    assert_eq!(
        house.rows("SELECT state, run_after_ms > 0 FROM renders ORDER BY position"),
        [["done", "0"], ["done", "1"], ["queued", "1"], ["queued", "1"]]
    );
    // The daemon looks by itself.
    edit(&house, &["--state", "queued", "--not-before", "none"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "4");
    let late = house.zimaged(&["edit", "1", "--priority", "1"]);
    assert_eq!(late.status.code(), Some(3));
    assert_eq!(said(&late), "zimaged: nothing was changed: job 1 ended before\n");
    // evening F5
    let none = house.zimaged(&["edit", "--all", "--priority", "1"]);
    assert_eq!(none.status.code(), Some(3), "{}", said(&none));
}

#[test]
fn an_end_that_is_moved_is_kept_and_a_window_that_is_taken_away_opens_the_day() {
    let house = paused();
    edit(&house, &["1", "2", "--window", "22:00-07:00", "--not-after", "2999-01-01T12:00"]);
    let windows = "SELECT coalesce(open_hours, 'none') FROM jobs ORDER BY id";
    assert_eq!(house.rows(windows), [["22:00-07:00"], ["22:00-07:00"], ["none"]]);
    let job = &house.json(&["show", "1"])["job"];
    assert_eq!(job["window"], "22:00-07:00");
    assert!(job["not_after_ms"].as_i64().is_some_and(|at_ms| at_ms > 32_472_000_000_000), "{job}");
    edit(&house, &["2", "--window", "none", "--not-after", "none"]);
    let open = "SELECT run_after_ms, run_until_ms IS NULL FROM renders WHERE job_id = 2";
    assert_eq!(house.rows(open), [["0", "1"], ["0", "1"]]);
    house.until_sql("SELECT min(run_until_ms) > 0 FROM renders WHERE job_id = 1", "1");
}

#[test]
fn tags_are_added_taken_away_and_replaced() {
    let house = paused();
    edit(&house, &["1", "--add-tag", "night", "--remove-tag", "a", "--add-tag", "all"]);
    edit(&house, &["2", "--set-tags", "x, y"]);
    edit(&house, &["3", "--set-tags", ""]);
    let tags = house.rows("SELECT tags FROM jobs ORDER BY id");
    assert_eq!(tags, [["[\"all\",\"night\"]"], ["[\"x\",\"y\"]"], ["[]"]]);
    assert_eq!(edit(&house, &["--tag", "night", "--priority", "2"])["changed"], 1);
}

#[test]
fn a_change_that_means_nothing_is_told_and_nothing_is_done() {
    let house = paused();
    edit(&house, &["1", "--not-after", "2999-01-01T12:00"]);
    for (arguments, code, message) in [
        (&["1"][..], 2, "required"),
        (&["--priority", "1"], 2, "required"),
        (&["1", "--all", "--priority", "1"], 2, "cannot be used with"),
        (&["1", "--priority", "1000001"], 3, "--priority: 1000001 is out of range; use a whole"),
        (&["1", "--not-before", "soon"], 3, "--not-before: soon is no time; use a time of day"),
        (&["1", "--window", "22"], 3, "--window: \"22\" is no window; use two different times"),
        (&["1", "--add-tag", "a b"], 3, "--add-tag: \"a b\" is no tag"),
        (
            &["1", "--not-after", "2001-01-01T00:00"],
            3,
            "--not-after: nothing would be started: not_after lies in the past; use a later time",
        ),
        (&["1.1", "--add-tag", "x"], 3, "render 1.1: a single render has only a priority"),
        (
            &["1", "--not-before", "2999-01-02T12:00"],
            3,
            "job 1: --not-before: nothing would be started: not_after is no later than not_before; \
             use an earlier time, or give a later not_after with it",
        ),
        (&["1", "99", "--priority", "1"], 1, "there is no job 99"),
    ] {
        let output = house.zimaged(&[&["edit"], arguments].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    assert_eq!(house.value("SELECT count(*) FROM events WHERE kind = 'edited'"), "1");
    let some = edit(&house, &["1", "2", "--not-before", "2999-01-02T12:00"]);
    assert_eq!((some["changed"].clone(), some["refused"][0].is_string()), (json!(1), true));
}
