//! What signals mean to the worker.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::{EXIT_NO_SUPERVISOR, end};
use crate::engine::meter;
use crate::worker::exit::EXIT_NO_MEMORY;

/// What the kernel sends when the supervisor has died.
const SUPERVISOR_DIED: Signal = Signal::USR2;

/// The supervisor's process id.
static SUPERVISOR: AtomicI32 = AtomicI32::new(0);

/// How much sooner than its supervisor the kernel is to end the worker where memory is short: half
/// of the scale.
const OFFERED: &str = "500";

/// Where memory is short the worker is to die and not its supervisor, which queues the render
/// again. The kernel lets everybody ask for this.
pub fn offer_to_the_kernel() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(PATH).ok().and_then(|score| score.trim().parse().ok());
    let is_less = now.is_some_and(|now: i32| OFFERED.parse().is_ok_and(|offered| now < offered));
    if is_less {
        // Without it the larger process is the first to go, which is the worker as well.
        let _ = std::fs::write(PATH, OFFERED);
    }
}

/// Ties the process's end to the supervisor's, and leaves it to the supervisor otherwise.
pub fn prepare() -> io::Result<()> {
    // The supervisor decides when a worker ends, but Ctrl-C and systemd reach the whole group. A
    // write past the file size limit is to be an error, not a death.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGXFSZ] {
        // SAFETY: ignoring a signal installs no code that could run at a bad time.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: `getppid` has no preconditions.
    SUPERVISOR.store(unsafe { libc::getppid() }, Ordering::Relaxed);
    handle(SUPERVISOR_DIED.as_raw(), on_supervisor_died);
    handle(libc::SIGABRT, on_abort);
    // The end of the input says the same; this also ends a worker whose threads all hang.
    Ok(set_parent_process_death_signal(Some(SUPERVISOR_DIED))?)
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: both handlers call only what is allowed in one: `getppid`, `write`, `_exit` and loads
    // of atomic numbers.
    unsafe { libc::signal(signal, handler as libc::sighandler_t) };
}

/// The kernel sends the signal also when only the thread that started this process has ended, and
/// so may anybody.
extern "C" fn on_supervisor_died(_signal: libc::c_int) {
    // SAFETY: `getppid` has no preconditions.
    if unsafe { libc::getppid() } != SUPERVISOR.load(Ordering::Relaxed) {
        end(EXIT_NO_SUPERVISOR);
    }
}

/// Rust aborts when an allocation fails. After any other cause the handler returns, and `abort`
/// ends the process as usual.
extern "C" fn on_abort(_signal: libc::c_int) {
    if meter::was_refused() {
        end(EXIT_NO_MEMORY);
    }
}
