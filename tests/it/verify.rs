//! The pictures in the output folder against the history.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use crate::support::{House, said};

const DONE: &str = "SELECT count(*) FROM renders WHERE state = 'done'";

const LAST_PATH: &str = "SELECT path FROM history ORDER BY job DESC LIMIT 1";

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

#[test]
fn a_picture_that_is_gone_with_what_it_began_with_is_not_promised() {
    let (house, paths) = with_pictures(1);
    let first = house.path("outputs").join(&paths[0]);
    let job = format!("prompt = 'a fox'\ninit_image = '{}'\n", first.display());
    house.drop_job("again.toml", &job);
    house.until_sql(DONE, "2");
    fs::remove_file(
        house.path("outputs").join(house.value("SELECT path FROM history WHERE job = 2")),
    )
    .unwrap();
    fs::remove_dir_all(house.path("state/inputs")).unwrap();
    for arguments in [&["retry", "2.1"][..], &["retry", "--missing", "2"]] {
        let refused = house.zimaged(arguments);
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        let why = "2.1 is missing, and so is the picture that it began with";
        assert!(said(&refused).contains(why), "{}", said(&refused));
    }
    house.until_sql("SELECT count(*) FROM jobs", "2");
}

#[test]
fn a_picture_that_is_gone_is_rendered_again_by_the_command_that_verify_names() {
    let (mut house, paths) = with_pictures(3);
    let refused = |arguments: &[&str], why: &str| {
        let output = house.zimaged(&[&["retry"], arguments].concat());
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{arguments:?}: {}", said(&output));
    };
    refused(&["1.1"], "nothing of render 1.1 has failed or was cancelled");
    refused(&["--missing", "1"], "no picture of job 1 is missing");
    refused(&["--missing", "--all"], "nothing is missing");
    for path in &paths[..2] {
        fs::remove_file(house.path("outputs").join(path)).unwrap();
    }
    // Somebody may have sorted them into other folders.
    refused(&["1"], "2 pictures missing: zimaged retry --missing 1");
    let one = house.json(&["retry", "1.2"]);
    assert_eq!((&one["renders"], &one["jobs"][0]["job"]), (&1.into(), &2.into()), "{one}");
    refused(&["1.2"], "rendered again already, last as job 2");
    house.until_sql(DONE, "4");

    let told = said(&house.zimaged(&["verify"]));
    assert!(told.contains("1 picture missing: render again with zimaged retry --missing --all"));
    assert!(told.contains("1 of the others is gone and is rendered again, rightly"), "{told}");
    let rest = house.json(&["retry", "--missing", "--all"]);
    assert_eq!((&rest["renders"], &rest["jobs"][0]["of"]), (&1.into(), &1.into()), "{rest}");
    house.until_sql(DONE, "5");
    let recipes = "SELECT group_concat(DISTINCT seed || prompt) FROM renders GROUP BY position";
    assert_eq!(house.rows(recipes).len(), 3, "with the seeds that they had");
    assert!(house.rows(recipes).iter().all(|row| !row[0].contains(',')));
    let verified = house.json(&["verify"]);
    let counts = ["right", "replaced", "wrong", "missing"].map(|key| verified[key].as_u64());
    assert_eq!(counts, [Some(3), Some(2), Some(0), Some(0)], "{verified}");
    // What is rendered again must be right itself.
    fs::remove_file(house.path("outputs").join(house.value(LAST_PATH))).unwrap();
    assert_eq!(house.zimaged(&["verify"]).status.code(), Some(65));

    // Nothing is missing because a disk is not there.
    assert_eq!(house.stop("TERM"), Some(0));
    fs::remove_dir_all(house.path("outputs")).unwrap();
    for arguments in [&["retry", "--missing", "--all"][..], &["verify"]] {
        let output = house.zimaged(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("outputs"), "{}", said(&output));
    }
}

#[test]
fn a_picture_that_has_its_name_from_one_that_was_lost_stands_for_both() {
    let house = House::started("[output]\nsidecar = 'json'\n");
    house.drop_job("a.toml", "prompt = 'a fox'\noutput = 'fixed'\n");
    house.until_sql(DONE, "1");
    fs::remove_file(house.path("outputs/fixed.png")).unwrap();
    house.json(&["retry", "--missing", "--all"]);
    house.until_sql(DONE, "2");
    let verified = house.json(&["verify"]);
    let counts = ["right", "replaced", "wrong", "strangers"].map(|key| verified[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(0), Some(0)], "{verified}");
    let sidecar = fs::read(house.path("outputs/fixed.json")).unwrap();
    let sidecar: Value = serde_json::from_slice(&sidecar).unwrap();
    assert_eq!(sidecar["job"], 2, "that of the picture which is there");

    let pruned = house.json(&["history", "prune", "--older-than", "0h", "--dry-run"]);
    assert_eq!((&pruned["pictures"], &pruned["left"]), (&1.into(), &0.into()), "{pruned}");

    fs::write(house.path("outputs/fixed.png"), "painted over").unwrap();
    assert_eq!(house.zimaged(&["verify"]).status.code(), Some(65), "both are changed");
    fs::remove_file(house.path("outputs/fixed.png")).unwrap();
    let pruned = house.json(&["history", "prune", "--older-than", "0h"]);
    assert_eq!((&pruned["jobs"], &pruned["left"]), (&2.into(), &0.into()), "{pruned}");
    assert_eq!(fs::read_dir(house.path("outputs")).unwrap().count(), 0, "no sidecar stays");
}

#[test]
fn whatever_lies_in_the_output_folder_is_told_and_its_name_begins_no_line() {
    let (house, paths) = with_pictures(1);
    let outputs = house.path("outputs");
    fs::write(outputs.join(OsStr::from_bytes(b"no\xffname.png")), "mine").unwrap();
    fs::write(outputs.join("a\n1.1 forged\x1b[31m.png"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", outputs.join("dangling.png")).unwrap();
    let deep = (0..40).fold(outputs.clone(), |folder, _| folder.join("d"));
    fs::create_dir_all(deep).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, outputs.join("pipe"), 0o600.into()).unwrap();
    let verified = house.json(&["verify"]);
    let kind = |path: &str| &of(&verified["stranger_files"], path)["kind"];
    assert_eq!(verified["strangers"], 5, "{verified}");
    assert_eq!((kind("no\u{fffd}name.png"), kind("pipe")), (&"foreign".into(), &"no_file".into()));
    assert_eq!(kind("dangling.png"), "no_file");
    assert_eq!(kind(&["d"; 33].join("/")), "not_looked_into");
    fs::rename(outputs.join(&paths[0]), outputs.join("moved.png")).unwrap();
    std::os::unix::fs::symlink("moved.png", outputs.join(&paths[0])).unwrap();
    let told = String::from_utf8(house.zimaged(&["verify"]).stdout).unwrap();
    assert!(told.contains("it is a link, which is not followed"), "{told}");
    assert!(told.contains("a\\u{a}1.1 forged\\u{1b}[31m.png: no picture of zimaged"), "{told}");
    assert!(!told.lines().any(|line| line.starts_with("1.1 forged")), "{told}");
}
