//! What becomes of chosen system calls of the program: see `trap.c`, the library that is preloaded.

use std::fmt::{self, Display, Formatter};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::NamedTempFile;

use crate::support::library;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    library::build("faults/trap.c", &Path::new(env!("CARGO_TARGET_TMPDIR")).join("trap.so"))
});

/// How far the program's time of day is off, from now on and while it runs.
pub struct ShiftedClock(NamedTempFile);

impl ShiftedClock {
    pub fn new(seconds: i64) -> ShiftedClock {
        let clock = ShiftedClock(NamedTempFile::new().unwrap());
        clock.jump_to(seconds);
        clock
    }

    /// In place: the program has the file mapped.
    pub fn jump_to(&self, seconds: i64) {
        self.0.as_file().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    pub fn shift_s(&self) -> i64 {
        let mut bytes = [0; 8];
        self.0.as_file().read_exact_at(&mut bytes, 0).unwrap();
        i64::from_ne_bytes(bytes)
    }

    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &*LIBRARY), ("TRAP_CLOCK", self.0.path())]
    }
}

/// One rule of the library.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `supervisor`, `worker` or `any`.
    pub role: &'static str,
    /// `write`, `sync`, `rename`, `link`, `unlink`, `truncate`, `watch`, or `any` of them; or
    /// `read`.
    pub calls: &'static str,
    /// A part of the file's path, `*` for all.
    pub path: &'static str,
    /// The first call that is meant, from 1.
    pub first: u64,
    /// So many are.
    pub count: u64,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to the process.
    Kill,
    /// SIGKILL to supervisor and worker.
    KillAll,
    /// The power goes off for the filesystem that is mounted here.
    Cut(PathBuf),
    Errno(i32),
    /// The call is said to have succeeded, and was never made.
    Nothing,
    DelayMs(u64),
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Rule { role, calls, path, first, count, action } = self;
        write!(f, "{role} {calls} {path} {first} {count} ")?;
        match action {
            Action::Kill => write!(f, "kill"),
            Action::KillAll => write!(f, "killall"),
            Action::Cut(folder) => write!(f, "cut:{}", folder.display()),
            Action::Errno(number) => write!(f, "errno:{number}"),
            Action::Nothing => write!(f, "nothing"),
            Action::DelayMs(ms) => write!(f, "delay:{ms}"),
        }
    }
}

/// Has the program obey the rules; it notes in the file `told` to which it has come.
pub fn set(command: &mut Command, rules: &[Rule], told: &Path) {
    if rules.is_empty() {
        return;
    }
    let rules: Vec<String> = rules.iter().map(Rule::to_string).collect();
    command.env("LD_PRELOAD", &*LIBRARY).env("TRAP", rules.join(";")).env("TRAP_TOLD", told);
}
