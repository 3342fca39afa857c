//! Kills in the middle of real pictures, of the miniature: what is made in the end has the same
//! pixels as what nobody has disturbed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::house::{self, Harried, PATIENCE, PRECIOUS};
use crate::kills::random::Random;
use crate::record;
use crate::support::House;

const NAME: &str = "kill in the middle of a real picture";

const EXPECTED: &str = "each picture is made once, with the same pixels as without the kills";

const KILLS: u64 = 10;

/// More pictures than there are kills, as one may be made before each.
const PICTURES: u64 = 12;

/// So many that a fast machine, too, is in the middle of a picture whenever the status is written,
/// which happens five times a second.
const STEPS: u64 = 60;

fn job() -> String {
    format!(
        "prompt = 'a red circle'\nseed = 7\nwidth = 64\nheight = 64\nmin_side = 64\n\
         steps = {STEPS}\nnum_images = {PICTURES}\n"
    )
}

/// A house of the miniature, with `more` in its configuration.
pub fn house(more: &str) -> Harried {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    let config = house::config(more)
        .replace("\"fake\"", "\"z-image\"")
        .replace("\"model\"", &format!("\"{}\"", model.display()));
    Harried::of(House::within(&std::env::temp_dir(), &config))
}

/// A house with the pictures still to be made.
fn at_work() -> Harried {
    let mut harried = house("deaths_max = 100\nattempts_max = 1000\n");
    harried.drop_file(&job(), PICTURES);
    harried
}

/// The SHA-256 of each picture's pixels; what else is in the file tells when it was made.
fn pixels(house: &House) -> BTreeMap<String, String> {
    let is_ours = |path: &PathBuf| {
        path.extension().is_some_and(|it| it == "png") && *path != house.path(PRECIOUS.0)
    };
    let hash = |path: PathBuf| {
        let picture = image::open(&path).expect("a whole picture").to_rgb8();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let hash = Sha256::digest(picture.as_raw());
        (name, hash.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    house.pictures().into_iter().filter(is_ours).map(hash).collect()
}

/// Whether a step of a picture is done, and enough are left for a kill that comes a little later.
fn is_in_a_picture(house: &House) -> Option<()> {
    let status: Value =
        serde_json::from_slice(&fs::read(house.path("state/status.json")).ok()?).ok()?;
    let step = status["render"]["step"].as_u64()?;
    (step > 0 && step < STEPS / 2).then_some(())
}

#[test]
fn a_picture_has_the_same_pixels_after_kills() {
    let mut undisturbed = at_work();
    undisturbed.settle();
    let expected = pixels(&undisturbed.house);
    assert_eq!(expected.len() as u64, PICTURES);
    let mut random = Random::seeded(NAME);
    let mut harried = at_work();
    let mut kills = 0;
    while kills < KILLS {
        harried.launch(&[]);
        if harried.while_alive(PATIENCE, is_in_a_picture).is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(random.below(60)));
        match random.below(3) {
            0 => harried.kill_supervisor(),
            1 => harried.kill_all(),
            _ => drop(harried.kill_worker()),
        }
        kills += 1;
    }
    harried.settle();
    assert_eq!(pixels(&harried.house), expected);
    // Makes one more.
    harried.assert_holds();
    assert!(kills >= KILLS / 2, "the pictures were made before: {kills}");
    record::note(NAME, EXPECTED, kills, &format!("{PICTURES} pictures, each pixel the same"));
}
