//! The command line: translates arguments into calls and answers into text or JSON. Decides
//! nothing.

mod ask;
mod check;
mod completions;
mod control;
mod doctor;
mod edit;
mod exit;
mod failure;
mod fetch;
mod fetch_bar;
mod fit;
mod fold;
mod history;
mod init;
mod job_file;
mod job_options;
#[cfg(test)]
mod json;
mod logging;
mod machine_report;
mod model;
mod models;
mod new_model;
mod pictures;
mod print;
mod progress;
mod query;
mod queue_name;
mod replay;
mod report;
mod run;
mod sheet;
mod show;
mod signals;
mod stderr;
mod status;
mod submit;
mod table;
mod verify;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use self::exit::{
    EXIT_CONFIG, EXIT_DATA, EXIT_DEGRADED, EXIT_FAILED, EXIT_NOT_DONE, EXIT_TEMPFAIL, EXIT_USAGE,
    exit_code_of,
};
use self::queue_name::{
    changes_queue, names_queue, needs_queue, tell_queue_elsewhere, which_queue,
};
use crate::clock;
use crate::config::{Config, ModelChoice};
use crate::engine::ModelPlace;
use crate::mcp;
use crate::problem::printable;
use crate::queue;
use crate::store::Selection;
use crate::worker::serve;

/// Help lists the options of all commands behind those of the one.
const EVERYWHERE: &str = "Everywhere";

/// Renders pictures with Z-Image-Turbo from a queue that survives everything.
///
/// Drop a TOML file into the jobs folder, or submit it; the pictures appear in the outputs folder,
/// and the history in an SQLite database that you can ask with `sqlite3`.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 a job file that has mistakes or \
cannot be read, a render that failed or was cancelled, or nothing left to cancel, edit or retry, 4 done but degraded \
(fit: 3 does not fit, 4 fits only degraded), 65 what was fetched, or a picture, is damaged, 75 try again later, 78 \
configuration."
)]
struct Args {
    /// The configuration; else ./daemon.toml, then the user's, then /etc/zimaged/daemon.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// The model's folder or file, or its name in daemon.toml, in place of the configuration's
    #[arg(long, global = true, value_name = "MODEL", help_heading = EVERYWHERE)]
    model: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    #[command(flatten)]
    verbosity: logging::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a folder for a queue: daemon.toml, jobs/, outputs/, state/
    Init(init::InitArgs),
    /// Run the daemon
    Run(run::RunArgs),
    /// Hand jobs to the daemon: files, a list of prompts, or single options
    Submit(submit::SubmitArgs),
    /// Check jobs without running them: files, a list of prompts, or single options
    Check(check::CheckArgs),
    /// List jobs, newest first
    List(query::ListArgs),
    /// Show a job with its renders and attempts
    Show(show::ShowArgs),
    /// Put a job's pictures on a contact sheet
    Sheet(sheet::SheetArgs),
    /// Make pictures again, from what they say of themselves
    ///
    /// Exit codes: 0 each of them is a job, 3 some picture does not say how it was made.
    Replay(replay::ReplayArgs),
    /// Compare the pictures with what the history says of them
    ///
    /// Each must be there, have the recorded hash, and be decoded; files that belong to no row are
    /// told. Exit codes: 0 all are right, 65 some are not, 75 `--replay` without a daemon.
    Verify(verify::VerifyPicturesArgs),
    /// Wait until a job has ended
    Wait(wait::WaitArgs),
    /// Cancel jobs or renders, by name or by what they have in common
    Cancel(control::CancelArgs),
    /// Change priority, times and tags of what is queued; what runs goes on
    Edit(edit::EditArgs),
    /// Render again, as a new job, what failed or was cancelled in a job and is not being rendered
    /// again already
    Retry(control::RetryArgs),
    /// Start no further render, also after a restart, until `resume`
    Pause {
        /// Shown by `status`
        #[arg(default_value = "")]
        reason: String,
    },
    /// Go on after `pause`
    Resume,
    /// Say what the daemon is doing, what waits in the jobs folder, and why; ends 75 where no
    /// daemon runs
    Status,
    /// Say what is wrong with the queue and its machine, and what mends it; changes nothing
    ///
    /// Works while a daemon runs, and without one. Exit codes: 0 nothing is wrong (there may be
    /// warnings), 1 something is.
    Doctor,
    /// Say on which rung a picture would be rendered, without a GPU
    ///
    /// Exit codes: 0 it fits as asked, 4 it fits smaller or with fewer steps, 3 it does not fit,
    /// 2 the question is wrong or lacks the memory of a card, 1 the engine needs no memory.
    Fit(fit::FitArgs),
    /// Measure this machine with the configured model: times, memory, energy, and what to use
    ///
    /// Renders real pictures in a queue of its own; the user's is not touched. Takes minutes.
    Report(machine_report::ReportArgs),
    /// Speak the Model Context Protocol over standard input and output, for language models
    Mcp,
    /// Fetch models, and prepare their files
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Clear the history of what is old, or begin a new one
    #[command(subcommand)]
    History(history::HistoryCommand),
    /// Copy the queue and its history into a new file, while the daemon runs
    Backup {
        /// The new file; nothing is replaced
        file: PathBuf,
    },
    /// Put a backup in the place of the queue and its history, while no daemon runs
    Restore {
        /// What `backup` made, or another copy of state/zimaged.sqlite
        file: PathBuf,
    },
    /// Print a script that has a shell complete commands, options and job ids
    Completions { shell: clap_complete::Shell },
    /// Write manual pages
    #[command(hide = true)]
    Man { folder: PathBuf },
    /// The child process that holds the model; started by `run`
    #[command(hide = true)]
    Worker,
}

/// A failure with the exit code that says what kind it is.
#[derive(Debug)]
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        Failure { code: exit_code_of(&error), error }
    }
}

/// What a command answers: its exit code, or a failure to be printed.
type Outcome = Result<u8, Failure>;

/// The whole program.
pub fn main() -> ExitCode {
    completions::answer_shell();
    let args = Args::try_parse().unwrap_or_else(|error| failure::usage(error));
    args.verbosity.hand_on();
    if let Command::Report(_) = args.command {
        logging::expect_warnings_only();
    }
    if let Command::Worker | Command::Run(_) = args.command {
        signals::ignore_meaningless();
        if let Command::Run(_) = args.command {
            signals::expect_reload();
        }
        logging::start();
    } else if args.verbosity.is_verbose() {
        logging::start();
    }
    if let Command::Worker = args.command {
        return serve::serve();
    }
    let json = args.json;
    match command(args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure::tell(&failure, json);
            ExitCode::from(failure.code)
        }
    }
}

fn command(mut args: Args) -> Outcome {
    if let Command::Completions { shell } = args.command {
        return completions::script(shell);
    }
    if let Command::Man { folder } = &args.command {
        return completions::manual(folder);
    }
    if let Command::Init(init) = args.command {
        return init::init(&init, args.json);
    }
    if let Command::Doctor = args.command {
        let config = match (Config::load(args.config.as_deref()), &args.model) {
            (Ok(config), Some(model)) => Ok(with_model(config, model)?),
            (config, _) => config,
        };
        return doctor::doctor(&config, args.json);
    }
    let config = configured(&mut args)?;
    if let Some(problem) = clock::time_zone_problem() {
        stderr::remark(&format!("zimaged: warning: {problem}"));
    }
    if names_queue(&args.command) {
        tell_queue_elsewhere(&config);
    }
    if changes_queue(&args.command)
        && let Some(told) = queue::saved_database(&config)
    {
        stderr::remark(&format!("zimaged: warning: {told}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(with_configuration(config, args.command, args.json))
}

/// The configuration with the model that the command line names; that of a job goes into the job.
fn configured(args: &mut Args) -> Result<Config, Failure> {
    let named = args.config.as_deref();
    let mut config = match needs_queue(&args.command, args.model.is_some()) {
        true => Config::load(named)?,
        false => Config::load_or_default(named)?,
    };
    if let Some(model) = args.model.take() {
        match (name_of(&config, &model), &mut args.command) {
            (Some(name), Command::Submit(submit)) => submit.name_model(name),
            _ => config = with_model(config, &model)?,
        }
    }
    Ok(config)
}

/// The argument, where daemon.toml calls a model so.
fn name_of<'a>(config: &Config, model: &'a Path) -> Option<&'a str> {
    model.to_str().filter(|name| config.models.contains_key(*name))
}

/// The configuration with `model`, one of its names or a path, in place of its own.
fn with_model(mut config: Config, model: &Path) -> Result<Config, Failure> {
    match name_of(&config, model) {
        Some(name) => Ok(config.with_model(name).unwrap_or(config)),
        None => {
            config.model = ModelChoice::Named(model_at(&config, model)?);
            Ok(config)
        }
    }
}

/// What an argument says of a model: a name, where it is one word that no file is called, or a
/// path.
fn model_at(config: &Config, model: &Path) -> Result<ModelPlace, Failure> {
    match model.to_str().filter(|word| !word.is_empty() && !word.contains('/')) {
        Some(word) if !model.exists() => Ok(queue::model_called(config, Some(word))?),
        _ => Ok(ModelPlace::at(&std::path::absolute(model)?)),
    }
}

async fn with_configuration(config: Config, command: Command, json: bool) -> Outcome {
    match command {
        Command::Run(run) => run::run(config, run, json).await,
        Command::Submit(submit) => submit::submit(&config, &submit, json).await,
        Command::Check(check) => check::check(&config, &check, json).await,
        Command::List(list) => query::list(&config, &list, json).await,
        Command::Show(show) => show::show(&config, &show, json).await,
        Command::Sheet(args) => sheet::sheet(&config, &args, json).await,
        Command::Replay(args) => replay::pictures(&config, &args, json).await,
        Command::Verify(args) => verify::verify(&config, &args, json).await,
        Command::Wait(wait) => wait::wait(&config, &wait, json).await,
        Command::Cancel(cancel) => control::cancel(&config, &cancel, json).await,
        Command::Edit(edit) => edit::edit(&config, &edit, json).await,
        Command::Retry(retry) => control::retry(&config, &retry, json).await,
        Command::Pause { reason } => control::pause(&config, &reason, json).await,
        Command::Resume => control::resume(&config, json).await,
        Command::Model(command) => model::model(&config, &command, json).await,
        Command::History(command) => history::history(&config, &command, json).await,
        Command::Backup { file } => history::backup(&config, &file, json).await,
        Command::Restore { file } => history::restore(&config, &file, json).await,
        Command::Mcp => Ok(mcp::serve(&config).await.map(|()| 0)?),
        Command::Status => status::status(&config, json).await,
        Command::Fit(fit) => fit::fit(&config, &fit, json).await,
        Command::Report(report) => machine_report::report(&config, &report, json).await,
        Command::Init(_)
        | Command::Completions { .. }
        | Command::Doctor
        | Command::Man { .. }
        | Command::Worker => Ok(0),
    }
}

/// A whole number, for arguments.
fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("'{text}' is no whole number that can be used here, like 5"))
}

/// The id of a job, for arguments. Of one picture of it the job is told.
fn job_id(text: &str) -> Result<i64, String> {
    match text.parse::<Selection>() {
        Ok(Selection::Job(job_id)) => Ok(job_id),
        Ok(Selection::Render { job_id, .. }) => {
            Err(format!("{text} is one picture of job {job_id}; name the whole job: {job_id}"))
        }
        Err(_) => Err(format!("'{text}' is no job's number, which stands in: zimaged list")),
    }
}

/// `path` relative to the current folder where that is shorter to read.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    printable(&path.strip_prefix(&here).unwrap_or(path).display().to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_lists_a_command_s_own_options_before_those_of_all() {
        let mut command = Args::command();
        command.build();
        let help =
            command.find_subcommand_mut("fit").expect("a command").render_long_help().to_string();
        let [own, all] = ["--table", "--config"].map(|option| help.find(option).expect(option));
        assert!(own < all, "{help}");
    }
}
