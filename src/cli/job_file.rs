//! The job files that a command line names, and standard input among them.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;

use super::short;
use crate::config::Config;

/// In the place of a file's name: standard input.
const STDIN: &str = "-";

/// A file as it was read, good or not.
pub(super) struct JobFile {
    /// For people.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Reads the file, or standard input up to what the configuration allows.
pub(super) fn read(config: &Config, path: &Path) -> anyhow::Result<JobFile> {
    let (name, content) = match path.as_os_str() == STDIN {
        true => ("standard input".to_owned(), read_stdin(config.limits.file_bytes_max)),
        false => (short(path), fs::read(path)),
    };
    let content = content.with_context(|| format!("cannot read {name}"))?;
    Ok(JobFile { name, content })
}

/// One byte more than is allowed tells that there are too many.
fn read_stdin(bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::stdin().take(bytes_max + 1).read_to_end(&mut content)?;
    Ok(content)
}
