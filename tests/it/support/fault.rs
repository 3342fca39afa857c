//! System calls that fail, by a library that is loaded in front of the system's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::library;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    library::build("it/support/fault.c", &Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault.so"))
});

/// Lets `call` (`open`, `pread`, `pwrite`, `fsync`, `lock`, and `inotify` of the path `inotify`) on
/// files whose paths end in `path` fail with `errno`, `failing` times after `before` that succeed.
pub fn inject(
    command: &mut Command,
    call: &str,
    path: &str,
    errno: i32,
    before: u32,
    failing: u32,
) {
    command.envs(environment(call, path, errno, before, failing));
}

/// As [`inject`], as variables.
pub fn environment(
    call: &str,
    path: &str,
    errno: i32,
    before: u32,
    failing: u32,
) -> [(&'static str, String); 2] {
    let library = LIBRARY.to_str().expect("a path of ASCII").to_owned();
    [("LD_PRELOAD", library), ("FAULT", format!("{call} {path} {errno} {before} {failing}"))]
}

/// A file that holds every `fsync` of files whose paths end in `path`, until it is removed.
pub struct Gate {
    file: PathBuf,
    held: String,
}

impl Gate {
    pub fn new(file: PathBuf, path: &str) -> Gate {
        std::fs::write(&file, "").expect("a writable folder");
        let held = format!("{path} {}", file.display());
        Gate { file, held }
    }

    /// What has the program stop there.
    pub fn environment(&self) -> [(&str, &str); 2] {
        let library = LIBRARY.to_str().expect("a path of ASCII");
        [("LD_PRELOAD", library), ("HOLD", &self.held)]
    }

    pub fn close(&self) {
        std::fs::write(&self.file, "").expect("a writable folder");
    }

    pub fn open(&self) {
        std::fs::remove_file(&self.file).expect("our own file");
    }
}
