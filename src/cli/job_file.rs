//! The job files that a command line names, and standard input among them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::short;
use crate::config::Config;
use crate::files;
use crate::job::spec::inputs;
use crate::job::spec::prompts::LIST_BYTES_MAX;

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

/// Reads the file, or standard input, up to what the configuration allows. The paths of pictures in
/// it are made whole, so that it means the same elsewhere: standard input is in the current folder.
pub(super) fn read(config: &Config, path: &Path) -> anyhow::Result<JobFile> {
    let file = read_start(path, config.limits.file_bytes_max)?;
    let Ok(text) = std::str::from_utf8(&file.content) else { return Ok(file) };
    let whole = |path: &str| file.folder.join(path).to_string_lossy().into_owned();
    let content = inputs::with_paths(text, whole).into_bytes();
    Ok(JobFile { content, ..file })
}

/// Reads a list of prompts, or standard input.
pub(super) fn read_prompts(path: &Path) -> anyhow::Result<JobFile> {
    let list = read_start(path, LIST_BYTES_MAX)?;
    if list.content.len() as u64 > LIST_BYTES_MAX {
        let name = list.name;
        bail!("{name} is longer than the {LIST_BYTES_MAX} bytes that a list of prompts may have");
    }
    Ok(list)
}

/// Reads no more than a byte more than is allowed: a model that was handed over by mistake must not
/// fill the memory.
fn read_start(path: &Path, bytes_max: u64) -> anyhow::Result<JobFile> {
    let (name, content) = match path.as_os_str() == STDIN {
        true => ("standard input".to_owned(), files::read_start(io::stdin(), bytes_max)),
        false => {
            let read = |file| files::read_start(file, bytes_max);
            (short(path), File::open(path).and_then(read))
        }
    };
    let content = content.with_context(|| format!("cannot read {name}"))?;
    let folder = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
    Ok(JobFile { name, content, folder })
}
