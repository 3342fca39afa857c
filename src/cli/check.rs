//! `zimaged check`: a job's mistakes, and what its author may not have meant, without running it.

use std::path::PathBuf;

use super::job_file::{self, JobFile};
use super::job_options::{JobOptions, JobSource};
use super::{EXIT_NOT_DONE, Failure, Outcome, failure, print};
use crate::config::Config;
use crate::queue::{self, Queue, QueueError};

#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Job files; - for standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    job: JobOptions,
}

pub(super) async fn check(config: &Config, args: &CheckArgs, json: bool) -> Outcome {
    // Before the first start there is no history.
    let queue = Queue::open(config).await.ok();
    let files = match args.job.beside(&args.files)? {
        JobSource::Files(files) => files,
        JobSource::Options(job) => {
            let good = job.wish(config)?.check(config)?;
            print::checked(&good.foreseen(config, queue.as_ref()).await, None, json)?;
            return Ok(0);
        }
    };
    let mut code = 0;
    for path in files {
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
            Ok(good) => {
                let good = good.foreseen(config, queue.as_ref()).await;
                print::checked(&good, Some(&good.name), json)?;
            }
            Err(QueueError::Mistakes(mistakes)) => {
                print::mistakes(&mistakes, json)?;
                code = code.max(EXIT_NOT_DONE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}
