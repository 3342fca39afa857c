//! Hugging Face's protocol.

use serde::Deserialize;

use super::environment::HubAccess;
use super::error::HubError;
use super::fault::{HttpFault, persistently};
use super::http::{Ask, HttpClient};
use super::progress::FetchProgress;
use super::repository::{HubKind, PromisedHash, RepoFile, Repository};

/// Pages of a listing, of a thousand files each.
const PAGES_MAX: u32 = 50;

/// An entry of a listing.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    /// The SHA-1 of git's blob.
    #[serde(default)]
    oid: String,
    lfs: Option<LargeFile>,
}

/// What is kept beside git, and known by its SHA-256.
#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

impl Entry {
    fn file(self) -> Option<RepoFile> {
        let (digits, bytes) = match &self.lfs {
            Some(large) => (&large.oid, large.size),
            None => (&self.oid, self.size),
        };
        let hash = PromisedHash::parse(digits)?;
        Some(RepoFile { path: self.path, bytes, hash })
    }
}

/// What the repository holds at a revision, which is resolved to its commit first.
pub fn list(
    client: &HttpClient,
    access: &HubAccess,
    repository: &str,
    revision: &str,
    progress: &FetchProgress,
) -> Result<Repository, HubError> {
    let api = format!("{}/api/models/{repository}", access.endpoint);
    let token = access.token.as_deref();
    let json = |url: &str| persistently(progress, || client.json(&Ask { url, token, range: None }));
    let (info, _) = json(&format!("{api}/revision/{}", quoted(revision)))?;
    let Some(commit) = info["sha"].as_str().filter(|sha| is_commit(sha)) else {
        return Err(HubError::Passing(format!("{api} names no commit for {revision}")));
    };
    let mut next = Some(format!("{api}/tree/{commit}?recursive=true&expand=false"));
    let mut files = Vec::new();
    for _ in 0..PAGES_MAX {
        let Some(url) = next.take() else { break };
        let (page, following) = json(&url)?;
        let unreadable = |error| HubError::Passing(format!("{url}: {error}"));
        let entries: Vec<Entry> = serde_json::from_value(page).map_err(unreadable)?;
        let of_files = entries.into_iter().filter(|entry| entry.kind == "file");
        files.extend(of_files.filter_map(Entry::file));
        next = following;
    }
    let (hub, name) = (HubKind::HuggingFace, repository.to_owned());
    Ok(Repository { hub, name, revision: commit.to_owned(), files })
}

/// Where a file of it is.
pub fn address(access: &HubAccess, repository: &Repository, path: &str) -> String {
    let (name, revision) = (&repository.name, quoted(&repository.revision));
    format!("{}/{name}/resolve/{revision}/{}", access.endpoint, quoted_path(path))
}

/// Fails where an answer for a file names another content than was promised: the repository has
/// changed under way, or somebody else answers.
pub fn check_promise(linked: Option<&str>, file: &RepoFile) -> Result<(), HttpFault> {
    match linked.and_then(PromisedHash::parse) {
        Some(hash) if hash != file.hash => Err(HttpFault::passing(format!(
            "{}: another content is sent than was listed",
            file.path
        ))),
        _ => Ok(()),
    }
}

fn is_commit(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn quoted_path(path: &str) -> String {
    path.split('/').map(quoted).collect::<Vec<_>>().join("/")
}

/// As a part of an address: everything but letters, digits and `-._~` as `%XX`.
pub fn quoted(text: &str) -> String {
    let quote = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(quote).collect()
}
