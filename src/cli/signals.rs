//! What signals do to the daemon and its worker.

use std::mem::MaybeUninit;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The exit code of a second signal: at once, without a clean shutdown.
const EXIT_NOW: i32 = 130;

/// Signals that mean nothing to us, and whose default is the death of the process. After SIGXFSZ
/// the write past a limit on file sizes is an error like any other. Real-time signals come on top.
const MEANINGLESS: [libc::c_int; 9] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXFSZ,
];

/// To be called before anything is written, the log included.
pub(super) fn ignore_meaningless() {
    for number in MEANINGLESS.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        // SAFETY: ignoring a signal installs no code that could run at a bad time.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

/// SIGTERM, SIGINT, a terminal that closes and the end of the allowed seconds of the processor stop
/// the daemon in good order; a second SIGTERM or SIGINT ends it at once. The end of a terminal or
/// of a login is told several times over, and never counts for that.
pub(super) fn stop() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    // Under nohup, which ignores it, the daemon is to outlive its terminal.
    let heeds_hangup = !is_ignored(libc::SIGHUP);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut out_of_time = signal(SignalKind::from_raw(libc::SIGXCPU))?;
    let told = stop.clone();
    tokio::spawn(async move {
        let mut was_asked = false;
        loop {
            let asked = tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                _ = hangup.recv(), if heeds_hangup => false,
                _ = out_of_time.recv() => false,
            };
            if asked && was_asked {
                std::process::exit(EXIT_NOW);
            }
            was_asked |= asked;
            info!("stopping (once more to end at once)");
            told.cancel();
        }
    });
    Ok(stop)
}

/// Once the daemon is down, a signal ends the program as it ends any other: what is left is to
/// print, and nobody may read.
pub(super) fn heed_no_longer() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the default installs no code that could run at a bad time.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, which is read only where
    // it succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
