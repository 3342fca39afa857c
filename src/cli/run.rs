//! `zimaged run`: the daemon in the foreground, for systemd, a terminal, or one batch.

use std::path::PathBuf;

use tracing::info;

use super::{Outcome, job_file, progress, report, signals, stderr, submit, which_queue};
use crate::config::{Config, ModelChoice};
use crate::daemon;
use crate::dispatcher::Mode;
use crate::engine::EngineKind;
use crate::job::origin::SourceFile;
use crate::queue;

#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// End when no work is left, and show what this run did: pictures of all jobs, and files that
    /// were rejected. The exit code says how it ended: 0, 3 or 4, and 75 if it was stopped before or
    /// the queue was paused already
    #[arg(long)]
    until_idle: bool,
    /// Job files to submit first
    jobs: Vec<PathBuf>,
}

pub(super) async fn run(config: Config, args: RunArgs, json: bool) -> Outcome {
    warn_as_root();
    info!("{}", which_queue(&config.state, config.file.as_deref()));
    tell_of_the_miniature(&config);
    // Before the files are handed over: another daemon would take them, and the user would try
    // again.
    let lock = daemon::lock(&config)?;
    let jobs = job_file::checked(&config, &args.jobs)?;
    let dropped = queue::hand_over(&config, &jobs)?;
    submit::warn(&jobs);
    let mode = if args.until_idle { Mode::UntilIdle } else { Mode::Forever };
    let onlooker = progress::onlooker(config.clone());
    let signals::Signalled { stop, reload } = signals::of_daemon()?;
    let ended = daemon::run(config.clone(), lock, mode, onlooker, reload, stop).await;
    stderr::show(None);
    let begun = ended.map_err(|error| told_what_stays(error, &dropped))?;
    signals::heed_no_longer();
    match args.until_idle {
        true => report::report(&config, begun, json).await,
        false => Ok(0),
    }
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

/// Its pictures are not what people have come for; so they are told what brings these.
fn tell_of_the_miniature(config: &Config) {
    let is_miniature = match &config.model {
        ModelChoice::Named(place) => place.path.ends_with("models/mini"),
        ModelChoice::Miniature { .. } => true,
    };
    if is_miniature && config.engine == EngineKind::ZImage {
        info!("this is the miniature model, which knows coloured shapes only");
        info!("Z-Image-Turbo comes with: zimaged model fetch turbo");
    }
}

fn warn_as_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!("running as root: a user of its own is safer");
    }
}
