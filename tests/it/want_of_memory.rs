//! What an evening with too little memory costs: nothing is found out twice.

use std::fs;

use crate::support::House;

/// The scripted engine asks four bytes for each pixel while it denoises, and is told what there is.
const TOO_LITTLE: &str = "1000";
const ENOUGH: &str = "1000000000";

fn say_free(house: &House, bytes: &str) {
    fs::write(house.path("model/free.txt"), bytes).expect("a writable folder");
}

/// A daemon whose device has too little for a picture.
fn with_too_little() -> House {
    let mut house = House::new("[device]\nreserve = '0B'\n");
    fs::write(house.path("model/used.txt"), "0").expect("a writable folder");
    say_free(&house, TOO_LITTLE);
    house.start();
    house
}

/// Six pictures of which none finds memory, as `on_oom` says.
fn drop_batch(house: &House, name: &str, on_oom: &str) {
    let prompts = ["oom", "oom, a fox", "oom, an owl", "oom, a bear", "oom, a cat", "oom, a dog"];
    house.drop_job(
        name,
        &format!(
            "prompt = {prompts:?}\nwidth = 256\nheight = 256\nsteps = 1\non_oom = '{on_oom}'\n"
        ),
    );
}

fn attempts(house: &House, job: u32) -> String {
    let sql = "SELECT count(*) FROM attempts a JOIN renders r ON r.id = a.render_id WHERE r.job_id";
    house.value(&format!("{sql} = {job}"))
}

fn until_failed(house: &House, job: u32) {
    let sql = format!("SELECT count(*) FROM renders WHERE state = 'failed' AND job_id = {job}");
    house.until_sql(&sql, "6");
}

#[test]
fn a_batch_that_fits_no_memory_is_tried_once_and_not_picture_by_picture() {
    let house = with_too_little();
    drop_batch(&house, "a.toml", "fail");
    until_failed(&house, 1);
    assert_eq!(attempts(&house, 1), "1", "{}", house.log());
    let errors = house.rows("SELECT error_code, error FROM renders ORDER BY id");
    for row in &errors {
        assert_eq!(row[0], "out_of_memory");
        assert!(row[1].contains("scripted: oom") && row[1].contains("on_oom"), "{row:?}");
    }
    assert!(errors[5][1].contains("(1.1 on "), "whose attempt showed it: {:?}", errors[5]);
    house.until_logged("not tried");
    let told = house.value(
        "SELECT count(*) FROM events e JOIN renders r ON r.id = e.render_id \
         WHERE e.kind = 'out_of_memory' AND e.attempt_id IS NULL",
    );
    assert_eq!(told, "5", "the log has them all");
    // One that may be made smaller has rungs that nobody has tried.
    drop_batch(&house, "b.toml", "downgrade");
    until_failed(&house, 2);
    assert_ne!(attempts(&house, 2), "0");
    house.assert_invariants();
}

#[test]
fn with_more_memory_than_before_a_render_is_tried_anew() {
    let house = with_too_little();
    drop_batch(&house, "a.toml", "fail");
    until_failed(&house, 1);
    // Still too little by the prediction, and yet more.
    say_free(&house, "1100");
    drop_batch(&house, "b.toml", "fail");
    until_failed(&house, 2);
    assert_eq!(attempts(&house, 2), "1");
    say_free(&house, ENOUGH);
    house.drop_job("c.toml", "prompt = 'a fox'\nwidth = 256\nheight = 256\non_oom = 'fail'\n");
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
}

/// At this the miniature's 512x512 is predicted to lack a little, and is made.
const LIMIT: &str = "[model]\npath = {MODEL}\n[device]\nkind = 'cpu'\nmemory_limit = '40MiB'\n";

#[test]
fn a_size_that_was_made_within_a_limit_is_not_made_smaller_for_the_next_job() {
    let model = format!("{:?}", crate::support::places::miniature());
    let mut house = House::with_config(&LIMIT.replace("{MODEL}", &model));
    let job = |prompt: &str, on_oom: &str| {
        format!("prompt = '{prompt}'\nwidth = 512\nheight = 512\nsteps = 1\non_oom = '{on_oom}'\n")
    };
    let sizes = "SELECT group_concat(width, ' ') FROM \
                 (SELECT width FROM attempts WHERE outcome = 'done' ORDER BY id)";
    house.start();
    house.drop_job("a.toml", &job("the sea at dusk, a red boat", "fail"));
    house.until_sql(sizes, "512");
    let missing = house.value("SELECT json_extract(corrected, '$.missing_bytes') FROM attempts");
    assert_ne!(missing, "0", "it was thought not to fit");
    // Some words more than the first one has.
    let second = job("the sea at dusk, a blue boat on the left, the moon", "downgrade");
    fs::write(house.path("b.toml"), &second).expect("a writable folder");
    let check = house.json(&["check", "b.toml"]);
    assert_eq!(check["warnings"].as_array().map(Vec::len), Some(0), "{check}");
    house.drop_job("b.toml", &second);
    house.until_sql(sizes, "512 512");
    assert!(is_below_its_prediction(&house), "{:?}", house.rows("SELECT * FROM memory"));
}

#[test]
fn that_counts_at_once_for_the_picture_that_comes_next() {
    let model = format!("{:?}", crate::support::places::miniature());
    let mut house = House::with_config(&LIMIT.replace("{MODEL}", &model));
    let sizes = "width = 512\nheight = 512\nsteps = 1\n";
    house.drop_job("a.toml", &format!("prompt = 'a red boat'\n{sizes}on_oom = 'fail'\n"));
    house.drop_job("b.toml", &format!("prompt = 'a blue boat and the moon'\n{sizes}"));
    house.start();
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    assert_eq!(house.value("SELECT group_concat(width, ' ') FROM attempts"), "512 512");
}

fn is_below_its_prediction(house: &House) -> bool {
    let sql = "SELECT max(measured_bytes > predicted_bytes) FROM memory WHERE job > 1";
    house.value(sql) == "0"
}

/// The night's batch goes on trying where one picture like it has come out.
#[test]
fn what_was_made_all_the_same_is_tried_again() {
    let house = with_too_little();
    let fox = "prompt = 'a fox'\nwidth = 256\nheight = 256\nsteps = 1\non_oom = 'fail'\n";
    house.drop_job("fox.toml", fox);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    drop_batch(&house, "a.toml", "fail");
    until_failed(&house, 2);
    assert_eq!(attempts(&house, 2), "6", "{}", house.log());
}

#[test]
fn a_run_until_idle_counts_the_failures_that_it_does_not_show() {
    let house = House::new("");
    let prompts = ["oom"; 25];
    house.drop_job("a.toml", &format!("prompt = {prompts:?}\non_oom = 'fail'\n"));
    let run = house.zimaged(&["run", "--until-idle"]);
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(told.contains("and 5 pictures more that are not done: zimaged list"), "{told}");
}
