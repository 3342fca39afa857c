//! The pictures in the output folder against the history.

use std::fs;

use serde_json::Value;

use crate::support::{House, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";

/// A daemon that has made so many pictures, and their names.
fn with_pictures(number: u32) -> (House, Vec<String>) {
    let house = House::started("");
    house.drop_job("a.toml", &format!("prompt = 'a fox'\nnum_images = {number}\nseed = 1\n"));
    house.until_sql(DONE, &number.to_string());
    let paths = house.rows("SELECT path FROM history ORDER BY picture").concat();
    (house, paths)
}

fn of<'v>(list: &'v Value, path: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|it| it["path"] == path);
    found.unwrap_or_else(|| panic!("{path} in {list}"))
}

// peers P
#[test]
fn every_picture_is_held_against_its_row_and_what_lies_there_without_one_is_told() {
    let (house, paths) = with_pictures(5);
    let verified = house.zimaged(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    assert!(said(&verified).contains("5 of 5 pictures right"), "{}", said(&verified));

    let outputs = house.path("outputs");
    fs::remove_file(outputs.join(&paths[0])).unwrap();
    let mut flipped = fs::read(outputs.join(&paths[1])).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(outputs.join(&paths[1]), flipped).unwrap();
    fs::rename(outputs.join(&paths[2]), outputs.join("mine.png")).unwrap();
    std::os::unix::fs::symlink(outputs.join("mine.png"), outputs.join(&paths[2])).unwrap();
    // With the hash of what is no picture in its row, the picture cannot be decoded.
    fs::write(outputs.join(&paths[3]), "no picture").unwrap();
    let hash = zimaged::internals::sha256("no picture");
    house.falsify(&format!(
        "UPDATE attempts SET sha256 = '{hash}', bytes = 10 WHERE path = '{}'",
        paths[3]
    ));
    fs::create_dir(outputs.join("below")).unwrap();
    fs::write(outputs.join("below/notes.txt"), "mine").unwrap();
    fs::write(outputs.join(".zimaged-0-1.part"), "being written").unwrap();

    let output = house.zimaged(&["verify", "--json"]);
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = ["pictures", "right", "wrong", "strangers"].map(|key| verified[key].as_u64());
    assert_eq!(counts, [Some(5), Some(1), Some(4), Some(2)], "{verified}");
    let fault = |place: usize| &of(&verified["wrong_pictures"], &paths[place])["fault"];
    let expected = ["missing", "changed", "unreadable", "undecodable"];
    assert_eq!([0, 1, 2, 3].map(|place| fault(place).as_str().unwrap()), expected);
    let stranger = |path: &str| &of(&verified["stranger_files"], path)["kind"];
    assert_eq!(stranger("mine.png"), "forgotten");
    assert_eq!(stranger("below/notes.txt"), "foreign");
    let told = said(&house.zimaged(&["verify"]));
    assert!(told.contains(&format!("1.1 {}: there is no such file", paths[0])), "{told}");
}

#[test]
fn pictures_are_rendered_again_and_one_that_comes_out_otherwise_is_told() {
    let (mut house, paths) = with_pictures(2);
    let output = house.zimaged(&["verify", "--replay", "2", "--json"]);
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{verified}");
    let fates = |verified: &Value| -> Vec<String> {
        let again = verified["again"].as_array().unwrap();
        again.iter().map(|it| it["fate"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(fates(&verified), ["same", "same"]);
    house.until_sql("SELECT count(*) FROM jobs WHERE tags LIKE '%verify%'", "2");

    // A picture of another seed in its place: as if this machine had drawn another one.
    let [first, second] = [0, 1].map(|place| house.path("outputs").join(&paths[place]));
    let pixels = image::open(&second).unwrap().to_rgb8();
    let metadata = zimaged::internals::metadata_of(&first).unwrap();
    let (width, height) = pixels.dimensions();
    let pixels = zimaged::internals::Pixels { width, height, rgb: pixels.into_raw() };
    let format = zimaged::internals::Format::Png;
    zimaged::internals::write_picture(&first, &pixels, format, &metadata).unwrap();
    let output = house.zimaged(&["verify", "--replay", "9", "--json"]);
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(65), "{verified}");
    let mut found = fates(&verified);
    found.sort();
    assert_eq!(found, ["different", "same", "same", "same"], "{verified}");

    house.stop("TERM");
    let alone = house.zimaged(&["verify", "--replay", "1"]);
    assert_eq!(alone.status.code(), Some(75), "{}", said(&alone));
    assert!(said(&alone).contains("a daemon is needed"), "{}", said(&alone));
}
