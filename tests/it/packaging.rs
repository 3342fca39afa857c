//! The systemd unit: known to systemd 252, and as closed as it was when it was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `systemd-analyze security` of the unit when it was written, in tenths; lower is more closed.
const EXPOSURE_MAX: u32 = 18;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    Command::new("systemd-analyze").args(arguments).arg(unit).output().expect("systemd-analyze is on Debian's systemd")
}

/// The unit with a program that exists on this machine, in a folder of its own.
fn unit_with_this_binary(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(repository().join("packaging/systemd/zimaged.service")).expect("the unit");
    assert!(text.contains("ExecStart=/usr/bin/zimaged "), "the unit starts the packaged program");
    let unit = folder.join("zimaged.service");
    fs::write(&unit, text.replace("/usr/bin/zimaged", env!("CARGO_BIN_EXE_zimaged"))).expect("a writable folder");
    unit
}

#[test]
fn systemd_knows_every_line_of_the_unit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_this_binary(folder.path());
    // It exits with 0 on unknown keys: any word it says is a finding.
    let output = analyze(&["verify"], &unit);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    let broken = fs::read_to_string(&unit).expect("the unit").replace("KillMode=mixed", "KilMode=mixed");
    fs::write(&unit, broken).expect("a writable folder");
    assert!(!analyze(&["verify"], &unit).stderr.is_empty(), "a misspelt key is noticed");
}

/// A disk that is full at start ends each start with 75, through the whole night if need be.
#[test]
fn systemd_does_not_give_up_on_what_may_pass_and_does_on_what_needs_a_person() {
    let unit = fs::read_to_string(repository().join("packaging/systemd/zimaged.service")).expect("the unit");
    for line in ["StartLimitIntervalSec=0", "Restart=on-failure", "RestartSec=15", "RestartPreventExitStatus=78"] {
        assert!(unit.lines().any(|said| said == line), "{line}");
    }
}

#[test]
fn the_unit_does_not_become_more_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_this_binary(folder.path());
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let output = analyze(&["security", "--offline=true", "--no-pager", &threshold], &unit);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
