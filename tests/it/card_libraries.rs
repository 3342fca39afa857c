//! The build for cards where CUDA's libraries are missing: the program starts, answers and says
//! what is missing. Where a driver is installed only the first test has something to see.

use std::fs;
use std::process::{Command, Output};

use crate::support::places::miniature;
use crate::support::{House, said};

/// No folder of libraries but the system's own.
const NONE: (&str, &str) = ("LD_LIBRARY_PATH", "");

const JOB: &str = "prompt = 'a red circle'\nwidth = 64\nheight = 64\nsteps = 1\nmin_steps = 1\n";

fn house(kind: &str) -> House {
    House::with_config(&format!(
        "[model]\npath = {:?}\n[device]\nkind = \"{kind}\"\n[worker]\nbackoff = \"10ms\"\n",
        miniature()
    ))
}

/// Runs the program without the folders that the tests were given.
fn bare(house: &House, arguments: &[&str]) -> Output {
    house.command(arguments).env(NONE.0, NONE.1).output().unwrap()
}

fn has_driver() -> bool {
    let known = Command::new("sh").args(["-c", "ldconfig -p | grep -q libcuda.so.1"]).status();
    known.is_ok_and(|status| status.success())
}

#[test]
fn the_program_itself_needs_none_of_cudas_libraries() {
    // The system's loader lists what it would load, and starts nothing.
    let mut program = Command::new(env!("CARGO_BIN_EXE_zimaged"));
    let listed = said(&program.env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap());
    assert!(listed.contains("libc.so"), "{listed}");
    let of_cuda = ["libcu", "libnv"].map(|start| listed.contains(start));
    assert_eq!(of_cuda, [false; 2], "{listed}");
}

#[test]
fn without_a_driver_everything_answers_and_the_processor_renders() {
    if has_driver() {
        return;
    }
    let house = house("auto");
    fs::write(house.path("fox.toml"), JOB).unwrap();
    let fit = ["fit", "64x64", "--vram", "6GiB"];
    for command in [&["--help"][..], &["check", "fox.toml"], &["submit", "fox.toml"], &fit] {
        let output = bare(&house, command);
        assert!(output.status.success(), "{command:?}: {}", said(&output));
        let is_of_job = command.contains(&"fox.toml");
        assert!(!is_of_job || said(&output).contains("(estimated"), "{}", said(&output));
    }
    let run = bare(&house, &["run", "--until-idle"]);
    assert!(run.status.success(), "{}", said(&run));
    let told = "rendering on the processor: this build has CUDA, but sees no card and no driver";
    assert!(said(&run).contains(told) && !said(&run).contains("libcuda1"), "{}", said(&run));
    assert!(said(&bare(&house, &["list"])).contains("done"));
    house.assert_invariants();
}

#[test]
fn a_card_that_is_asked_for_without_its_libraries_is_explained_while_the_daemon_stays() {
    if has_driver() {
        return;
    }
    let mut house = house("cuda");
    house.drop_job("fox.toml", JOB);
    let once = bare(&house, &["run", "--until-idle"]);
    assert_eq!(once.status.code(), Some(1), "{}", said(&once));
    assert!(said(&once).contains("device cuda:0: libcuda.so.1"), "{}", said(&once));
    house.start_with(&[NONE]);
    house.until("the status says what is missing", || {
        said(&bare(&house, &["status"])).contains("libcuda.so.1").then_some(())
    });
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'queued'", "1");
    assert_eq!(house.stop("TERM"), Some(0));
}

#[test]
#[ignore = "needs a card: see tools/gpu/simulator"]
fn a_card_without_cublas_is_not_passed_over() {
    let folders = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut drivers = std::env::split_paths(&folders).map(|folder| folder.join("libcuda.so.1"));
    let Some(driver) = drivers.find(|driver| driver.exists()) else {
        return; // a real card, whose libraries are where they are
    };
    let house = house("auto");
    house.drop_job("fox.toml", JOB);
    let folder = house.path("driver");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(driver, folder.join("libcuda.so.1")).unwrap();
    let mut run = house.command(&["run", "--until-idle"]);
    for names_more in ["CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "HOME"] {
        run.env_remove(names_more);
    }
    let run = run.env(NONE.0, &folder).output().unwrap();
    assert!(!run.status.success());
    for part in ["libcublas.so.1", "nvidia-cublas", "kind = \"cpu\""] {
        assert!(said(&run).contains(part), "{part}: {}", said(&run));
    }
}
