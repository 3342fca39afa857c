//! What was fetched is listed, looked through, and removed again.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::rendered::{REPOSITORY, publish};
use super::{Newcomer, assert_ends};

const MODEL: &str = "models/Z-Image-Mini";
const VAE: &str = "models/Z-Image-Mini/vae/diffusion_pytorch_model.safetensors";

/// Somebody with the miniature, fetched and configured under a name.
fn fetched() -> Newcomer {
    let newcomer = Newcomer::new();
    publish(&newcomer);
    assert_ends(&newcomer.command(&["init"]).output().unwrap(), 0, &[]);
    assert_ends(&newcomer.fetch(&[REPOSITORY]), 0, &["is complete"]);
    let mut text = fs::read_to_string(newcomer.path("daemon.toml")).unwrap();
    text += &format!("\n[models.mini]\npath = \"{MODEL}\"\n");
    fs::write(newcomer.path("daemon.toml"), text).unwrap();
    newcomer
}

/// Makes values in the middle of the file some that are no numbers, whatever their type.
fn spoil(newcomer: &Newcomer, file: &str) {
    let file = File::options().write(true).open(newcomer.path(file)).unwrap();
    let middle = (file.metadata().unwrap().len() / 2) & !3;
    file.write_all_at(&[0xff; 4096], middle).unwrap();
}

#[test]
fn a_fetched_model_is_listed_and_found_right_until_a_byte_of_it_changes() {
    let newcomer = fetched();
    let run = |arguments: &[&str]| newcomer.command(arguments).output().unwrap();
    assert_ends(&run(&["model", "list"]), 0, &["mini", "Turbo", MODEL, REPOSITORY]);
    let listed: Value = serde_json::from_slice(&run(&["model", "list", "--json"]).stdout).unwrap();
    let mini = listed.as_array().unwrap().iter().find(|model| model["name"] == "mini").unwrap();
    assert_eq!((&mini["problem"], &mini["kind"]), (&Value::Null, &"turbo".into()));
    for what in ["mini", "Z-Image-Mini", MODEL] {
        let expected = ["10 files as fetched", "transformer: ", "all right"];
        let verified = run(&["model", "verify", what]);
        assert_ends(&verified, 0, &expected);
        assert!(String::from_utf8_lossy(&verified.stdout).ends_with("\nall right\n"), "in lines");
    }
    assert_ends(&run(&["model", "verify", "nosuch"]), 78, &["nosuch: no model of daemon.toml"]);
    spoil(&newcomer, VAE);
    let expected = [
        "1 of 10 files not as fetched",
        "vae/diffusion_pytorch_model.safetensors: wrong",
        "holds a value that is NaN or infinite",
        "damaged",
    ];
    assert_ends(&run(&["model", "verify", "mini"]), 65, &expected);
    fs::remove_file(newcomer.path(VAE)).unwrap();
    let expected = ["vae/diffusion_pytorch_model.safetensors: missing", "not usable"];
    assert_ends(&run(&["model", "verify", "mini"]), 65, &expected);
    assert_ends(&run(&["model", "list"]), 0, &["not usable", "is incomplete"]);
}

#[test]
fn a_picture_of_weights_that_are_no_numbers_says_what_finds_them() {
    let newcomer = fetched();
    spoil(&newcomer, "models/Z-Image-Mini/transformer/diffusion_pytorch_model.safetensors");
    let verified = newcomer.command(&["model", "verify", "mini"]).output().unwrap();
    assert_ends(&verified, 65, &["transformer/diffusion_pytorch_model.safetensors: "]);
    let job = "prompt = \"a\"\nsize = \"256x256\"\nsteps = 1\nmin_steps = 1\nmodel = \"mini\"\n";
    fs::write(newcomer.path("a.toml"), job).unwrap();
    let run = newcomer.command(&["run", "--until-idle", "a.toml"]).output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    let shown = newcomer.command(&["show", "1.1"]).output().unwrap();
    assert_ends(&shown, 0, &["not finite", "zimaged model verify"]);
}

#[test]
fn only_what_was_fetched_is_removed_and_nothing_that_a_render_waits_for() {
    let newcomer = fetched();
    let run = |arguments: &[&str]| newcomer.command(arguments).output().unwrap();
    // A database, and a render that waits.
    assert_ends(&run(&["run", "--until-idle"]), 0, &[]);
    assert_ends(&run(&["submit", "--prompt", "a", "--model", "mini"]), 0, &[]);
    let needed = ["1 render not ended yet of mini", "--force"];
    assert_ends(&run(&["model", "remove", "mini"]), 78, &needed);
    assert!(newcomer.path(VAE).exists());
    fs::write(newcomer.path(MODEL).join("notes.txt"), "mine").unwrap();
    // A file that another program has, too.
    fs::hard_link(newcomer.path(VAE), newcomer.path("vae-of-another")).unwrap();
    let removed = ["10 files removed", "not fetched, and left there: notes.txt"];
    assert_ends(&run(&["model", "remove", "mini", "--force"]), 0, &removed);
    let left: Vec<_> = fs::read_dir(newcomer.path(MODEL)).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(newcomer.path("vae-of-another").exists());
    let nothing = ["was not fetched by zimaged: nothing is removed"];
    assert_ends(&run(&["model", "remove", "Z-Image-Mini", "--force"]), 78, &nothing);
}
