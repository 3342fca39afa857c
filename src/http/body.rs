//! Bodies of requests, read whole within limits of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::guard::media_type;
use super::problem::HttpProblem;

/// For a body without pictures.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// For a body with a picture and its mask, in base64.
pub const PICTURES_BYTES_MAX: usize = 96 << 20;

/// From the end of the headers to the end of the body.
const TIMEOUT: Duration = Duration::from_secs(30);

/// So many bodies with pictures are in memory at a time.
static LARGE: Semaphore = Semaphore::const_new(8);

/// So many parts has a form at the most.
const PARTS_MAX: usize = 64;

/// The whole body.
pub async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, HttpProblem> {
    // What says that it is too long is not waited for.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let read = async {
        let turn = match bytes_max > TEXT_BYTES_MAX {
            true => LARGE.acquire().await.ok(),
            false => None,
        };
        let content = Limited::new(body, bytes_max).collect().await?.to_bytes();
        Ok(Bytes::from_owner(InMemory { content, _turn: turn }))
    };
    let read = timeout(TIMEOUT, read).await.map_err(|_| slow())?;
    read.map_err(|error: axum::BoxError| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => too_large(bytes_max),
        None => HttpProblem::bad(format!("the body cannot be read: {error}")),
    })
}

/// A body, whose turn lasts until its last part is dropped.
struct InMemory {
    content: Bytes,
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

fn too_large(bytes_max: usize) -> HttpProblem {
    let detail = format!("the body has more than {bytes_max} bytes");
    HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

/// The body as JSON; none at all counts as an empty object.
pub async fn json<T: DeserializeOwned>(
    request: Request,
    bytes_max: usize,
) -> Result<T, HttpProblem> {
    let kind = media_type(request.headers());
    let body = whole(request.into_body(), bytes_max).await?;
    if body.is_empty() {
        return from_json(b"{}");
    }
    match kind.as_str() {
        "application/json" => from_json(&body),
        _ => Err(HttpProblem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_type",
            "send JSON, and say so: Content-Type: application/json",
        )),
    }
}

pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpProblem> {
    serde_json::from_slice(body).map_err(|error| HttpProblem::bad(format!("JSON: {error}")))
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
