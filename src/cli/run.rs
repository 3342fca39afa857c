//! `zimaged run`: the daemon in the foreground, for systemd, a terminal, or one batch.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Outcome, logging, open_store, print, short, submit, wait};
use crate::config::Config;
use crate::daemon;
use crate::dispatcher::Mode;
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
    let dropped = submit::drop_all(&config, &args.jobs)?;
    let mode = if args.until_idle { Mode::UntilIdle } else { Mode::Forever };
    daemon::run(config.clone(), mode, stop_on_signals()?).await?;
    if !args.until_idle {
        return Ok(0);
    }
    let store = open_store(&config).await?;
    let mut pictures = Vec::new();
    for file in &dropped {
        if let Some(job_id) = store.job_of_drop(file).await? {
            pictures.extend(store.history(Selection::Job(job_id)).await?);
        }
    }
    print::history(&pictures, json)?;
    if !json && pictures.iter().any(|picture| picture.path.is_some()) {
        println!("\nPictures are in {}. Leave the daemon running with: zimaged run", short(&config.outputs));
    }
    Ok(wait::exit_code(&pictures))
}

/// SIGTERM and SIGINT stop the daemon in good order; a second one ends it at once.
fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            if !first {
                std::process::exit(EXIT_NOW);
            }
            info!("stopping; the running render goes back to the queue (once more to end at once)");
            told.cancel();
        }
    });
    Ok(stop)
}

fn warn_as_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!("running as root: a user of its own is safer (see packaging/systemd)");
    }
}
