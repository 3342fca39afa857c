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
    Ok(Repository {
        hub: HubKind::ModelScope,
        name: repository.to_owned(),
        revision: revision.to_owned(),
        files: files(repository, answer)?,
    })
}

/// The files among the entries of a listing.
fn files(repository: &str, entries: Vec<Entry>) -> Result<Vec<RepoFile>, HubError> {
    if entries.len() >= FILES_MAX {
        let told =
            format!("{repository} has more files than {} lists", HubKind::ModelScope.title());
        return Err(HubError::Refused(told));
    }
    let files = entries.into_iter().filter(|entry| entry.kind != "tree").filter_map(|entry| {
        let hash = PromisedHash::parse(&entry.sha256)?;
        Some(RepoFile { path: entry.path, bytes: entry.size, hash })
    });
    Ok(files.collect())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(path: &str) -> Value {
        json!({ "Path": path, "Type": "blob", "Size": 7, "Sha256": "5a".repeat(32) })
    }

    fn paths(answer: Value) -> Vec<String> {
        let files = files("a/b", entries(answer).unwrap()).unwrap();
        files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn the_list_may_be_the_data_or_stand_in_it_and_folders_are_left_out() {
        let list = json!([entry("vae/ae.safetensors"), { "Path": "vae", "Type": "tree" }]);
        let bare = json!({ "Code": 200, "Success": true, "Data": list });
        let inside = json!({ "Code": 200, "Data": { "Files": list } });
        for answer in [bare, inside] {
            assert_eq!(paths(answer), ["vae/ae.safetensors"]);
        }
    }

    #[test]
    fn an_error_with_status_200_is_told_by_its_message() {
        let told = |answer: Value| match entries(answer) {
            Err(fault) => format!("{fault:?}"),
            Ok(_) => panic!("it was taken for a list"),
        };
        let failed =
            json!({ "Success": false, "Message": "record not found", "Data": [entry("a")] });
        assert!(told(failed).contains("record not found"));
        assert!(told(json!({ "Code": 200, "Data": null })).contains("it lists no files"));
        let odd = told(json!({ "Data": [{ "Size": "much" }] }));
        assert!(odd.contains("lists files unreadably"), "{odd}");
    }

    #[test]
    fn a_list_that_was_cut_without_a_word_is_not_taken_for_whole() {
        let listed = |count: usize| {
            let list: Vec<Value> = (0..count).map(|n| entry(&format!("{n}.safetensors"))).collect();
            files("a/b", entries(json!({ "Data": list })).unwrap())
        };
        assert_eq!(listed(FILES_MAX - 1).unwrap().len(), FILES_MAX - 1);
        let told = listed(FILES_MAX).unwrap_err().to_string();
        assert!(told.contains("a/b has more files than ModelScope lists"), "{told}");
    }
}
