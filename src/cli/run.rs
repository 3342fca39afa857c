//! `zimaged run`: the daemon in the foreground, for systemd, a terminal, or one batch.

use std::mem::MaybeUninit;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Outcome, logging, print, short, submit, wait};
use crate::config::Config;
use crate::daemon;
use crate::dispatcher::Mode;
use crate::job::origin::SourceFile;
use crate::queue::{self, Queue, Summary};
use crate::store::Selection;

/// The exit code of a second signal: at once, without a clean shutdown.
const EXIT_NOW: i32 = 130;

#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// End when no work is left, and show what was made
    #[arg(long)]
    until_idle: bool,
    /// Job files to submit first
    jobs: Vec<PathBuf>,
}

pub(super) async fn run(config: Config, args: RunArgs, json: bool) -> Outcome {
    logging::start();
    warn_as_root();
    write_past_a_limit_is_an_error();
    // Before the files are handed over: another daemon would take them, and the user would try
    // again.
    let lock = daemon::lock(&config)?;
    let jobs = submit::checked(&config, &args.jobs)?;
    let dropped = queue::hand_over(&config, &jobs)?;
    submit::warn(&jobs);
    let mode = if args.until_idle { Mode::UntilIdle } else { Mode::Forever };
    daemon::run(config.clone(), lock, mode, stop_on_signals()?)
        .await
        .map_err(|error| told_what_stays(error, &dropped))?;
    if !args.until_idle {
        return Ok(0);
    }
    let queue = Queue::open(&config).await?;
    let store = queue.store();
    let mut pictures = Vec::new();
    for file in &dropped {
        if let Some(job_id) = store.job_of_drop(file).await? {
            pictures.extend(store.history(Selection::Job(job_id)).await?);
        }
    }
    print::history(&pictures, json)?;
    if !json && pictures.iter().any(|picture| picture.path.is_some()) {
        let folder = short(&config.outputs);
        print::line(&format!(
            "\nPictures are in {folder}. Leave the daemon running with: zimaged run"
        ))?;
    }
    Ok(wait::exit_code(&Summary::of(&pictures)))
}

/// Jobs that were handed over are kept, whatever ended the daemon: naming their files again would
/// double them.
fn told_what_stays(error: anyhow::Error, dropped: &[SourceFile]) -> anyhow::Error {
    match dropped {
        [] => error,
        files => {
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            error.context(format!(
                "{} stays in the queue (run again without naming it)",
                names.join(", ")
            ))
        }
    }
}

/// SIGTERM, SIGINT and a terminal that closes stop the daemon in good order; a second SIGTERM or
/// SIGINT ends it at once. The end of a terminal or of a login is told several times over, and
/// never counts for that.
fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    // Under nohup, which ignores it, the daemon is to outlive its terminal.
    let heeds_hangup = !is_ignored(libc::SIGHUP);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let told = stop.clone();
    tokio::spawn(async move {
        let mut was_asked = false;
        loop {
            let asked = tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                _ = hangup.recv(), if heeds_hangup => false,
            };
            if asked && was_asked {
                std::process::exit(EXIT_NOW);
            }
            was_asked |= asked;
            info!("stopping; the running render goes back to the queue (once more to end at once)");
            told.cancel();
        }
    });
    Ok(stop)
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

/// The signal's default action is the death of the process.
fn write_past_a_limit_is_an_error() {
    // SAFETY: ignoring a signal installs no code that could run at a bad time.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn warn_as_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!("running as root: a user of its own is safer (see packaging/systemd)");
    }
}
