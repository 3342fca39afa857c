//! `zimaged init`: a folder for a queue.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Outcome, print, short};
use crate::config::{self, InitAnswer};
use crate::problem::printable;

#[derive(clap::Args, Debug)]
pub(super) struct InitArgs {
    /// The folder; made where it is missing
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Where the queue is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct QueueFolders<'a> {
    /// The configuration.
    config: &'a Path,
    /// It was made, and not there before.
    is_new: bool,
    /// The folder to drop jobs into.
    jobs: &'a Path,
    /// The folder in which pictures appear.
    outputs: &'a Path,
    /// The folder of the database.
    state: &'a Path,
}

pub(super) fn init(args: &InitArgs, json: bool) -> Outcome {
    let folder = std::path::absolute(&args.folder)?;
    let InitAnswer { config, config_path, is_new } = config::init(&folder)?;
    let value = QueueFolders {
        config: &config_path,
        is_new,
        jobs: &config.jobs,
        outputs: &config.outputs,
        state: &config.state,
    };
    let is_here = std::env::current_dir().is_ok_and(|here| here == folder);
    let go = if is_here {
        String::new()
    } else {
        format!("cd {} && ", printable(&folder.display().to_string()))
    };
    let kept = if is_new { "" } else { " (it was there, and stays as it is)" };
    let text = format!(
        "{}: the settings{kept}\n{}: drop job files here\n{}: pictures appear here\n\
         Start the daemon with: {go}zimaged run",
        short(&config_path),
        short(&config.jobs),
        short(&config.outputs),
    );
    print::answer(&value, &text, json)?;
    Ok(0)
}
