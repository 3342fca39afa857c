//! Who may ask: one layer before every route.
//!
//! Any web page can send requests to this machine, and a name of its own can be made to lead here.
//! So a request must name us as we are called, must not come from another site, and must not have a
//! body of a kind that pages can send without asking. None of this needs the user's attention.

mod host;
mod origin;
mod token;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use self::host::Hosts;
use self::origin::Sender;
pub use self::token::Token;
use super::problem::HttpProblem;
use crate::config::{HttpConfig, Listen};

/// For the head of a request: its first line and all headers.
pub const HEADER_BYTES_MAX: usize = 32 << 10;

/// What requests are judged by.
#[derive(Clone)]
pub struct Guard {
    hosts: Hosts,
    /// What everybody must know; `None` where only this machine reaches us.
    token: Option<Token>,
}

impl Guard {
    /// For the face that listens at `place`.
    pub fn new(config: &HttpConfig, place: &Listen, token: Option<Token>) -> Guard {
        Guard { hosts: Hosts::new(config, place), token }
    }

    fn judge(&self, request: &Request) -> Result<(), HttpProblem> {
        let refused = |code, why| Err(HttpProblem::new(StatusCode::FORBIDDEN, code, why));
        if head_bytes(request) > HEADER_BYTES_MAX {
            let why = format!("the request's headers have more than {HEADER_BYTES_MAX} bytes");
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(HttpProblem::new(status, "too_large", why));
        }
        if !self.hosts.are_named_by(request) {
            let why = "this is not the host that was asked for; [http] hosts in daemon.toml names \
                       what it is called beside localhost";
            return Err(HttpProblem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", why));
        }
        let sender = Sender::of(request.headers(), &self.hosts);
        if sender == Sender::Foreign && !is_link(request) {
            return refused("cross_origin", "a page of another site has sent this");
        }
        let is_open = request.uri().path() == "/health";
        if let Some(token) = self.token.as_ref().filter(|_| !is_open)
            && !token.is_known_by(request.headers())
        {
            let why = "the token in state/http-token is missing or wrong: send it as Authorization: \
                       Bearer TOKEN, or as the password";
            return Err(HttpProblem::new(StatusCode::UNAUTHORIZED, "unauthorized", why));
        }
        check_type(request, sender)
    }
}

/// What has been read of a request before its body: what reads it stops only some time after the
/// limit.
fn head_bytes(request: &Request) -> usize {
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.method().as_str().len() + target + headers
}

/// A click on a link leads here: nothing is changed, and the other page sees nothing of it.
fn is_link(request: &Request) -> bool {
    let says = |name: &str, word: &str| {
        request.headers().get(name).is_some_and(|value| value.as_bytes() == word.as_bytes())
    };
    request.method() == Method::GET
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
        && !request.headers().contains_key(header::ORIGIN)
}

/// Bodies that any page can send by a form are no requests of ours, but from our own pages.
fn check_type(request: &Request, sender: Sender) -> Result<(), HttpProblem> {
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if !has_body || request.method() == Method::GET || request.method() == Method::HEAD {
        return Ok(());
    }
    let kind = media_type(headers);
    let is_known = match kind.as_str() {
        "application/json" | "application/toml" | "multipart/form-data" => true,
        "application/x-www-form-urlencoded" => sender == Sender::OwnPage,
        other => other.starts_with("image/"),
    };
    match is_known {
        true => Ok(()),
        false => Err(HttpProblem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_type",
            "say what the body is: Content-Type: application/json or application/toml",
        )),
    }
}

/// The type of the body without its parameters; empty where nothing is said.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// Headers that keep answers from being taken for something else than they are.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // With no referrer at all browsers say of our own forms, too, that their origin is hidden.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Lets through what may be asked, and marks every answer.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if response.status() == StatusCode::UNAUTHORIZED {
        let value = HeaderValue::from_static("Basic realm=\"zimaged\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
