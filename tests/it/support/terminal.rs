//! A terminal of a given width, and what a program wrote on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::ptr;
use std::thread;

/// Runs `command` to its end with standard error on a terminal of so many columns; how it ended,
/// its standard output, and what the terminal got.
pub fn run_on_terminal(command: &mut Command, columns: u16) -> (ExitStatus, String, String) {
    run(command, open(columns))
}

/// As [`run_on_terminal`], where somebody types `answer`.
pub fn answer_on_terminal(command: &mut Command, answer: &str) -> (ExitStatus, String, String) {
    let (mut ours, theirs) = open(80);
    // It waits in the terminal until the command reads it.
    ours.write_all(answer.as_bytes()).expect("a terminal");
    command.stdin(theirs.try_clone().expect("a second end"));
    run(command, (ours, theirs))
}

fn run(command: &mut Command, (ours, theirs): (File, OwnedFd)) -> (ExitStatus, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(theirs).spawn().expect("the binary starts");
    // The command keeps its copies of the terminal's end, which would never be told to be closed.
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let reader = thread::spawn(move || read(ours));
    let output = child.wait_with_output().expect("our own child");
    let shown = reader.join().expect("a reader");
    (output.status, String::from_utf8_lossy(&output.stdout).into_owned(), shown)
}

/// A terminal that is the child's own. It closes when this is dropped.
pub struct OwnTerminal {
    _ours: File,
    _theirs: OwnedFd,
}

/// Lets `command` lead a session on a terminal of its own; where its output goes is not changed.
pub fn give_terminal(command: &mut Command) -> OwnTerminal {
    let (ours, theirs) = open(80);
    let terminal = theirs.as_raw_fd();
    let take = move || {
        // SAFETY: neither call has to do with memory, and both are safe after a fork.
        match unsafe { libc::setsid() != -1 && libc::ioctl(terminal, libc::TIOCSCTTY, 0) != -1 } {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: see `take`.
    unsafe { command.pre_exec(take) };
    OwnTerminal { _ours: ours, _theirs: theirs }
}

fn open(columns: u16) -> (File, OwnedFd) {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: both descriptors are written where the call succeeds, and belong to nobody else.
    unsafe {
        let opened = libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            ptr::null_mut(),
            ptr::null(),
            &raw const size,
        );
        assert_eq!(opened, 0, "a terminal");
        for end in [ours, theirs] {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

/// Until all ends of the other side are closed, which is an error on Linux.
fn read(mut terminal: File) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(bytes @ 1..) = terminal.read(&mut some) {
        all.extend_from_slice(&some[..bytes]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
