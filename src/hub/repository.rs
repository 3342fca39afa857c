//! What both hubs say of a repository.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::files::hex;
use crate::spelling::spelled_by_serde;

/// Where models are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum HubKind {
    /// Hugging Face, or a mirror of it.
    #[serde(rename = "hf")]
    HuggingFace,
    /// ModelScope.
    #[serde(rename = "modelscope")]
    ModelScope,
}

spelled_by_serde!(HubKind);

impl HubKind {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            HubKind::HuggingFace => "Hugging Face",
            HubKind::ModelScope => "ModelScope",
        }
    }
}

/// A repository as it is at one revision.
#[derive(Clone, Debug)]
pub struct Repository {
    pub hub: HubKind,
    /// `OWNER/NAME`.
    pub name: String,
    /// The commit where the hub tells it, else the name of the branch.
    pub revision: String,
    pub files: Vec<RepoFile>,
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFile {
    /// Its path in the repository, with `/`.
    pub path: String,
    pub bytes: u64,
    pub hash: PromisedHash,
}

/// What the hub promises of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromisedHash {
    /// SHA-256 of the content, in lower-case hex.
    Sha256(String),
    /// SHA-1 of git's blob: of `blob LENGTH`, a zero byte and the content.
    GitBlob(String),
}

impl PromisedHash {
    /// Reads 64 or 40 hex digits.
    pub fn parse(text: &str) -> Option<PromisedHash> {
        let text = text.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            64 if is_hex => Some(PromisedHash::Sha256(text)),
            40 if is_hex => Some(PromisedHash::GitBlob(text)),
            _ => None,
        }
    }

    /// The hex digits.
    pub fn digits(&self) -> &str {
        match self {
            PromisedHash::Sha256(digits) | PromisedHash::GitBlob(digits) => digits,
        }
    }
}

/// Computes what a [`PromisedHash`] is compared with, and the SHA-256 in any case.
pub struct ContentHash {
    sha256: Sha256,
    /// Only where the hub promises it.
    git_blob: Option<Sha1>,
}

impl ContentHash {
    /// Begins the hash of a file of `bytes` bytes.
    pub fn new(promised: &PromisedHash, bytes: u64) -> ContentHash {
        let git_blob = match promised {
            PromisedHash::Sha256(_) => None,
            PromisedHash::GitBlob(_) => Some(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
        };
        ContentHash { sha256: Sha256::new(), git_blob }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.git_blob {
            hash.update(bytes);
        }
    }

    /// The SHA-256 of a content that is as promised; else what was found, in hex.
    pub fn finish(self, promised: &PromisedHash) -> Result<String, String> {
        let sha256 = hex(self.sha256);
        let found = match self.git_blob {
            Some(hash) => hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            None => sha256.clone(),
        };
        if found == promised.digits() { Ok(sha256) } else { Err(found) }
    }
}

/// Whether a path from a hub stays in the folder that it is relative to, on every system.
pub fn is_plain(path: &str) -> bool {
    let components = || Path::new(path).components();
    let is_name = |component: Component<'_>| match component {
        Component::Normal(name) => !name.to_string_lossy().starts_with(".."),
        _ => false,
    };
    !path.is_empty()
        && path.len() <= PATH_BYTES_MAX
        && components().all(is_name)
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
}

/// No path in a repository is longer.
const PATH_BYTES_MAX: usize = 512;

/// `OWNER/NAME` of a repository, as both hubs allow it.
pub fn is_repository_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty()
            && part.len() <= 96
            && part.bytes().all(is_allowed)
            && !part.starts_with('.')
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_checked_against_either_hash() {
        // `printf 'hello\n' | git hash-object --stdin`, and sha256sum.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for digits in [format!("W/\"{git}\""), format!("\"{}\"", sha256.to_uppercase())] {
            let promised = PromisedHash::parse(&digits).expect("hex");
            let of = |content: &[u8]| {
                let mut hash = ContentHash::new(&promised, 6);
                hash.update(content);
                hash.finish(&promised)
            };
            assert_eq!(of(b"hello\n").as_deref(), Ok(sha256), "{digits}");
            assert!(of(b"hellO\n").is_err(), "{digits}");
        }
        assert_eq!(PromisedHash::parse("\"1234-5\""), None);
    }

    #[test]
    fn a_path_from_a_hub_leads_nowhere_else() {
        for good in ["a.json", "vae/ae.safetensors", "a b/ü.txt"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "c:x", "a/\n", "./a"] {
            assert!(!is_plain(bad), "{bad}");
        }
        assert!(is_repository_name("Tongyi-MAI/Z-Image-Turbo"));
        for bad in ["turbo", "a/b/c", "../x", "a/..", "a/", "a/b?c"] {
            assert!(!is_repository_name(bad), "{bad}");
        }
    }
}
