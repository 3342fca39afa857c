//! What is told when a command has no answer: a line for people, an object for programs.

use std::error::Error;

use clap::error::{ContextKind, ContextValue};

use super::job_file::{FileFaults, UnreadableFile};
use super::{EXIT_CONFIG, EXIT_NOT_DONE, EXIT_TEMPFAIL, EXIT_USAGE, Failure, print, stderr};
use crate::config::ConfigError;
use crate::job::hints::key_hint;
use crate::queue::{ErrorAnswer, ErrorFacts, ErrorWord, FileProblem, QueueError, option_of};
use crate::store::StoreError;

/// Tells people on standard error, and programs on standard output, where they expect the answer.
/// Where nobody reads any more, the exit code is the answer.
pub(super) fn tell(failure: &Failure, json: bool) {
    if json {
        let _ = print::answer(&answer(failure), "", json);
    } else {
        stderr::tell(&format!("zimaged: {}", stderr::told(&failure.error)));
    }
}

/// Ends the program for a command line that is wrong, or asks for help.
pub(super) fn usage(mut error: clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    if let Some(hint) = option_hint(&error) {
        put_hint(&mut error, hint);
    }
    let hint = missing_hint(&error);
    if !std::env::args_os().any(|argument| argument == "--json") {
        let _ = error.print();
        if let Some(hint) = hint {
            stderr::tell(hint);
        }
        std::process::exit(EXIT_USAGE.into());
    }
    let hint = hint.map_or(String::new(), |hint| format!("\n{hint}"));
    let message = format!("{}{hint}", error.render().to_string().trim_end());
    let code = ErrorWord::Usage;
    let facts =
        ErrorFacts { code, exit_code: EXIT_USAGE, message, file: None, problems: Vec::new() };
    let _ = print::answer(&ErrorAnswer { error: facts }, "", true);
    std::process::exit(EXIT_USAGE.into());
}

/// Puts our hint in the place of clap's, which takes what it does not know for an option with a
/// slip, or for a value.
fn put_hint(error: &mut clap::Error, hint: String) {
    for other in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
        error.remove(other);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
}

/// How renders are named, for whoever names none.
const CHOICES: &str = "name jobs (12) or renders (12.3), or say --tag, --state or --all";

/// What could be said where a command is told nothing.
fn missing_hint(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_missing = |names: &[&str]| missing.iter().any(|name| names.contains(&name.as_str()));
    if is_missing(&["<WHAT>..."]) {
        Some(CHOICES)
    } else if is_missing(&["<WHAT>", "<JOB>", "<JOBS>..."]) {
        Some("name a job by its number, which stands in: zimaged list")
    } else {
        None
    }
}

/// What an option of another program is here.
fn option_hint(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let hint = key_hint(option.strip_prefix("--")?)?;
    // Keys of job files are options with another spelling.
    let mut told = hint.split('`').enumerate().map(|(place, part)| match place % 2 {
        1 if !part.contains(' ') => option_of(part),
        _ => part.to_owned(),
    });
    Some(format!("{option}: {}", told.by_ref().collect::<String>()))
}

fn answer(failure: &Failure) -> ErrorAnswer {
    let Failure { code: exit_code, error } = failure;
    let problems = error.chain().find_map(problems_of).unwrap_or_default();
    let code = error.chain().find_map(word_of).unwrap_or(match *exit_code {
        EXIT_USAGE => ErrorWord::Usage,
        EXIT_NOT_DONE => ErrorWord::Mistakes,
        EXIT_TEMPFAIL => ErrorWord::TryAgain,
        EXIT_CONFIG => ErrorWord::Configuration,
        _ => ErrorWord::Failed,
    });
    let message = stderr::told(error).trim_end().to_owned();
    let file = error.chain().find_map(|cause| cause.downcast_ref::<UnreadableFile>());
    let file = file.map(|unreadable| unreadable.name.clone());
    ErrorAnswer { error: ErrorFacts { code, exit_code: *exit_code, message, file, problems } }
}

/// The word of an error whose exit code does not say it.
fn word_of(cause: &(dyn Error + 'static)) -> Option<ErrorWord> {
    let of_queue = cause.downcast_ref().and_then(|error| match error {
        QueueError::Store(error) => Some(error),
        _ => None,
    });
    match of_queue.or_else(|| cause.downcast_ref::<StoreError>())? {
        StoreError::NotFound(_) => Some(ErrorWord::NotFound),
        StoreError::NothingToDo(_) => Some(ErrorWord::NothingToDo),
        _ => None,
    }
}

fn problems_of(cause: &(dyn Error + 'static)) -> Option<Vec<FileProblem>> {
    if let Some(FileFaults { errors, .. }) = cause.downcast_ref() {
        let of_file = |error: &anyhow::Error| error.chain().find_map(problems_of);
        return Some(errors.iter().filter_map(of_file).flatten().collect());
    }
    if let Some(QueueError::Mistakes(mistakes)) = cause.downcast_ref() {
        return Some(FileProblem::of(&mistakes.name, &mistakes.problems));
    }
    let of_queue = cause.downcast_ref().and_then(|error| match error {
        QueueError::Config(error) => Some(error),
        _ => None,
    });
    match of_queue.or_else(|| cause.downcast_ref::<ConfigError>())? {
        ConfigError::Invalid { file, problems, .. } => Some(FileProblem::of(file, problems)),
        _ => None,
    }
}
