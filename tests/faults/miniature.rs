//! Kills in the middle of real pictures, of the miniature: what is made in the end has the same
//! pixels as what nobody has disturbed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::house::{self, Harried, PATIENCE, PRECIOUS, is_told};
use crate::kills::random::Random;
use crate::oracle;
use crate::record;
use crate::support::House;
use crate::trap::{Action, Rule};
use crate::trouble::LOOKS;

const NAME: &str = "kill in the middle of a real picture";

const EXPECTED: &str = "each picture is made once, with the same pixels as without the kills";

const KILLS: u64 = 6;

/// More pictures than there are kills, as one may be made before each.
const PICTURES: u64 = 8;

const STEPS: u64 = 8;

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

/// The worker notes each step. It stands still at one of them for long enough to be struck there,
/// however fast the machine is.
fn rests_at_a_step(random: &mut Random) -> Rule {
    let (calls, path) = ("write", "last-word");
    let first = 3 + random.below(STEPS);
    Rule { role: "worker", calls, path, first, count: 1, action: Action::DelayMs(500) }
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
        harried.launch(&[rests_at_a_step(&mut random)]);
        let (told, ledger) = (harried.told.clone(), harried.ledger.clone());
        let mut looks: u32 = 0;
        let has_come = |house: &House| {
            looks += 1;
            let is_done = || looks.is_multiple_of(LOOKS) && oracle::is_settled(house, &ledger);
            (is_told(&told) || is_done()).then_some(())
        };
        harried.while_alive(PATIENCE, has_come);
        if harried.told().is_empty() {
            break;
        }
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
