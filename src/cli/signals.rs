//! What signals do to the daemon and its worker.

use std::fs::File;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The exit code of a second signal: at once, without a clean shutdown.
const EXIT_NOW: i32 = 130;

/// Signals that mean nothing to us, and whose default is the death of the process. After SIGXFSZ
/// the write past a limit on file sizes is an error like any other. Real-time signals come on top.
const MEANINGLESS: [libc::c_int; 9] = [
    // Of a worker; it asks the daemon for its configuration.
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

/// Whether the configuration was to be read anew before [`of_daemon`].
static RELOAD_ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_reload(_signal: libc::c_int) {
    RELOAD_ASKED.store(true, Ordering::Relaxed);
}

/// To be called as soon as it is known that this is the daemon: a start may wait for a lock, and
/// who asks for a reload meanwhile is not to end it.
pub(super) fn expect_reload() {
    let mut asking = vec![libc::SIGUSR1];
    if hangup_of_daemon() == Hangup::Reload {
        asking.push(libc::SIGHUP);
    }
    for number in asking {
        // SAFETY: the handler only stores an atomic number.
        unsafe { libc::signal(number, note_reload as *const () as libc::sighandler_t) };
    }
}

/// What signals ask for.
pub(super) struct Signalled {
    pub(super) stop: CancellationToken,
    /// That it reads its configuration anew.
    pub(super) reload: Arc<Notify>,
}

/// What SIGHUP means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hangup {
    /// Nothing, under nohup: the program is to outlive its terminal, and has nothing to read anew.
    Nothing,
    /// The terminal closes.
    Stop,
    /// There is no terminal, or it is to be outlived, so a person or systemd has sent it. Should it
    /// be the terminal's end after all, reading the configuration anew does no harm.
    Reload,
}

/// As [`of_daemon`], for a program that has nothing to read anew.
pub(super) fn stop() -> std::io::Result<CancellationToken> {
    let hangup = if is_ignored(libc::SIGHUP) { Hangup::Nothing } else { Hangup::Stop };
    Ok(heed(hangup)?.stop)
}

/// SIGTERM, SIGINT, a terminal that closes and the end of the allowed seconds of the processor stop
/// the daemon in good order; a second SIGTERM or SIGINT ends it at once. The end of a terminal or
/// of a login is told several times over, and never counts for that. Where there is no terminal,
/// and under nohup, SIGHUP asks for the configuration to be read anew; SIGUSR1 does so everywhere.
pub(super) fn of_daemon() -> std::io::Result<Signalled> {
    let asked = heed(hangup_of_daemon())?;
    if RELOAD_ASKED.load(Ordering::Relaxed) {
        asked.reload.notify_one();
    }
    Ok(asked)
}

/// As it was when it was asked for first: [`expect_reload`] takes the place of nohup's wish.
fn hangup_of_daemon() -> Hangup {
    static MEANING: OnceLock<Hangup> = OnceLock::new();
    *MEANING.get_or_init(|| {
        // To a process without a terminal this file is an error.
        let has_terminal = File::open("/dev/tty").is_ok();
        match has_terminal && !is_ignored(libc::SIGHUP) {
            true => Hangup::Stop,
            false => Hangup::Reload,
        }
    })
}

fn heed(meaning: Hangup) -> std::io::Result<Signalled> {
    let asked = Signalled { stop: CancellationToken::new(), reload: Arc::new(Notify::new()) };
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut anew = signal(SignalKind::user_defined1())?;
    let mut out_of_time = signal(SignalKind::from_raw(libc::SIGXCPU))?;
    let (stop, reload) = (asked.stop.clone(), asked.reload.clone());
    tokio::spawn(async move {
        let mut was_asked = false;
        loop {
            // Whether the daemon is asked to end, rather than told that it has to.
            let end = tokio::select! {
                _ = terminate.recv() => Some(true),
                _ = interrupt.recv() => Some(true),
                _ = hangup.recv(), if meaning != Hangup::Nothing => {
                    (meaning == Hangup::Stop).then_some(false)
                }
                _ = anew.recv() => None,
                _ = out_of_time.recv() => Some(false),
            };
            let Some(is_asked) = end else {
                reload.notify_one();
                continue;
            };
            if is_asked && was_asked {
                std::process::exit(EXIT_NOW);
            }
            was_asked |= is_asked;
            info!(
                "stopping; a picture that is being made stops at its next step, and the next start \
                 makes it again (once more to end at once)"
            );
            stop.cancel();
        }
    });
    Ok(asked)
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
