//! `zimaged sheet`: a job's pictures on one contact sheet.

use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;

use super::completions::job_ids;
use super::{Outcome, job_id, print, short};
use crate::config::Config;
use crate::queue::Queue;

#[derive(clap::Args, Debug)]
pub(super) struct SheetArgs {
    /// The job's id
    #[arg(value_parser = job_id, add = ArgValueCompleter::new(job_ids))]
    job: i64,
    /// The sheet's file, .png, .jpg or .webp, which must not be there; unless given job-ID.png in
    /// the current folder, or job-ID-2.png and so on
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn sheet(config: &Config, args: &SheetArgs, json: bool) -> Outcome {
    let given = args.output.clone();
    let path = given.unwrap_or_else(|| format!("job-{}.png", args.job).into());
    let path = std::path::absolute(path)?;
    let answer =
        Queue::open_or_empty(config).await?.sheet(args.job, &path, args.output.is_none()).await?;
    let pictures = print::count(answer.pictures as u64, "picture");
    let missing = match answer.missing {
        0 => String::new(),
        missing => format!(", {missing} missing"),
    };
    let counts = [
        (answer.failed, "failed"),
        (answer.cancelled, "cancelled"),
        (answer.waiting, "still to be made"),
    ];
    let missing = print::with_counts(missing, counts);
    let (width, height) = (answer.width, answer.height);
    let text = format!("{}: {pictures}{missing}, {width}x{height}", short(&answer.path));
    print::answer(&answer, &text, json)?;
    Ok(0)
}
