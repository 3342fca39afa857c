//! Whether a pipeline is of the family that is rendered here, asked before gigabytes of it come.

use std::io::Read;

use super::error::HubError;
use super::fault::{HttpFault, persistently};
use super::http::{Ask, HttpClient};
use super::progress::FetchProgress;
use super::repository::{ContentHash, RepoFile};

/// An index that says of what kind a model is has a kilobyte.
const INDEX_BYTES_MAX: u64 = 1 << 20;
/// What the kind of every model of this family begins with.
const FAMILY: &str = "ZImage";

/// Fails for a pipeline of another family, by its `index` at `url`.
pub fn check_family(
    client: &HttpClient,
    url: &str,
    token: Option<&str>,
    index: &RepoFile,
    progress: &FetchProgress,
) -> Result<(), HubError> {
    let ask = Ask { url, token, range: None };
    let text = persistently(progress, || small_file(client, &ask, index))?;
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let class = json["_class_name"].as_str().unwrap_or("nothing that is known");
    if class.starts_with(FAMILY) {
        return Ok(());
    }
    let told = format!("it is no Z-Image model: its {} names {class}", index.path);
    Err(HubError::Refused(told))
}

fn small_file(client: &HttpClient, ask: &Ask<'_>, file: &RepoFile) -> Result<Vec<u8>, HttpFault> {
    let mut answer = client.get(ask)?;
    let mut text = Vec::new();
    let read = answer.body.as_reader().take(INDEX_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| HttpFault::of_body(ask.url, &error))?;
    let mut hash = ContentHash::new(&file.hash, text.len() as u64);
    hash.update(&text);
    match hash.finish(&file.hash) {
        Ok(_) => Ok(text),
        Err(_) => Err(HttpFault::passing(format!("{}: another content came", file.path))),
    }
}
