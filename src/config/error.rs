//! Why there is no configuration.

use std::io;
use std::path::PathBuf;

use crate::access;
use crate::engine::ModelError;
use crate::files;
use crate::problem::{Problem, Report};

/// Why there is no configuration: for the user to mend, exit 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named, or that was found, cannot be read.
    #[error("cannot read the configuration {}: {}", path.display(), access::told(path, source))]
    Unreadable { path: PathBuf, source: io::Error },
    /// No configuration was named or found, and the current folder is no queue's.
    #[error(
        "there is no queue in {}: it has no daemon.toml, nor both jobs/ and state/, and there is no \
         configuration of yours or of the system; make one here with `zimaged init`, or name a \
         configuration with --config",
        folder.display()
    )]
    NoQueue { folder: PathBuf },
    /// What is wrong with the file, line by line.
    #[error(
        "{report}nothing is done before that is mended, or --config names another one; a daemon that \
         runs goes on with what it has read"
    )]
    Invalid { file: String, problems: Vec<Problem>, report: String },
    /// The model's folder is missing or wrong, or the defaults do not fit it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A folder that `[folders]` names cannot be made; where its disk is full, see
    /// [`ConfigError::may_pass`].
    #[error(
        "cannot make the folder {}: {}; [folders] in daemon.toml says where it lies",
        path.display(),
        access::told(path, source)
    )]
    Folder { path: PathBuf, source: io::Error },
    /// The device cannot be had with this build.
    #[error(
        "device.kind is \"cuda\", but this zimaged was built without it: build with --features cuda \
         (cargo install --locked --path . --features cuda), or use \"cpu\""
    )]
    NoCuda,
    /// The token that `[http]` asks for cannot be had.
    #[error("{0}")]
    Http(String),
}

impl ConfigError {
    /// Whether the very same call may succeed later: a full disk may have room again.
    pub fn may_pass(&self) -> bool {
        match self {
            ConfigError::Folder { source, .. } | ConfigError::Unreadable { source, .. } => {
                files::may_pass(source)
            }
            ConfigError::Model(error) => error.may_pass(),
            _ => false,
        }
    }

    /// `name` is what people call the file, `content` its text.
    pub(super) fn invalid(name: &str, content: &[u8], problems: &[Problem]) -> ConfigError {
        let report = Report { name, content, problems }.to_string();
        ConfigError::Invalid { file: name.to_owned(), problems: problems.to_vec(), report }
    }

    pub(super) fn no_miniature(why: &str) -> ConfigError {
        ModelError::Wrong(format!("{why}; or name a model: [model] path")).into()
    }
}
