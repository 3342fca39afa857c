//! ModelScope's protocol.

use serde::Deserialize;
use serde_json::Value;

use super::environment::HubAccess;
use super::error::HubError;
use super::fault::{HttpFault, persistently};
use super::http::{Ask, HttpClient};
use super::huggingface::quoted;
use super::progress::FetchProgress;
use super::repository::{HubKind, PromisedHash, RepoFile, Repository};

/// A listing is cut there without a word.
const FILES_MAX: usize = 3000;

/// An entry of a listing.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    path: String,
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    sha256: String,
}

/// What the repository holds at a revision, which is a branch or a tag.
pub fn list(
    client: &HttpClient,
    access: &HubAccess,
    repository: &str,
    revision: &str,
    progress: &FetchProgress,
) -> Result<Repository, HubError> {
    let api = format!("{}/api/v1/models/{repository}/repo/files", access.endpoint);
    let url = format!("{api}?Revision={}&Recursive=True", quoted(revision));
    let ask = Ask { url: &url, token: access.token.as_deref(), range: None };
    let answer = persistently(progress, || entries(client.json(&ask)?.0))?;
    if answer.len() >= FILES_MAX {
        let told =
            format!("{repository} has more files than {} lists", HubKind::ModelScope.title());
        return Err(HubError::Refused(told));
    }
    let files = answer.into_iter().filter(|entry| entry.kind != "tree").filter_map(|entry| {
        let hash = PromisedHash::parse(&entry.sha256)?;
        Some(RepoFile { path: entry.path, bytes: entry.size, hash })
    });
    Ok(Repository {
        hub: HubKind::ModelScope,
        name: repository.to_owned(),
        revision: revision.to_owned(),
        files: files.collect(),
    })
}

/// The list in an answer: inside of `Data`, or that itself. Errors come with status 200, too.
fn entries(mut answer: Value) -> Result<Vec<Entry>, HttpFault> {
    let success = answer["Success"].as_bool().unwrap_or(true);
    let data = answer["Data"].take();
    let list = if data.is_array() { data } else { data["Files"].clone() };
    if !success || !list.is_array() {
        let message = answer["Message"].as_str().unwrap_or("it lists no files");
        return Err(HttpFault::refused(format!("ModelScope: {message}")));
    }
    let unreadable =
        |error| HttpFault::passing(format!("ModelScope lists files unreadably: {error}"));
    serde_json::from_value(list).map_err(unreadable)
}

/// Where a file of it is.
pub fn address(access: &HubAccess, repository: &Repository, path: &str) -> String {
    let Repository { name, revision, .. } = repository;
    let api = format!("{}/api/v1/models/{name}/repo", access.endpoint);
    format!("{api}?Revision={}&FilePath={}", quoted(revision), quoted(path))
}
