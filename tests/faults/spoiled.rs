//! The oracle on houses that were spoiled on purpose: each invariant falls when it should, and none
//! falls in a house where all is well.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::beside;
use crate::house::Harried;
use crate::ledger::{Asked, Dropped};
use crate::oracle::{self, Daemon, INVARIANTS, Scene};
use crate::support::kill;

/// What is spoiled, the invariant that falls by it, and how.
type Spoil = (&'static str, &'static str, fn(&mut Harried));

/// Done to a house whose daemon has ended in good order.
const AT_REST: [Spoil; 22] = [
    ("a job without renders", "I1", |it| it.house.falsify("DELETE FROM renders WHERE job_id = 1")),
    ("a request was answered and is not there", "I1", |it| {
        let key = "request-99999".to_owned();
        it.ledger.requests.push(Asked { key, pictures: 1, is_answered: true });
    }),
    ("a render is done without an attempt", "I1", |it| {
        it.house.falsify("DELETE FROM attempts WHERE render_id = 1");
    }),
    ("three renders run", "I2", |it| {
        it.house.falsify(
            "UPDATE attempts SET outcome = 'running', ended_at_ms = NULL, sha256 = NULL WHERE id < 4",
        );
    }),
    ("a picture was removed", "I3", |it| fs::remove_file(picture(it)).unwrap()),
    ("a byte of a picture was changed", "I3", |it| {
        let mut content = fs::read(picture(it)).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(picture(it), content).unwrap();
    }),
    ("half a picture", "I4", |it| {
        let content = fs::read(picture(it)).unwrap();
        fs::write(it.house.path("outputs/half.png"), &content[..content.len() / 2]).unwrap();
    }),
    ("a picture without a row", "I5", |it| {
        fs::copy(picture(it), it.house.path("outputs/copy.png")).unwrap();
    }),
    ("half a sidecar", "I4", |it| {
        let sidecar = picture(it).with_extension("json");
        let content = fs::read(&sidecar).unwrap();
        fs::write(&sidecar, &content[..content.len() / 2]).unwrap();
    }),
    ("a sidecar without a picture", "I5", |it| {
        let copy = it.house.path("outputs/copy.json");
        fs::copy(picture(it).with_extension("json"), copy).unwrap();
    }),
    ("two rows with one picture", "I5", |it| {
        it.house.falsify("UPDATE attempts SET path = (SELECT path FROM attempts WHERE id = 1)");
    }),
    ("a job file was lost", "I6", |it| {
        fs::remove_file(it.house.path("jobs/accepted/000001-drop-00000.toml")).unwrap();
    }),
    ("a job file was copied back", "I6", |it| {
        let accepted = it.house.path("jobs/accepted/000001-drop-00000.toml");
        fs::copy(accepted, it.house.path("jobs/drop-00000.toml")).unwrap();
    }),
    ("a job file was never seen", "I6", |it| {
        it.ledger.drops.push(Dropped { name: "drop-77777.toml".to_owned(), pictures: 1 });
    }),
    ("a gap between attempts", "I7", |it| {
        it.house.falsify("UPDATE attempts SET number = 3 WHERE id = 1");
    }),
    ("a death that nobody died", "I7", |it| {
        it.house.falsify("UPDATE attempts SET worker_died = 1 WHERE id = 1");
    }),
    ("a row that refers to none", "I8", |it| {
        it.house.falsify("PRAGMA foreign_keys = off; UPDATE renders SET job_id = 999 WHERE id = 1");
    }),
    ("an unknown schema", "I8", |it| {
        it.house.falsify("DELETE FROM _sqlx_migrations WHERE version = 21");
    }),
    ("a picture that was counted twice", "I8", |it| {
        it.house.falsify("UPDATE totals SET number = number + 1 WHERE metric = 'attempts'");
    }),
    ("a file beside the folders", "I9", |it| fs::write(it.house.path("core"), "").unwrap()),
    ("the user's own file", "I9", |it| {
        fs::write(it.house.path("outputs/holiday.png"), "ours").unwrap();
    }),
    ("a reason with colours", "I13", |it| {
        it.house.falsify("UPDATE rejections SET reason = reason || char(27) || '[31m'");
    }),
];

/// Done to a house whose daemon runs.
const ALIVE: [Spoil; 5] = [
    ("a render runs since an earlier start", "I2", |it| {
        it.house.falsify(
            "UPDATE attempts SET outcome = 'running', ended_at_ms = NULL, sha256 = NULL, \
             started_at_ms = 1 WHERE id = 1",
        );
    }),
    ("a temporary file of an earlier start", "I4", |it| {
        fs::write(it.house.path("outputs/.zimaged-0123456789abcdef-7.part"), "").unwrap();
    }),
    ("a daemon that answers nobody", "I10", |it| kill("STOP", it.pid())),
    ("a queue that does not move", "I11", |it| it.house.falsify(PAUSE)),
    ("a token in the log", "I13", |it| {
        let token = fs::read_to_string(it.house.path("state/http-token")).unwrap();
        fs::write(it.house.path("log"), token).unwrap();
    }),
];

const PAUSE: &str = "INSERT INTO pause (id, since_ms, reason) VALUES (1, 0, 'a test')";

fn picture(it: &Harried) -> std::path::PathBuf {
    it.house.path("outputs").join(it.house.value("SELECT path FROM attempts WHERE id = 1"))
}

/// A house in which some jobs are done and one was refused; its daemon has ended.
fn sound() -> Harried {
    let mut it = Harried::new("");
    it.launch(&[]);
    let job = "prompt = 'a fox'\nwidth = 64\nheight = 64\nmin_side = 64\nnum_images = 2\n";
    it.drop_file(job, 2);
    it.drop_file(job, 2);
    it.drop_file("steps = 'many'\n", 0);
    it.settle();
    it.request(1);
    it.settle();
    assert_eq!(it.stop().code(), Some(0));
    it
}

/// Another house that is as this one.
fn copy(it: &Harried) -> Harried {
    let mut other = Harried::new("");
    let from = format!("{}.", it.house.path("").display());
    let copied = Command::new("cp").arg("-a").arg(from).arg(other.house.path("")).status();
    assert!(copied.unwrap().success());
    other.ledger = it.ledger.clone();
    other
}

fn fallen(it: &Harried, daemon: Daemon) -> Vec<String> {
    let patience = Duration::from_millis(300);
    oracle::all_fallen(&Scene { house: &it.house, ledger: &it.ledger, daemon, patience })
}

fn assert_falls(what: &str, name: &str, fallen: &[String]) {
    let has_fallen = fallen.iter().any(|told| told.starts_with(&format!("{name}: ")));
    assert!(has_fallen, "{what}: {name} holds; fallen: {fallen:#?}");
}

#[test]
fn every_invariant_falls_in_a_house_that_is_spoiled_for_it() {
    let sound = sound();
    assert_eq!(fallen(&sound, Daemon::Ended(Some(0))), [""; 0]);
    for (what, name, spoil) in AT_REST {
        let mut it = copy(&sound);
        spoil(&mut it);
        assert_falls(what, name, &fallen(&it, Daemon::Ended(Some(0))));
    }
    assert_falls("an unknown code", "I10", &fallen(&sound, Daemon::Ended(Some(42))));
    assert_falls("a signal", "I10", &fallen(&sound, Daemon::Ended(None)));
    beside::try_all(ALIVE, |(what, name, spoil)| {
        let mut it = copy(&sound);
        it.settle();
        it.assert_holds();
        spoil(&mut it);
        assert_falls(what, name, &fallen(&it, Daemon::Alive));
    });
}

#[test]
fn every_invariant_can_fall_and_stands_in_the_documentation() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md"));
    let document = document.expect("docs/reliability.md");
    for invariant in &INVARIANTS {
        let name = invariant.name;
        let mut spoils = AT_REST.iter().chain(&ALIVE);
        assert!(spoils.any(|(_, falls, _)| *falls == name), "nothing spoils {name}");
        let row = format!("| {name} | {} |\n", invariant.sentence);
        assert!(document.contains(&row), "docs/reliability.md lacks: {row}");
    }
}
