//! What a file of a model is in truth, where it is not what its name says.

use std::io;
use std::path::Path;

use crate::engine::ModelError;
use crate::files;

/// The command that brings Z-Image-Turbo.
pub const DOWNLOAD: &str = "zimaged model fetch turbo";

/// So many of a file's first bytes tell what it is.
const START_BYTES: u64 = 512;

/// What a GGUF file begins with.
const GGUF: &[u8] = b"GGUF";

/// Fails where the file `path` is something else than a file of a model: only Git LFS's word for
/// it, a web page, nothing at all, or weights in another format.
pub fn refuse(path: &Path) -> Result<(), ModelError> {
    match start_of(path).map_err(|error| ModelError::of_io(path, &error))? {
        start if start.is_empty() => Err(ModelError::wrong(path, unfinished("is empty"))),
        start => match other_kind(&start) {
            Some(kind) => Err(ModelError::wrong(path, kind)),
            None => Ok(()),
        },
    }
}

/// Whether the file `path` is a GGUF file.
pub fn is_gguf(path: &Path) -> Result<bool, ModelError> {
    let start = start_of(path).map_err(|error| ModelError::of_io(path, &error))?;
    Ok(start.starts_with(GGUF))
}

/// The first bytes of a file.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    files::read_start(files::open_plain(path)?, START_BYTES)
}

/// What a file is that begins like this, if that is nothing a model has, and what to do.
pub fn other_kind(start: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    if start.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some("is Git LFS's pointer to the file and not the file: run git lfs pull".to_owned())
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        let page = "is a web page and not the file: a page (of a login, of an error) was saved \
                    under its name";
        Some(format!("{page}; {}", again()))
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(b"\x80\x02") {
        Some(format!("is a checkpoint of PyTorch, which zimaged does not read; {}", hub_layout()))
    } else {
        None
    }
}

/// What people are told to use instead.
pub fn hub_layout() -> String {
    format!(
        "a model is a folder of the hub's layout, or ComfyUI's single files (to get one: {DOWNLOAD})"
    )
}

/// `what` is a sign of a download that was cut short.
pub fn unfinished(what: &str) -> String {
    format!("{what}: the model's download is incomplete: finish it, or get one with {DOWNLOAD}")
}

/// Why a file without a header is none of a model. One that is called like weights was one, or was
/// to be one.
pub fn no_weights(path: &Path) -> String {
    let is_called_so = path.extension().is_some_and(|ending| ending == "safetensors");
    match is_called_so {
        true => format!("is no safetensors file; {}", again()),
        false => format!("is no file of a model, neither safetensors nor GGUF; {}", hub_layout()),
    }
}

/// What to do with a file that a download has spoilt.
pub fn again() -> String {
    format!("download it again: {DOWNLOAD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(content: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        refuse(file.path()).err().map(String::from)
    }

    // evening F11
    #[test]
    fn only_what_is_called_like_weights_is_to_be_downloaded_again() {
        assert!(no_weights(Path::new("a.safetensors")).contains("download it again"));
        let readme = no_weights(Path::new("README.md"));
        assert!(readme.contains("no file of a model") && !readme.contains("again"), "{readme}");
    }

    // newcomer 8
    #[test]
    fn each_kind_of_wrong_file_gets_its_own_sentence() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "git lfs pull"),
            (b"<!DOCTYPE html><html><head><title>Sign in</title>", "is a web page"),
            (b"\n  <html lang='en'>", "is a web page"),
            (b"PK\x03\x04\0\0\0\0\0\0\0\0", "is a checkpoint of PyTorch"),
        ];
        for (content, expected) in cases {
            let error = refusal(content).expect("no weights");
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    /// Its reader would wait for a writer, and the worker's load for that.
    #[test]
    fn a_pipe_in_the_place_of_weights_is_wrong_and_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("a.safetensors");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let Err(ModelError::Wrong(error)) = refuse(&pipe) else { panic!("it waits") };
        assert!(error.contains("it is a device or a pipe, not a file"), "{error}");
    }
}
