//! `[output] sidecar`: beside each picture a file that says as JSON what the picture says of
//! itself.

use std::fs;

use serde_json::Value;

use crate::support::{House, said};

const SIDECARS: &str = "[output]\nsidecar = 'json'\n";
const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";

fn started() -> House {
    House::started(SIDECARS)
}

fn files(house: &House) -> Vec<String> {
    let entries = fs::read_dir(house.path("outputs")).expect("the output folder");
    let names = entries.map(|entry| entry.expect("a file").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("ASCII")).collect();
    names.sort();
    names
}

#[test]
fn a_sidecar_says_what_its_picture_says_in_each_format_and_folder() {
    let house = started();
    for (format, extension) in [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")] {
        let job = format!("prompt = 'a fox'\nformat = '{format}'\noutput = 'set/{format}'\n");
        house.drop_job(&format!("{format}.toml"), &job);
        let path = format!("outputs/set/{format}.{extension}");
        house.until(&path, || house.path(&path).exists().then_some(()));
        let text = fs::read(house.path(&format!("outputs/set/{format}.json"))).expect("a sidecar");
        let sidecar: Value = serde_json::from_slice(&text).expect("JSON");
        let metadata = zimaged::internals::metadata_of(&house.path(&path)).expect("ours");
        assert_eq!(sidecar, serde_json::to_value(metadata).expect("JSON"));
        assert_eq!(sidecar["recipe"]["prompt"], "a fox");
    }
    house.until_sql(DONE, "3");
    let verified = house.json(&["verify"]);
    assert_eq!((&verified["right"], &verified["strangers"]), (&3.into(), &0.into()), "{verified}");
}

#[test]
fn without_the_key_there_is_none() {
    let house = House::started("");
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = 'fox'\n");
    house.until_sql(DONE, "1");
    assert_eq!(files(&house), ["fox.png"]);
}

#[test]
fn a_file_of_somebody_else_stays_and_the_picture_has_another_sidecar_or_none() {
    let mut house = House::new(SIDECARS);
    fs::create_dir(house.path("outputs")).expect("a writable folder");
    for name in ["fox.json", "owl.json", "owl.png.json"] {
        fs::write(house.path("outputs").join(name), "mine").expect("a writable folder");
    }
    house.start();
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = 'fox'\n");
    house.until_sql(DONE, "1");
    assert_eq!(files(&house), ["fox.json", "fox.png", "fox.png.json", "owl.json", "owl.png.json"]);
    assert_eq!(fs::read_to_string(house.path("outputs/fox.json")).expect("mine"), "mine");
    house.drop_job("owl.toml", "prompt = 'an owl'\noutput = 'owl'\n");
    house.until_logged("has no sidecar");
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = 'fox'\nformat = 'jpeg'\n");
    house.until_sql(DONE, "3");
    assert!(house.path("outputs/fox.jpg.json").exists(), "beside the PNG's own");
    // The name of a picture that is there is taken; the sidecar goes with the other name.
    house.drop_job("again.toml", "prompt = 'a fox'\noutput = 'fox'\n");
    house.until_sql(DONE, "4");
    let again = files(&house).into_iter().filter(|name| name.starts_with("fox-2"));
    assert_eq!(again.collect::<Vec<_>>(), ["fox-2.json", "fox-2.png"]);
    let verified = house.json(&["verify"]);
    assert_eq!((&verified["right"], &verified["strangers"]), (&4.into(), &3.into()), "{verified}");
}

#[test]
fn sidecars_go_with_their_pictures_and_tell_whose_they_were() {
    let house = started();
    house.drop_job("fox.toml", "prompt = 'a fox'\noutput = '{index}'\nnum_images = 2\n");
    house.until_sql(DONE, "2");
    fs::copy(house.path("outputs/0001.json"), house.path("outputs/copy.json")).expect("a copy");
    let verified = house.zimaged(&["verify", "--json"]);
    let told = said(&verified);
    assert!(told.contains("copy.json") && told.contains("forgotten"), "{told}");
    fs::write(house.path("outputs/0002.json"), "no sidecar any more").expect("a writable folder");
    house.json(&["history", "prune", "--older-than", "0h"]);
    assert_eq!(files(&house), ["0002.json", "copy.json"], "what is not theirs is left");
}

/// The daemon dies between the two names.
#[test]
fn a_death_before_the_picture_has_its_name_leaves_no_sidecar_behind() {
    let mut house = House::new(SIDECARS);
    house.start();
    house.drop_job("fox.toml", "prompt = 'steps of 100 ms'\noutput = 'fox'\n");
    house.until_sql(DONE, "1");
    assert_eq!(house.stop("TERM"), Some(0));
    // As it was then: the sidecar stands, the picture is a temporary file, the attempt runs.
    fs::remove_file(house.path("outputs/fox.png")).expect("the picture");
    house.falsify(
        "UPDATE renders SET state = 'running', finished_at_ms = NULL; UPDATE attempts SET \
         outcome = 'running', ended_at_ms = NULL, sha256 = NULL, bytes = NULL, path = 'fox.png'",
    );
    house.falsify("UPDATE renders SET output = 'owl'");
    house.start();
    house.until_sql(DONE, "1");
    assert_eq!(files(&house), ["owl.json", "owl.png"]);
}
