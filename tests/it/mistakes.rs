//! All that is wrong is told at once, by whoever reads a job, and in the user's own words: whoever
//! mends one mistake does not meet the next.

use std::fs;

use serde_json::Value;

use crate::support::{House, said};

/// Wrong in a key, in both pictures and in a LoRA.
const WRONG: &str = "prompt = 'a <lora:oil>'\ninit_image = 'none.png'\nmask = 'text.png'\nheight = 500\n\
                     [[lora]]\npath = 'ink'\n";

fn write(house: &House, name: &str, text: &str) {
    fs::write(house.path(name), text).expect("a writable folder");
}

fn assert_all_told(report: &str) {
    for told in [
        ":1:10: prompt: \"oil\": ",
        ":2:14: init_image: \"none.png\": there is no such file\n    init_image = 'none.png'\n",
        ":3:8: mask: \"text.png\": it is no PNG",
        ":4:10: height: 500",
        ":6:8: lora: \"ink\": ",
    ] {
        assert!(report.contains(told), "{told}: {report}");
    }
}

#[test]
fn files_are_looked_for_beside_other_mistakes_and_the_user_s_own_line_is_shown() {
    let house = House::started("");
    write(&house, "wrong.toml", WRONG);
    write(&house, "text.png", "no picture");
    write(&house, "jobs/text.png", "no picture");
    house.drop_job("dropped.toml", WRONG);
    assert_all_told(&house.until_refused("dropped.toml"));
    let template = ["submit", "--template", "wrong.toml"];
    for command in [&["check", "wrong.toml"][..], &["submit", "wrong.toml"], &template] {
        let output = house.zimaged(command);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert_all_told(&said(&output));
    }
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
    let kept = fs::read_dir(house.path("state/inputs")).into_iter().flatten().count();
    assert_eq!(kept, 0, "of a job that is refused nothing is kept");
}

#[test]
fn a_picture_beside_the_job_file_is_found_from_elsewhere_all_the_same() {
    let house = House::started("");
    let picture = image::RgbImage::from_pixel(40, 30, image::Rgb([9; 3]));
    picture.save(house.path("fox.png")).expect("a writable folder");
    write(&house, "fox.toml", "prompt = 'a fox'\ninit_image = 'fox.png'\n");
    for command in [&["submit", "fox.toml"][..], &["submit", "--template", "fox.toml"]] {
        let output = house.zimaged(command);
        assert!(output.status.success(), "{}", said(&output));
    }
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "2");
    let hashes = "SELECT count(DISTINCT init_image) || ' ' || max(length(init_image)) FROM renders";
    assert_eq!(house.value(hashes), "1 64");
}

#[test]
fn of_several_files_each_one_s_mistakes_are_told_whatever_is_wrong_with_another() {
    let house = House::new("");
    write(&house, "good.toml", "prompt = 'a fox'\n");
    write(&house, "a.toml", "prompt = 'a fox'\nsteps = 0\n");
    write(&house, "b.toml", "promt = 'a fox'\n");
    let files = ["a.toml", "none.toml", "good.toml", "b.toml"];
    for command in [&["check"][..], &["submit"], &["run", "--until-idle"]] {
        let output = house.zimaged(&[command, &files].concat());
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        for told in
            ["a.toml:2:9: steps", "cannot read none.toml: No such file", "b.toml:1:1: promt"]
        {
            assert!(said(&output).contains(told), "{command:?}: {told}: {}", said(&output));
        }
        let nothing = "nothing was handed over: mend a.toml, none.toml, b.toml, or leave them out \
                       (the other file is good)";
        let is_handing_over = command != ["check"];
        assert_eq!(said(&output).contains(nothing), is_handing_over, "{}", said(&output));
        assert!(house.json(&["status"])["jobs_folder"]["waiting"] == 0, "nothing is handed over");
    }
    let error = &house.json(&[&["submit"][..], &files].concat())["error"];
    let named = error["problems"].as_array().expect("a list").iter().map(|it| &it["file"]);
    assert!(named.eq([&Value::from("a.toml"), &Value::from("b.toml"), &Value::from("b.toml")]));
    assert_eq!(error["exit_code"], 3, "{error}");
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("nothing was handed over: mend a.toml"), "{message}");
    let one_bad = said(&house.zimaged(&["submit", "good.toml", "good.toml", "a.toml"]));
    let told = "mend a.toml, or leave it out (the other 2 files are good)";
    assert!(one_bad.contains(told), "{one_bad}");
}
