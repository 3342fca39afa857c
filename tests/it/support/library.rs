//! Libraries in C that are loaded into the program in front of the system's own, or in their place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a file of the tests. It gets its name when it is whole: another run of the tests may
/// have the one of before loaded, and must not find it changed.
pub fn build(source: &str, library: &Path) -> PathBuf {
    let folder = library.parent().expect("a folder of the target's");
    fs::create_dir_all(folder).expect("a writable folder");
    let new = library.with_extension(std::process::id().to_string());
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
        .arg(&new)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source))
        .arg("-ldl")
        .status();
    assert!(built.expect("the C compiler that SQLite needs").success());
    fs::rename(&new, library).expect("the same folder");
    library.to_owned()
}
