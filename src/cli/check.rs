//! `zimaged check`: a job file's mistakes, and what its author may not have meant, without running
//! it.

use std::path::PathBuf;

use super::job_file::{self, JobFile};
use super::{EXIT_NOT_DONE, Failure, Outcome, failure, print};
use crate::config::Config;
use crate::queue::{self, Queue, QueueError};

#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Job files; - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) async fn check(config: &Config, args: &CheckArgs, json: bool) -> Outcome {
    // Before the first start there is no history.
    let queue = Queue::open(config).await.ok();
    let mut code = 0;
    for path in &args.files {
        let JobFile { name, content, folder } = match job_file::read(config, path) {
            Ok(file) => file,
            Err(error) => {
                let failure = Failure::from(error);
                failure::tell(&failure, json);
                code = code.max(failure.code);
                continue;
            }
        };
        match queue::check(config, &folder, name, content) {
            Ok(good) => print::checked(&good.foreseen(config, queue.as_ref()).await, json)?,
            Err(QueueError::Mistakes(mistakes)) => {
                print::mistakes(&mistakes, json)?;
                code = code.max(EXIT_NOT_DONE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}
