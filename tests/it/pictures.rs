//! Pictures as input, from the job file to the history: taken in with the job, kept, removed.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use zimaged::internals::metadata_of;

use crate::support::{House, fault, said};

const ENDED: &str = "SELECT count(*) FROM renders WHERE state IN ('done', 'failed', 'cancelled')";

/// A picture of this grey, and the hash of its file.
fn picture(path: &Path, level: u8) -> String {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_pixel(40, 30, image::Rgb([level; 3]));
    picture.save_with_format(path, image::ImageFormat::Png).unwrap();
    hash(path)
}

fn hash(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kept(house: &House) -> Vec<String> {
    let entries = fs::read_dir(house.path("state/inputs")).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn grow_old(house: &House) {
    for name in kept(house) {
        let file = File::open(house.path("state/inputs").join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
}

#[test]
fn a_picture_as_input_that_the_disk_has_no_room_for_holds_up_no_other_job() {
    let mut house = House::new("");
    picture(&house.path("jobs/a.png"), 7);
    house.drop_job("a.toml", "prompt = 'a'\ninit_image = 'a.png'\n");
    house.drop_job("b.toml", "prompt = 'b'\n");
    // The first one that is kept does not find room.
    let [library, fault] = fault::environment("fsync", "-0.part", libc::ENOSPC, 0, 1);
    house.start_with(&[library, fault].each_ref().map(|(name, value)| (*name, value.as_str())));
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "2");
    let names = house.rows("SELECT file_name FROM jobs ORDER BY id").concat();
    assert_eq!(names, ["b.toml", "a.toml"], "it was tried again, and taken in later");
    assert!(house.log().contains("a.toml: No space left on device"), "{}", house.log());
}

#[test]
fn a_backup_takes_along_what_queued_pictures_begin_with() {
    let house = House::started("");
    house.zimaged(&["pause"]);
    let hashes = [1, 200, 7].map(|level| picture(&house.path(&format!("jobs/{level}.png")), level));
    house.drop_job("fox.toml", "prompt = 'a'\ninit_image = '1.png'\nmask = '200.png'\n");
    house.drop_job("lost.toml", "prompt = 'b'\ninit_image = '7.png'\n");
    house.until_sql("SELECT count(*) FROM renders", "2");
    fs::write(house.path("state/inputs").join(&hashes[2]), "damaged").unwrap();
    let made = house.json(&["backup", "night.sqlite"]);
    assert_eq!((&made["inputs"], &made["inputs_missing"]), (&2.into(), &1.into()));
    assert!(house.path("night.sqlite.inputs").join(&hashes[0]).exists());
    let again = house.zimaged(&["backup", "night.sqlite"]);
    assert!(said(&again).contains("a backup replaces nothing"), "{}", said(&again));
    fs::rename(house.path("night.sqlite"), house.path("moved.sqlite")).unwrap();
    let again = house.zimaged(&["backup", "night.sqlite"]);
    assert!(said(&again).contains("night.sqlite.inputs exists"), "{}", said(&again));

    let mut elsewhere = House::new("");
    for name in ["moved.sqlite", "night.sqlite.inputs"] {
        let new = elsewhere.path(&name.replace("night", "moved"));
        fs::rename(house.path(name), new).unwrap();
    }
    let restored = elsewhere.zimaged(&["restore", "moved.sqlite"]);
    let told = said(&restored);
    assert!(told.contains("missing or damaged: 1 picture that renders begin with"), "{told}");
    elsewhere.start();
    elsewhere.zimaged(&["resume"]);
    elsewhere.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let path = elsewhere.value("SELECT path FROM attempts WHERE outcome = 'done'");
    let metadata = metadata_of(&elsewhere.path("outputs").join(path)).unwrap();
    assert_eq!([metadata.recipe.init_image, metadata.recipe.mask], hashes[..2]);
    assert_eq!(elsewhere.stop("TERM"), Some(0));
}

#[test]
fn a_job_takes_its_pictures_in_and_later_changes_of_them_mean_nothing() {
    let mut house = House::started("");
    let first = picture(&house.path("jobs/pictures/a.png"), 1);
    let mask = picture(&house.path("jobs/m.png"), 200);
    let job = "prompt = 'black at decode once'\ninit_image = 'pictures/a.png'\nmask = 'm.png'\n\
               seed = 1\nstrength = 0.5\n";
    house.drop_job("fox.toml", job);
    house.until_sql(ENDED, "1");
    let of_render =
        |column: &str| house.value(&format!("SELECT {column} FROM renders WHERE job_id = 1"));
    assert_eq!(of_render("init_image"), first);
    assert_eq!(of_render("mask"), mask);
    assert_eq!(of_render("strength"), "0.5");
    let mut both = [first.clone(), mask.clone()];
    both.sort();
    assert_eq!(kept(&house), both);
    assert_eq!(of_render("state"), "failed");

    picture(&house.path("jobs/pictures/a.png"), 2);
    fs::remove_file(house.path("jobs/m.png")).unwrap();
    assert!(house.zimaged(&["retry", "1"]).status.success());
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "1");
    let path = house.value("SELECT path FROM attempts WHERE outcome = 'done'");
    let metadata = metadata_of(&house.path("outputs").join(path)).unwrap();
    assert_eq!((&metadata.recipe.init_image, &metadata.recipe.mask), (&first, &mask));
    assert_eq!(metadata.recipe.strength, 0.5);
    assert!(metadata.parameters().contains("Denoising strength: 0.5"));
    let shown = String::from_utf8(house.zimaged(&["show", "2.1"]).stdout).unwrap();
    assert!(shown.contains(&first) && shown.contains(&mask), "{shown}");

    grow_old(&house);
    house.stop("TERM");
    house.start();
    assert_eq!(kept(&house), both, "the failed render of job 1 may be asked for again");
    let pruned = house.zimaged(&["history", "prune", "--older-than", "0h"]);
    assert!(pruned.status.success(), "{pruned:?}");
    assert_eq!(kept(&house), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_a_picture_is_told_by_check_and_by_the_daemon() {
    let house = House::started("[limits]\ninput_pixels_max = 1000\n");
    picture(&house.path("jobs/large.png"), 1);
    fs::write(house.path("jobs/text.png"), "no picture").unwrap();
    let cases = [
        ("init_image = 'none.png'", ":2:14: init_image: \"none.png\": there is no such file"),
        ("init_image = 'text.png'", "init_image: \"text.png\": it is no PNG, JPEG or WebP picture"),
        (
            "init_image = '/dev/zero'",
            "init_image: \"/dev/zero\": it is a device or a pipe, not a file",
        ),
        ("init_image = 'large.png'", "it has 40x30 pixels; at most 1000 in all are read"),
        ("mask = 'large.png'", ":2:1: mask: counts only with init_image"),
        ("strength = 0.5", ":2:1: strength: counts only with init_image"),
        ("init_image = 'large.png'\nstrength = 0", "strength: 0 would paint nothing"),
    ];
    for (number, (line, told)) in cases.into_iter().enumerate() {
        let name = format!("bad-{number}.toml");
        house.drop_job(&name, &format!("prompt = 'a fox'\n{line}\n"));
        let report = house.until_refused(&name);
        assert!(report.contains(told), "{told}: {report}");
    }
    let job = house.path("elsewhere.toml");
    fs::write(&job, "prompt = 'a fox'\ninit_image = 'none.png'\n").unwrap();
    let checked = house.zimaged(&["check", job.to_str().unwrap()]);
    let told = said(&checked);
    assert_eq!(checked.status.code(), Some(3), "{told}");
    assert!(told.contains("there is no such file"), "{told}");
    assert_eq!(kept(&house), Vec::<String>::new());
}

#[test]
fn a_path_begins_where_the_job_file_lies_and_an_option_where_the_user_is() {
    let house = House::started("");
    let folder = house.path("elsewhere");
    let (first, second) = (picture(&folder.join("a.png"), 1), picture(&folder.join("b.png"), 2));
    let job = "prompt = 'a fox'\n[matrix]\ninit_image = ['a.png', 'b.png', 'a.png']\n";
    fs::write(folder.join("fox.toml"), job).unwrap();
    let submitted = house.zimaged(&["submit", folder.join("fox.toml").to_str().unwrap()]);
    assert!(submitted.status.success(), "{submitted:?}");
    let options = ["submit", "--prompt", "a fox", "--init-image", "b.png", "--strength", "0.25"];
    let submitted = house.command(&options).current_dir(&folder).output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    house.until_sql(ENDED, "4");
    let named = house.value("SELECT group_concat(init_image, ' ') FROM renders ORDER BY id");
    assert_eq!(named, [&*first, &second, &first, &second].join(" "));
    let strengths = house.value("SELECT group_concat(strength, ' ') FROM renders");
    assert_eq!(strengths, "0.6 0.6 0.6 0.25");
}

#[test]
fn a_kept_picture_that_is_damaged_fails_its_render_and_names_the_key() {
    let house = House::started("");
    assert!(house.zimaged(&["pause"]).status.success());
    let hash = picture(&house.path("jobs/a.png"), 1);
    house.drop_job("fox.toml", "prompt = ['a fox', 'an owl']\ninit_image = 'a.png'\n");
    house.until_sql("SELECT count(*) FROM renders", "2");
    fs::write(house.path("state/inputs").join(&hash), "no picture").unwrap();
    assert!(house.zimaged(&["resume"]).status.success());
    house.until_sql(ENDED, "2");
    let error = house.value("SELECT error FROM renders LIMIT 1");
    assert!(error.starts_with("init_image, kept as ") && error.contains(&hash), "{error}");
    assert!(error.ends_with("it is no PNG, JPEG or WebP picture"), "{error}");
}
