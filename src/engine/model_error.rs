//! Why a model cannot be used as it is.

use std::io;
use std::path::Path;

use crate::problem::printable_lines;

/// What is wrong with a model, in words that name the file and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A file is missing, or is not what it should be: for the user to mend.
    #[error("{0}")]
    Wrong(String),
    /// The system could not read a file. The very same call may succeed later.
    #[error("{0}")]
    Unreadable(String),
}

impl ModelError {
    /// For the file or folder `path`, which the system did not give. That it is not there, is no
    /// file or is closed to us stays so until somebody changes it; a disk or a network that fails
    /// may work again.
    pub fn of_io(path: &Path, error: &io::Error) -> ModelError {
        use io::ErrorKind::{
            InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
        };
        let text = printable_lines(&format!("{}: {error}", path.display()));
        match error.kind() {
            InvalidData | InvalidInput | IsADirectory | NotADirectory | NotFound
            | PermissionDenied => ModelError::Wrong(text),
            _ => ModelError::Unreadable(text),
        }
    }

    /// For the file or folder `path`, of which `what` is wrong. Names in a file may hold anything.
    pub fn wrong(path: &Path, what: impl std::fmt::Display) -> ModelError {
        ModelError::Wrong(printable_lines(&format!("{}: {what}", path.display())))
    }

    /// Whether it may be over by itself.
    pub fn may_pass(&self) -> bool {
        matches!(self, ModelError::Unreadable(_))
    }
}

impl From<ModelError> for String {
    fn from(error: ModelError) -> String {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_file_reaches_no_terminal_as_it_is() {
        let error = ModelError::wrong(Path::new("a.gguf"), "\u{1b}[31m has 512 dimensions");
        assert_eq!(error.to_string(), "a.gguf: \\u{1b}[31m has 512 dimensions");
    }

    #[test]
    fn what_a_user_must_mend_is_told_from_what_may_pass() {
        let of = |code| ModelError::of_io(Path::new("m"), &io::Error::from_raw_os_error(code));
        for code in [libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::EISDIR] {
            assert!(!of(code).may_pass(), "{code}");
        }
        for code in [libc::EIO, libc::ESTALE, libc::EMFILE, libc::ETIMEDOUT, libc::ENOMEM] {
            assert!(of(code).may_pass(), "{code}");
        }
    }
}
