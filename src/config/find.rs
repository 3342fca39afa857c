//! Which `daemon.toml` counts, and reading it.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::{env, io};

use super::{Config, ConfigError, init};
use crate::files;
use crate::problem;

/// No `daemon.toml` is larger; another file may be named by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads the file `path`; without one the first there is of `./daemon.toml`,
    /// `$XDG_CONFIG_HOME/zimaged/daemon.toml` and `/etc/zimaged/daemon.toml`; without any, all
    /// defaults, relative to the current folder, if that has the folders of a queue.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let config = Config::load_or_default(path)?;
        if config.file.is_none() && !(config.jobs.is_dir() && config.state.is_dir()) {
            let folder = config.state.parent().unwrap_or(&config.state);
            return Err(ConfigError::NoQueue { folder: folder.to_owned() });
        }
        Ok(config)
    }

    /// As [`Config::load`], for questions that need no queue: all defaults also in a folder that is
    /// none.
    pub fn load_or_default(path: Option<&Path>) -> Result<Config, ConfigError> {
        let candidates = match path {
            Some(folder) if folder.is_dir() => {
                return Config::read_file(&folder.join(init::FILE_NAME));
            }
            Some(path) => return Config::read_file(path),
            None => candidates(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME")),
        };
        for path in candidates {
            match Config::read_file(&path) {
                Err(ConfigError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
        }
        let folder = env::current_dir()
            .map_err(|source| ConfigError::Unreadable { path: ".".into(), source })?;
        Config::parse("", &folder).map_err(|problems| ConfigError::invalid("", b"", &problems))
    }

    /// The SHA-256 of its file as that is now; `None` where all is default, or it cannot be read.
    pub fn file_sha256(&self) -> Option<String> {
        files::read_whole(self.file.as_deref()?, FILE_BYTES_MAX).ok().map(files::sha256)
    }

    fn read_file(path: &Path) -> Result<Config, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let content = files::read_whole(path, FILE_BYTES_MAX).map_err(unreadable)?;
        let path = whole(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(&path);
        problem::utf8(&content)
            .map_err(|problem| vec![problem])
            .and_then(|text| Config::parse(text, folder))
            .map(|config| Config { file: Some(path.clone()), ..config })
            .map_err(|problems| ConfigError::invalid(&path.to_string_lossy(), &content, &problems))
    }
}

/// The path from everywhere, as people would write it: one over `..` without that.
fn whole(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.components().any(|it| it == Component::ParentDir) => {
            Ok(folder.canonicalize()?.join(name))
        }
        _ => Ok(path),
    }
}

/// Where a configuration is looked for, in this order. Relative values of the variables do not
/// count (XDG says so).
fn candidates(xdg_config_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let user = xdg_config_home
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".config")));
    let folders = [user, Some("/etc".into())].into_iter().flatten();
    let mut files = vec![PathBuf::from(init::FILE_NAME)];
    files.extend(folders.map(|folder| folder.join("zimaged/daemon.toml")));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_us_then_with_the_user_then_in_the_system() {
        let found = |xdg: Option<&str>, home: Option<&str>| -> Vec<String> {
            let paths = candidates(xdg.map(OsString::from), home.map(OsString::from));
            paths.into_iter().map(|path| path.display().to_string()).collect()
        };
        let (here, system) = ("daemon.toml", "/etc/zimaged/daemon.toml");
        assert_eq!(found(Some("/x"), Some("/home/u")), [here, "/x/zimaged/daemon.toml", system]);
        assert_eq!(
            found(Some("rel"), Some("/home/u")),
            [here, "/home/u/.config/zimaged/daemon.toml", system]
        );
        assert_eq!(found(None, None), [here, system]);
    }
}
