//! Bodies of requests, read whole within limits of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::blocking::blocking;
use super::guard::media_type;
use super::problem::HttpProblem;
use crate::spelling::plain;

/// For a body without pictures.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// For a body with a picture and its mask, in base64.
pub const PICTURES_BYTES_MAX: usize = 96 << 20;

/// From the end of the headers to the end of the body, but for the wait for a turn.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A body of which nothing comes for so long has no turn any more.
const SILENCE: Duration = Duration::from_secs(10);

/// So many bodies that are larger than [`TEXT_BYTES_MAX`] are in memory at a time.
static LARGE: Semaphore = Semaphore::const_new(8);

/// No request says more in JSON. Each value takes a hundred bytes of memory or two, however few
/// it takes of the body.
const VALUES_MAX: usize = 100_000;

/// So many parts has a form at the most.
const PARTS_MAX: usize = 64;

/// The whole body.
pub async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, HttpProblem> {
    // What says that it is too long is not waited for.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let mut body = Limited::new(body, bytes_max);
    let (mut content, mut turn) = (Vec::new(), None);
    let mut deadline = Instant::now() + TIMEOUT;
    loop {
        let frame = timeout_at(deadline.min(Instant::now() + SILENCE), body.frame()).await;
        let Some(frame) = frame.map_err(|_| slow())? else { break };
        let frame = frame.map_err(|error| unreadable(&error, bytes_max))?;
        content.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if turn.is_none() && content.len() > TEXT_BYTES_MAX {
            turn = Some(large_turn().await?);
            deadline = Instant::now() + TIMEOUT;
        }
    }
    Ok(Bytes::from_owner(InMemory { content, _turn: turn }))
}

/// A turn for a large body. Who waits for one has sent no more than the beginning.
async fn large_turn() -> Result<SemaphorePermit<'static>, HttpProblem> {
    let busy = || {
        let why = "many pictures are being sent; try again in a minute";
        HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
    };
    let turn = timeout(TIMEOUT, LARGE.acquire()).await.map_err(|_| busy())?;
    turn.map_err(|_| busy())
}

/// A body, whose turn lasts until its last part is dropped.
struct InMemory {
    content: Vec<u8>,
    _turn: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

fn slow() -> HttpProblem {
    HttpProblem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time")
}

fn unreadable(error: &axum::BoxError, bytes_max: usize) -> HttpProblem {
    match error.downcast_ref::<LengthLimitError>() {
        Some(_) => too_large(bytes_max),
        None => HttpProblem::bad(format!("the body cannot be read: {error}")),
    }
}

fn too_large(bytes_max: usize) -> HttpProblem {
    let detail = format!("the body has more than {bytes_max} bytes");
    HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

/// The body as JSON; none at all counts as an empty object.
pub async fn json<T: DeserializeOwned + Send + 'static>(
    request: Request,
    bytes_max: usize,
) -> Result<T, HttpProblem> {
    let kind = media_type(request.headers());
    let body = whole(request.into_body(), bytes_max).await?;
    if body.is_empty() {
        return parsed(b"{}");
    }
    match kind.as_str() {
        "application/json" => from_json(body).await,
        _ => Err(HttpProblem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_type",
            "send JSON, and say so: Content-Type: application/json",
        )),
    }
}

/// What `body` says in JSON: read beside the thread on which everybody is answered.
pub async fn from_json<T: DeserializeOwned + Send + 'static>(
    body: Bytes,
) -> Result<T, HttpProblem> {
    blocking(move || parsed(&body)).await?
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> Result<T, HttpProblem> {
    if values_max(json) > VALUES_MAX {
        return Err(HttpProblem::bad(format!("JSON: more than {VALUES_MAX} values")));
    }
    serde_json::from_slice(json)
        .map_err(|error| HttpProblem::bad(format!("JSON: {}", plain(&error))))
}

/// No more values than this are in `json`: as many as what stands before one, outside of texts.
fn values_max(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b',' | b':' | b'[' | b'{' if !is_text => count += 1,
            _ => (),
        }
    }
    count
}

/// The fields of a form without files.
pub async fn fields<T: DeserializeOwned>(request: Request) -> Result<T, HttpProblem> {
    let body = whole(request.into_body(), TEXT_BYTES_MAX).await?;
    let wrong = |error| HttpProblem::bad(format!("the form: {error}"));
    serde_urlencoded::from_bytes(&body).map_err(wrong)
}

/// A part of a form.
pub struct FormPart {
    pub name: String,
    pub content: Bytes,
}

/// All parts of a form.
pub async fn form(request: Request, bytes_max: usize) -> Result<Vec<FormPart>, HttpProblem> {
    let (parts, body) = request.into_parts();
    // The form's own reader has no limit; here it is given what was read within ours.
    let body = whole(body, bytes_max).await?;
    let request = Request::from_parts(parts, Body::from(body));
    let wrong = |error: String| HttpProblem::bad(format!("the form: {error}"));
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| wrong(error.body_text()))?;
    let mut found = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error.body_text()))? {
        if found.len() >= PARTS_MAX {
            return Err(wrong(format!("more than {PARTS_MAX} parts")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content = field.bytes().await.map_err(|error| wrong(error.body_text()))?;
        found.push(FormPart { name, content });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_counted_before_memory_is_taken_for_them() {
        let text = r#"{"a": "[,,\"{:", "b": [1, 2, {}]}"#;
        assert_eq!(values_max(text.as_bytes()), 1 + 1 + 2 + 1 + 1 + 2 + 1);
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        let told = parsed::<Value>(many.as_bytes()).expect_err("too many").detail;
        assert_eq!(told, "JSON: more than 100000 values");
        // A picture is one value.
        let picture = format!("{{\"mask\": \"{}\"}}", ",".repeat(VALUES_MAX));
        assert!(parsed::<Value>(picture.as_bytes()).is_ok());
    }
}
