//! Why a request has no answer, in the form that its API has for it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use serde::Serialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::queue::QueueError;
use crate::store::StoreError;

/// After so many seconds it is worth another try, where what is in the way passes by itself.
const RETRY_S: u64 = 5;

/// No refusal of a path or a query is longer.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why a request has no answer. It travels with its response until [`in_the_form_of_its_api`] gives
/// that a body.
#[derive(Clone, Debug)]
pub struct HttpProblem {
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// The field that it is about.
    pub param: Option<String>,
    /// The mistakes in a job, where that is the reason.
    pub problems: Vec<Problem>,
    /// Seconds after which the very same request may succeed.
    pub retry_after_s: Option<u64>,
    /// Whether clients that try again by themselves should not.
    pub is_final: bool,
}

impl HttpProblem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> HttpProblem {
        HttpProblem {
            status,
            code,
            detail: detail.into(),
            param: None,
            problems: Vec::new(),
            retry_after_s: None,
            is_final: false,
        }
    }

    /// The request is wrong.
    pub fn bad(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// A field of the request is wrong.
    pub fn field(param: &str, detail: impl Into<String>) -> HttpProblem {
        HttpProblem { param: Some(param.to_owned()), ..HttpProblem::bad(detail) }
    }

    /// A field of the request asks for what cannot be done.
    pub fn unfit(param: &str, detail: impl Into<String>) -> HttpProblem {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = HttpProblem::new(status, "unsupported", detail);
        HttpProblem { param: Some(param.to_owned()), ..problem }
    }

    pub fn not_found(detail: impl Into<String>) -> HttpProblem {
        HttpProblem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// What is in the way passes by itself.
    pub fn later(detail: impl Into<String>) -> HttpProblem {
        let problem = HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "try_again", detail);
        HttpProblem { retry_after_s: Some(RETRY_S), ..problem }
    }

    /// The daemon itself is at fault, which its log tells, too.
    pub fn ours(detail: impl Into<String>) -> HttpProblem {
        let detail = detail.into();
        tracing::error!(reason = %detail, "a request has no answer");
        HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }
}

impl From<StoreError> for HttpProblem {
    fn from(error: StoreError) -> HttpProblem {
        let told = error.to_string();
        match error {
            StoreError::NotFound(_) => HttpProblem::not_found(told),
            StoreError::NothingToDo(_) => {
                HttpProblem::new(StatusCode::CONFLICT, "nothing_to_do", told)
            }
            error if error.may_pass_for_a_read() => HttpProblem::later(told),
            _ => HttpProblem::ours(told),
        }
    }
}

impl From<QueueError> for HttpProblem {
    fn from(error: QueueError) -> HttpProblem {
        let told = error.to_string();
        match error {
            QueueError::Store(error) => error.into(),
            QueueError::Mistakes(mistakes) => HttpProblem {
                code: "mistakes",
                param: mistakes.problems.first().and_then(|first| first.key.clone()),
                problems: mistakes.problems,
                ..HttpProblem::bad(told.trim_end())
            },
            QueueError::WrongWish(_) | QueueError::WrongQuestion(_) => {
                HttpProblem { code: "mistakes", ..HttpProblem::bad(told) }
            }
            QueueError::NoAnswer(_) => {
                HttpProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_answer", told)
            }
            QueueError::Config(error) if error.may_pass() => HttpProblem::later(told),
            _ => HttpProblem::ours(told),
        }
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a problem its body.
pub async fn in_the_form_of_its_api(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let accepted = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let is_page = accepted.is_some_and(|it| it.contains("text/html"));
    let mut response = next.run(request).await;
    let problem = match response.extensions_mut().remove::<HttpProblem>() {
        Some(problem) => problem,
        None if is_plain_refusal(&response) => of_axum(&mut response).await,
        None => return response,
    };
    let (kind, body) = match path {
        path if path.starts_with("/v1/") => ("application/json", openai(&problem).to_string()),
        path if path.starts_with("/sdapi/") => ("application/json", sdapi(&problem).to_string()),
        path if is_page && !path.starts_with("/api/") => {
            ("text/html; charset=utf-8", trouble(&problem).into_string())
        }
        _ => {
            let body = serde_json::to_string(&own(&problem)).unwrap_or_default();
            ("application/problem+json", body)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.remove(header::CONTENT_LENGTH);
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.is_final {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// A path or a query that cannot be read is refused before a handler is asked, as text.
fn is_plain_refusal(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    response.status().is_client_error() && is_text
}

async fn of_axum(response: &mut Response) -> HttpProblem {
    let body = std::mem::take(response.body_mut());
    let body = axum::body::to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&body).into_owned();
    HttpProblem::new(response.status(), "bad_request", detail)
}

/// For people.
fn trouble(problem: &HttpProblem) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (problem.status) " · zimaged" }
            }
            body { main { h1 { (problem.status) } p { (problem.detail) } p { a href="/" { "zimaged" } } } }
        }
    }
}

/// Why there is no answer, by RFC 9457.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProblemAnswer<'a> {
    /// The status in words.
    title: Option<&'static str>,
    /// The status.
    status: u16,
    /// A word for programs.
    code: &'static str,
    /// What is wrong, for people.
    detail: &'a str,
    /// The mistakes in a job, where that is the reason.
    problems: &'a [Problem],
}

fn own(problem: &HttpProblem) -> ProblemAnswer<'_> {
    let HttpProblem { status, code, detail, problems, .. } = problem;
    ProblemAnswer {
        title: status.canonical_reason(),
        status: status.as_u16(),
        code,
        detail,
        problems,
    }
}

fn openai(problem: &HttpProblem) -> Value {
    let kind = match problem.status.as_u16() {
        401 | 403 => "authentication_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let HttpProblem { detail: message, param, code, .. } = problem;
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

fn sdapi(problem: &HttpProblem) -> Value {
    if problem.status == StatusCode::UNPROCESSABLE_ENTITY {
        let place = problem.param.as_deref().unwrap_or_default();
        return json!({ "detail": [{ "loc": ["body", place], "msg": problem.detail, "type": problem.code }] });
    }
    json!({ "error": problem.code, "detail": problem.detail, "body": "", "errors": problem.detail })
}
