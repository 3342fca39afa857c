//! What programs get in place of an answer.

use serde::Serialize;

use crate::problem::Problem;

/// Why there is no answer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorFacts,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorFacts {
    /// What kind of error it is.
    pub code: ErrorWord,
    /// The exit code of the command.
    pub exit_code: u8,
    /// The reason, for people.
    pub message: String,
    /// The job file that cannot be read, where that is the reason.
    pub file: Option<String>,
    /// The mistakes in a file, where that is the reason.
    pub problems: Vec<FileProblem>,
}

/// A kind of error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorWord {
    /// The command line is wrong.
    Usage,
    /// A job file has mistakes.
    Mistakes,
    /// What was named is not there.
    NotFound,
    /// What was named has ended, or is being done already.
    NothingToDo,
    /// The same command may succeed later.
    TryAgain,
    /// The configuration or the database cannot be used as it is.
    Configuration,
    /// Anything else.
    Failed,
}

/// A mistake in a file.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileProblem {
    /// What people call the file.
    pub file: String,
    #[serde(flatten)]
    pub problem: Problem,
}

impl FileProblem {
    /// The problems of one file.
    pub fn of(file: &str, problems: &[Problem]) -> Vec<FileProblem> {
        let of_file =
            |problem: &Problem| FileProblem { file: file.to_owned(), problem: problem.clone() };
        problems.iter().map(of_file).collect()
    }
}
