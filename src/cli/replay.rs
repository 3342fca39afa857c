//! `zimaged replay`: pictures are made again.

use std::path::PathBuf;

use anyhow::anyhow;

use super::{EXIT_NOT_DONE, EXIT_USAGE, Failure, Outcome, print, short, stderr};
use crate::config::Config;
use crate::problem::{one_line, printable};
use crate::queue::replay::{Replay, ReplayUse, Replays, replay};

#[derive(clap::Args, Debug)]
pub(super) struct ReplayArgs {
    /// Pictures of zimaged, a web UI, ComfyUI, InvokeAI or stable-diffusion.cpp
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// Print the job of one picture in place of handing it over
    #[arg(long)]
    as_job: bool,
    /// Hand over only what will be the same picture
    #[arg(long, conflicts_with = "as_job")]
    same: bool,
}

impl ReplayArgs {
    /// Whether there will be jobs.
    pub(super) fn hands_over(&self) -> bool {
        !self.as_job
    }
}

pub(super) async fn pictures(config: &Config, args: &ReplayArgs, json: bool) -> Outcome {
    if args.as_job && args.pictures.len() > 1 && !json {
        let error = anyhow!("--as-job prints one job: name one picture, or say --json");
        return Err(Failure { code: EXIT_USAGE, error });
    }
    let what_for = match (args.as_job, args.same) {
        (true, _) => ReplayUse::Show,
        (false, true) => ReplayUse::SubmitSame,
        (false, false) => ReplayUse::Submit,
    };
    let replays = replay(config, &args.pictures, what_for).await?;
    if json {
        print::answer(&replays, "", json)?;
    } else {
        tell(&replays, args.as_job)?;
    }
    Ok(if replays.refused.is_empty() { 0 } else { EXIT_NOT_DONE })
}

fn tell(replays: &Replays, as_job: bool) -> std::io::Result<()> {
    for replay in &replays.pictures {
        match as_job {
            true => print::line(&as_file(replay))?,
            false => print::answer(replay, &told(replay), false)?,
        }
    }
    for refused in &replays.refused {
        stderr::tell(&format!("{}: {}", short(&refused.picture), printable(&refused.reason)));
    }
    Ok(())
}

fn remarks(replay: &Replay) -> impl Iterator<Item = &str> {
    let differences = replay.differences.iter().map(|difference| difference.text.as_str());
    differences.chain(replay.notes.iter().map(String::as_str))
}

fn told(replay: &Replay) -> String {
    let job = match replay.job {
        Some(job) => format!("is job {job}"),
        None => "waits in the jobs folder for the daemon: zimaged run".to_owned(),
    };
    let promise = match replay.same_picture {
        true => "the same picture",
        false => "perhaps another picture",
    };
    let mut text = format!("{} {job}, {promise}", short(&replay.picture));
    for remark in remarks(replay) {
        text += &format!("\n  {}", printable(remark));
    }
    text
}

/// The job's text, with what differs as comments, in which TOML allows no control characters.
fn as_file(replay: &Replay) -> String {
    let comments = remarks(replay).map(|remark| format!("# {}\n", one_line(remark)));
    let text = comments.collect::<String>() + &replay.toml;
    text.trim_end().to_owned()
}
