//! Files that the text of a job names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use super::read::path_of;
use crate::files;
use crate::job::spec::Outside;
use crate::job::spec::prompts::LIST_BYTES_MAX;
use crate::table::{Check, Mistake};

/// Tens of thousands of lines for one name.
const WILDCARD_BYTES_MAX: u64 = 4 << 20;

/// Among so many files the name that was probably meant is looked for.
const NAMES_MAX: usize = 1000;

/// Where files are that a job names, and how its open seeds are drawn.
#[derive(Clone, Debug)]
pub struct Lists {
    folder: PathBuf,
    wildcards: PathBuf,
    seed: fn() -> u64,
}

impl Config {
    /// Where pictures as input are kept.
    pub fn inputs_path(&self) -> PathBuf {
        self.state.join("inputs")
    }

    /// The file that says which job file is being read.
    pub fn reading_path(&self) -> PathBuf {
        self.state.join("reading")
    }

    /// Where the hashes of files of weights are kept.
    pub fn hashes_path(&self) -> PathBuf {
        self.state.join("model-hashes")
    }

    /// Where small copies of pictures are kept.
    pub fn thumbnails_path(&self) -> PathBuf {
        self.state.join("thumbnails")
    }

    /// Where the worker shows how the running picture looks.
    pub fn previews_path(&self) -> PathBuf {
        self.state.join("previews")
    }
}

impl Lists {
    /// Relative paths begin at `folder`, where the job's text lies; `wildcards` is the folder of
    /// the lists that prompts name.
    pub fn beside(folder: &Path, wildcards: &Path, seed: fn() -> u64) -> Lists {
        Lists { folder: folder.to_owned(), wildcards: wildcards.to_owned(), seed }
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

    fn wildcard(&mut self, name: &str) -> Check<Vec<u8>> {
        let path = self.wildcards.join(format!("{name}.txt"));
        let told = |why: &str| Mistake::new(format!("__{name}__: {}: {why}", path.display()));
        match files::read_plain(&path, WILDCARD_BYTES_MAX) {
            Ok(content) if content.len() as u64 > WILDCARD_BYTES_MAX => {
                Err(told(&format!("it has more than {WILDCARD_BYTES_MAX} bytes")))
            }
            Ok(content) => Ok(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.unknown(name)),
            Err(error) => Err(told(&error.to_string())),
        }
    }
}

impl Lists {
    fn unknown(&self, name: &str) -> Mistake {
        let known = names(&self.wildcards);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let mistake = Mistake::unknown(name, "wildcard", &known);
        let help = mistake.help.filter(|_| !known.is_empty()).unwrap_or_else(|| {
            let folder = self.wildcards.display();
            format!("put a file {name}.txt with a word or more in each line into {folder}")
        });
        Mistake::new(format!("there is no wildcard __{name}__")).help(help)
    }
}

/// Names of the wildcards in the folder and in those inside of it, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![String::new()];
    let mut looked = 0;
    while let Some(prefix) = folders.pop() {
        for entry in fs::read_dir(folder.join(&prefix)).into_iter().flatten().flatten() {
            looked += 1;
            if looked > NAMES_MAX {
                break;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_suffix(".txt") {
                Some(stem) => names.push(format!("{prefix}{stem}")),
                None if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    folders.push(format!("{prefix}{name}/"));
                }
                None => (),
            }
        }
    }
    names.sort();
    names
}
