//! The job files that a command line names, and standard input among them.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Failure, short, stderr};
use crate::config::Config;
use crate::files;
use crate::job::spec::prompts::LIST_BYTES_MAX;
use crate::queue::{self, CheckedJob, STANDARD_INPUT};

/// In the place of a file's name: standard input.
const STDIN: &str = "-";

/// A file as it was read, good or not.
pub(super) struct JobFile {
    /// For people.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// Where it lies; of standard input the current folder.
    pub(super) folder: PathBuf,
}

/// Reads the file, or standard input, up to what the configuration allows.
pub(super) fn read(config: &Config, path: &Path) -> anyhow::Result<JobFile> {
    read_start(path, config.limits.file_bytes_max)
}

/// Checks all `files` as the daemon would; the error tells what is wrong with each of those that
/// are not good.
pub(super) fn checked<'f>(
    config: &Config,
    files: &'f [PathBuf],
) -> Result<Vec<(&'f Path, CheckedJob)>, Failure> {
    let check = |path: &'f PathBuf| -> Result<_, Failure> {
        let JobFile { name, content, folder } = read(config, path)?;
        Ok((path.as_path(), queue::check(config, &folder, name, content)?))
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in files {
        match check(file) {
            Ok(job) => good.push(job),
            Err(failure) => bad.push((short(file), failure)),
        }
    }
    let Some(code) = bad.iter().map(|(_, failure)| failure.code).max() else { return Ok(good) };
    if files.len() == 1 {
        return Err(bad.remove(0).1);
    }
    let (names, failures): (Vec<String>, Vec<Failure>) = bad.into_iter().unzip();
    let errors = failures.into_iter().map(|failure| failure.error).collect();
    Err(Failure { code, error: FileFaults { errors, names, good: good.len() }.into() })
}

/// What is wrong with some of several files, which go together or not at all.
#[derive(Debug)]
pub(super) struct FileFaults {
    pub(super) errors: Vec<anyhow::Error>,
    /// Of the files with something wrong.
    names: Vec<String>,
    /// How many others there are.
    good: usize,
}

impl fmt::Display for FileFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{}", stderr::told(error).trim_end())?;
        }
        let named: Vec<&str> = self.names.iter().take(NAMES_MAX).map(String::as_str).collect();
        let bad = match self.names.len() {
            ..=NAMES_MAX => named.join(", "),
            many => format!("{} and {} more", named.join(", "), many - NAMES_MAX),
        };
        write!(f, "nothing was handed over: mend {bad}")?;
        let them = if self.names.len() == 1 { "it" } else { "them" };
        match self.good {
            0 => Ok(()),
            1 => write!(f, ", or leave {them} out (the other file is good)"),
            good => write!(f, ", or leave {them} out (the other {good} files are good)"),
        }
    }
}

/// So many of the files with mistakes are named once more at the end.
const NAMES_MAX: usize = 5;

/// A job file that is not there, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {source}")]
pub(super) struct UnreadableFile {
    pub(super) name: String,
    pub(super) source: io::Error,
}

impl std::error::Error for FileFaults {}

/// Reads a list of prompts, or standard input, up to what a list may have.
pub(super) fn read_prompts(path: &Path) -> anyhow::Result<JobFile> {
    read_start(path, LIST_BYTES_MAX)
}

/// Reads no more than a byte more than is allowed: a model that was handed over by mistake must not
/// fill the memory.
fn read_start(path: &Path, bytes_max: u64) -> anyhow::Result<JobFile> {
    let (name, content) = match path.as_os_str() == STDIN {
        true => (STANDARD_INPUT.to_owned(), files::read_start(io::stdin(), bytes_max)),
        false => {
            let read = |file| files::read_start(file, bytes_max);
            (short(path), File::open(path).and_then(read))
        }
    };
    let content = match content {
        Ok(content) => content,
        Err(source) => return Err(UnreadableFile { name, source }.into()),
    };
    let folder = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
    Ok(JobFile { name, content, folder })
}
