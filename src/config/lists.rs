//! Files that the text of a job names.

use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use super::read::path_of;
use crate::files;
use crate::job::spec::Outside;
use crate::job::spec::prompts::LIST_BYTES_MAX;
use crate::table::{Check, Mistake};

/// Where files are that a job names, and how its open seeds are drawn.
#[derive(Clone, Debug)]
pub struct Lists {
    folder: PathBuf,
    seed: fn() -> u64,
}

impl Config {
    /// Where pictures as input are kept.
    pub fn inputs_path(&self) -> PathBuf {
        self.state.join("inputs")
    }
}

impl Lists {
    /// Relative paths begin at `folder`, where the job's text lies.
    pub fn beside(folder: &Path, seed: fn() -> u64) -> Lists {
        Lists { folder: folder.to_owned(), seed }
    }
}

impl Outside for Lists {
    fn seed(&mut self) -> u64 {
        (self.seed)()
    }

    fn list(&mut self, name: &str) -> Check<Vec<u8>> {
        let path = path_of(name, &self.folder)?;
        let refused = |error: io::Error| Mistake::new(format!("{}: {error}", path.display()));
        let content = files::read_plain(&path, LIST_BYTES_MAX).map_err(|error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let help = match is_missing {
                true => {
                    "put the list there before the job; a relative path begins at the job's folder"
                }
                false => "name a readable text file with a prompt in each line",
            };
            refused(error).help(help)
        })?;
        match content.len() as u64 > LIST_BYTES_MAX {
            true => Err(Mistake::new(format!("{} is too long", path.display()))
                .help(format!("a list of prompts may have {LIST_BYTES_MAX} bytes"))),
            false => Ok(content),
        }
    }
}
