//! Completion in shells, and manual pages: made from the arguments as they are.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};

use super::{Args, Outcome, print, short};
use crate::config::Config;
use crate::problem::printable;
use crate::queue::Queue;
use crate::store::{JobFilter, JobRow};

/// The variable by which the script of a shell asks the program for completions.
const VARIABLE: &str = "ZIMAGED_COMPLETE";

/// The name by which shells know the program.
const NAME: &str = "zimaged";

/// In a folder of functions the script is the function of the first completion, and would only name
/// that of the next ones.
const ZSH_FIRST: &str =
    "if [ \"$funcstack[1]\" = _zimaged ]; then _clap_dynamic_completer_zimaged; fi\n";

/// So many of the newest jobs are offered.
const JOBS_MAX: u32 = 50;

/// Answers the question of a shell and ends the process, if that is what it was started for.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(Args::command).var(VARIABLE).bin(NAME).complete();
}

/// Prints the script that has a shell ask.
pub(super) fn script(shell: clap_complete::Shell) -> Outcome {
    print::line(script_of(shell)?.trim_end())?;
    Ok(0)
}

fn script_of(shell: clap_complete::Shell) -> anyhow::Result<String> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name).with_context(|| format!("{name} is not known"))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    if shell == clap_complete::Shell::Zsh {
        script.extend(ZSH_FIRST.as_bytes());
    }
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Writes a manual page for each command into the folder.
pub(super) fn manual(folder: &PathBuf) -> Outcome {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Args::command(), folder)
        .with_context(|| format!("cannot write {}", folder.display()))?;
    print::line(&format!("manual pages are in {}", short(folder)))?;
    Ok(0)
}

/// The newest jobs whose ids begin so. Where there is no queue there are none: whoever completes
/// wants no error.
pub(super) fn job_ids(beginning: &OsStr) -> Vec<CompletionCandidate> {
    let Some(beginning) = beginning.to_str() else { return Vec::new() };
    let jobs = newest_jobs().unwrap_or_default();
    let offered = jobs.iter().filter(|job| job.job.to_string().starts_with(beginning));
    offered.map(candidate).collect()
}

fn candidate(job: &JobRow) -> CompletionCandidate {
    let help = format!("{}, {}", printable(&job.file_name), job.state);
    CompletionCandidate::new(job.job.to_string()).help(Some(help.into()))
}

fn newest_jobs() -> anyhow::Result<Vec<JobRow>> {
    let config = Config::load(None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let queue = Queue::open(&config).await?;
        Ok(queue.store().jobs(&JobFilter::default(), JOBS_MAX).await?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zsh_completes_at_the_first_call_of_the_script_as_well() {
        let script = script_of(clap_complete::Shell::Zsh).expect("a known shell");
        let (_, behind) = script.split_once("function ").expect("a function");
        let (name, _) = behind.split_once('(').expect("its name");
        let last = script.lines().last().expect("a line");
        assert!(last.ends_with(&format!("then {name}; fi")), "{script}");
    }
}
