//! Jobs whose prompts stand in a file, one a line.

use std::fs;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use zimaged::internals::{Access, FolderLock, Store};

use crate::support::{House, said};

fn write(house: &House, name: &str, text: &str) {
    let path = house.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

const ENDED: &str = "SELECT count(*) FROM renders WHERE state IN ('done', 'failed', 'cancelled')";

#[test]
fn a_dropped_job_reads_its_list_and_one_failed_picture_stops_no_other() {
    let house = House::started("");
    write(&house, "lists/zoo.txt", "\u{feff}# the zoo\r\na fox\r\n\r\nblack\r\n  an owl \r\n");
    let job = "prompt_file = '../lists/zoo.txt'\nsteps = 3\n[matrix]\nseed = [1, 2]\n";
    house.drop_job("zoo.toml", job);
    house.until_sql(ENDED, "6");
    let rows = house.rows("SELECT prompt, seed, state, steps FROM renders ORDER BY position");
    let expected = [
        ["a fox", "1", "done", "3"],
        ["a fox", "2", "done", "3"],
        ["black", "1", "failed", "3"],
        ["black", "2", "failed", "3"],
        ["an owl", "1", "done", "3"],
        ["an owl", "2", "done", "3"],
    ];
    assert_eq!(rows, expected);
    // Read once: what becomes of the list means nothing any more.
    write(&house, "lists/zoo.txt", "a hare\n");
    assert_eq!(house.json(&["retry", "1"])["renders"], 2);
    house.until_sql(ENDED, "8");
    assert_eq!(house.value("SELECT prompt FROM renders WHERE job_id = 2"), "black");
}

#[test]
fn a_submitted_job_and_a_template_find_their_list_beside_them() {
    let house = House::started("");
    write(&house, "other/zoo.txt", "a \"fox\"\nan owl\n");
    write(&house, "other/a.toml", "# the zoo\nprompt_file = 'zoo.txt'\nseed = 1\n");
    let checked = house.json(&["check", "other/a.toml"]);
    assert_eq!(checked["renders"][1]["prompt"], "an owl");
    for arguments in [
        &["submit", "--wait", "other/a.toml"][..],
        &["submit", "--wait", "--template", "other/a.toml", "--steps", "1"],
        &["submit", "--wait", "--template", "other/a.toml", "--prompt", "a hare"],
    ] {
        let output = house.zimaged(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    }
    let prompts = "SELECT group_concat(prompt, ', ' ORDER BY id) FROM renders GROUP BY job_id";
    assert_eq!(house.rows(prompts), [["a \"fox\", an owl"], ["a \"fox\", an owl"], ["a hare"]]);
    // The daemon, which may be another user, was given the prompts and not the file's name.
    let text = house.value("SELECT text FROM jobs WHERE id = 1");
    assert_eq!(text, "# the zoo\nprompt = [\"a \\\"fox\\\"\", \"an owl\"]\nseed = 1\n");
}

#[test]
fn what_is_wrong_with_a_list_is_told_with_file_key_and_line() {
    let house = House::new("");
    write(&house, "bad.txt", "a fox\n\nan owl\u{7}\n");
    write(&house, "empty.txt", "# nothing\n");
    write(&house, "latin.txt", "a\n");
    fs::write(house.path("latin.txt"), b"a\nf\xfcr dich\n").expect("a writable folder");
    write(&house, "many.txt", &"a fox\n".repeat(10_001));
    mknodat(CWD, house.path("pipe"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    for (job, message) in [
        ("prompt_file = 'bad.txt'", "1:1: prompt_file: bad.txt:3: holds the control character"),
        ("prompt_file = 'empty.txt'", "prompt_file: empty.txt: there is no prompt in it"),
        ("prompt_file = 'latin.txt'", "prompt_file: latin.txt: line 2: not UTF-8 text"),
        ("prompt_file = 'none.txt'", "none.txt: No such file or directory"),
        ("prompt_file = 'none.txt'", "put the list there before the job; a relative path begins"),
        ("prompt_file = 'pipe'", "pipe: it is a device or a pipe, not a file"),
        ("prompt_file = '/dev/zero'", "/dev/zero: it is a device or a pipe, not a file"),
        ("prompt_file = '$HOME/a.txt'", "variables like $HOME have no meaning here"),
        ("prompt_file = ['a.txt']", "prompt_file: expected a string, found a list"),
        ("prompt_file = 'bad.txt'\nprompt = 'a'", "1:1: prompt_file: prompt is given too"),
        ("prompt_file = 'many.txt'\nmatrix.prompt = ['a']", "prompt_file: prompt is given too"),
        ("prompt_file = 'many.txt'", "prompt_file: 10001 prompt make 10001 pictures"),
        ("[matrix]\nprompt_file = ['a.txt']", "put it at the top of the file"),
        ("prompts = 'a.txt'", "`prompt_file` names a file with one in each line"),
        ("seed = 1", "prompt: missing"),
    ] {
        write(&house, "a.toml", &format!("{job}\n"));
        let output = house.zimaged(&["check", "a.toml"]);
        assert_eq!(output.status.code(), Some(3), "{job}");
        assert!(said(&output).contains(message), "{job}: {}", said(&output));
    }
}

#[test]
fn a_list_that_comes_a_moment_later_is_in_time_and_one_that_does_not_is_named() {
    let house = House::started("");
    // On a machine that stands still for long, a moment is too late: then it is tried again.
    let mut number = 0;
    house.until("a list in time", || {
        number += 1;
        house.drop_job(&format!("{number}.toml"), &format!("prompt_file = '{number}.txt'\n"));
        write(&house, &format!("jobs/{number}.txt"), "a fox\n");
        let dealt_with = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM rejections)";
        house.until_sql(dealt_with, &number.to_string());
        (house.value("SELECT count(*) FROM jobs") == "1").then_some(())
    });
    house.drop_job("never.toml", "prompt_file = 'never.txt'\n");
    let report = house.until_refused("never.toml");
    let path = house.path("jobs/never.txt");
    assert!(report.contains(&format!("prompt_file: {}: No such file", path.display())), "{report}");
}

#[test]
fn a_list_that_is_too_long_for_a_file_is_a_job_all_the_same() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    let prompt = "a lighthouse in a storm, oil on canvas, wide brush, golden light ".repeat(2);
    let list: String = (0..9_000).map(|number| format!("{prompt}{number}\n")).collect();
    write(&house, "many.txt", &list);
    write(&house, "many.toml", "prompt_file = 'many.txt'\n");
    let output = house.zimaged(&["submit", "many.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).starts_with("many.toml is job 1"), "{}", said(&output));
    assert_eq!(house.value("SELECT count(*) FROM renders"), "9000");
}

#[tokio::test]
async fn a_submit_waits_for_a_daemon_that_is_making_its_database() {
    let mut house = House::new("");
    let state = house.path("state");
    fs::create_dir(&state).expect("a writable folder");
    let locks = [state.clone(), house.path("jobs")].map(|path| FolderLock::take(&path));
    write(&house, "a.toml", "prompt = 'a fox'\n");
    let submit = house.command(&["submit", "a.toml"]).spawn().expect("the binary starts");
    house.until("it is handed over", || {
        let mut names = fs::read_dir(house.path("jobs")).expect("a folder").flatten();
        names.find(|entry| entry.file_name().to_string_lossy().starts_with(".taken-"))
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let store = Store::open(&state.join("zimaged.sqlite"), Access::Daemon).await;
    store.expect("a new database").close().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(locks);
    house.start();
    let output = submit.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
