//! What a file of a model is in truth, where it is not what its name says.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::engine::ModelError;
use crate::files;

/// The command that downloads Z-Image-Turbo, or goes on with it.
pub const DOWNLOAD: &str = "hf download Tongyi-MAI/Z-Image-Turbo --local-dir models/Z-Image-Turbo";

/// So many of a file's first bytes tell what it is.
const START_BYTES: u64 = 512;

/// The longest header of a safetensors file: the format's own bound.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The length of the header, which a safetensors file begins with.
const LENGTH_BYTES: u64 = 8;

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

/// Fails where `path` is no whole safetensors file. Only its header is read.
pub fn refuse_weights(path: &Path) -> Result<(), ModelError> {
    refuse(path)?;
    let unreadable = |error: io::Error| ModelError::of_io(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let Some(whole) = whole_length(file, length).map_err(unreadable)? else {
        return Err(ModelError::wrong(path, format!("is no safetensors file; {}", again())));
    };
    match whole {
        _ if whole == length => Ok(()),
        _ if whole > length => {
            let has = format!("has {length} of its {whole} bytes");
            Err(ModelError::wrong(path, unfinished(&has)))
        }
        _ => {
            let has = format!("has {length} bytes, more than the {whole} of its header");
            Err(ModelError::wrong(path, format!("{has}; {}", again())))
        }
    }
}

/// How long the safetensors file of `length` bytes is when it is whole, as far as its header says;
/// `None` where it has none.
fn whole_length(mut file: File, length: u64) -> io::Result<Option<u64>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Tensor { data_offsets: [u64; 2] },
        Other(IgnoredAny),
    }
    let mut bytes = [0; LENGTH_BYTES as usize];
    if length < LENGTH_BYTES {
        return Ok(Some(LENGTH_BYTES + 1)); // shorter than any
    }
    file.read_exact(&mut bytes)?;
    let header_bytes = u64::from_le_bytes(bytes);
    if header_bytes > HEADER_BYTES_MAX {
        return Ok(None);
    }
    if LENGTH_BYTES + header_bytes > length {
        return Ok(Some(LENGTH_BYTES + header_bytes));
    }
    let mut header = Vec::new();
    file.take(header_bytes).read_to_end(&mut header)?;
    let entries: Result<std::collections::HashMap<String, Entry>, _> =
        serde_json::from_slice(&header);
    let Ok(entries) = entries else { return Ok(None) };
    let ends = entries.values().map(|entry| match entry {
        Entry::Tensor { data_offsets: [_, end] } => *end,
        Entry::Other(_) => 0,
    });
    Ok(Some(LENGTH_BYTES + header_bytes + ends.max().unwrap_or(0)))
}

/// The first bytes of a file.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    files::read_start(File::open(path)?, START_BYTES)
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
    } else if start.starts_with(b"GGUF") {
        Some(format!("is a GGUF file, which zimaged does not read; {}", hub_layout()))
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(b"\x80\x02") {
        Some(format!("is a checkpoint of PyTorch, which zimaged does not read; {}", hub_layout()))
    } else {
        None
    }
}

/// What people are told to use instead.
pub fn hub_layout() -> String {
    format!("a model is a folder in the layout of the Hugging Face hub (to get one: {DOWNLOAD})")
}

/// `what` is a sign of a download that was cut short.
pub fn unfinished(what: &str) -> String {
    format!("{what}: the model's download is incomplete; {DOWNLOAD} goes on with it")
}

fn again() -> String {
    format!("download it again: {DOWNLOAD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file with one tensor of `values` bytes.
    fn weights(values: usize) -> Vec<u8> {
        let header = format!(
            r#"{{"__metadata__": {{"format": "pt"}}, "a": {{"dtype": "U8", "shape": [{values}], "data_offsets": [0, {values}]}}}}"#
        );
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; values]].concat()
    }

    fn refusal(content: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        refuse_weights(file.path()).err().map(String::from)
    }

    // newcomer 8
    #[test]
    fn a_whole_file_is_taken_and_a_cut_one_is_an_incomplete_download() {
        let whole = weights(1000);
        assert_eq!(refusal(&whole), None);
        for length in [1, 8, 20, whole.len() - 1] {
            let error = refusal(&whole[..length]).expect("cut short");
            assert!(error.contains("the model's download is incomplete"), "{length}: {error}");
            assert!(error.contains("hf download"), "{length}: {error}");
        }
        let longer = refusal(&[&whole[..], b"x"].concat()).expect("too long");
        assert!(longer.contains("more than the"), "{longer}");
    }

    // newcomer 8
    #[test]
    fn each_kind_of_wrong_file_gets_its_own_sentence() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "git lfs pull"),
            (b"<!DOCTYPE html><html><head><title>Sign in</title>", "is a web page"),
            (b"\n  <html lang='en'>", "is a web page"),
            (b"GGUF\x03\0\0\0\0\0\0\0", "is a GGUF file"),
            (b"PK\x03\x04\0\0\0\0\0\0\0\0", "is a checkpoint of PyTorch"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xffrandom bytes", "is no safetensors file"),
        ];
        for (content, expected) in cases {
            let error = refusal(content).expect("no weights");
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
