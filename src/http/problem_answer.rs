//! A problem as an answer, in the form that its API has for it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::page::{Visitor, trouble};
use super::problem::HttpProblem;
use crate::problem::Problem;

/// No refusal of a path or a query is longer.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Gives a problem its body.
pub async fn in_the_form_of_its_api(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let accepted = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let is_page = accepted.is_some_and(|it| it.contains("text/html"));
    let visitor = Visitor::of(request.headers());
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
            let page = trouble(visitor, &path, &problem);
            ("text/html; charset=utf-8", page.into_string())
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
        let told = json!({
            "loc": ["body", place], "msg": problem.detail, "type": problem.code,
        });
        return json!({ "detail": [told] });
    }
    json!({ "error": problem.code, "detail": problem.detail, "body": "", "errors": problem.detail })
}
