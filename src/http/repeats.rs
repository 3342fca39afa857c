//! What says of a request that it may come, or has come, more than once.

use axum::http::HeaderMap;

use super::problem::HttpProblem;
use crate::job::origin::Api;
use crate::queue::ApiJob;

/// No sender calls its request by more.
const KEY_BYTES_MAX: usize = 255;

/// The job that a client of another program's API asks for, by its name and text.
pub fn job(
    api: Api,
    (name, text): (&str, String),
    headers: &HeaderMap,
) -> Result<ApiJob, HttpProblem> {
    let (key, is_again) = (key(headers)?, is_again(headers));
    Ok(ApiJob { api, name: name.to_owned(), text, key, is_again })
}

/// What the sender calls its request.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, HttpProblem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        _ => Err(HttpProblem::bad(format!(
            "Idempotency-Key: use 1 to {KEY_BYTES_MAX} printable ASCII characters"
        ))),
    }
}

/// Clients of OpenAI's say so themselves when they ask once more.
fn is_again(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok());
    count.is_some_and(|count| count != "0")
}
