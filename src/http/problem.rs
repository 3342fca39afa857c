//! Why a request has no answer.

use std::io;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::queue::QueueError;
use crate::spelling::without_codes;
use crate::store::StoreError;

/// After so many seconds it is worth another try, where what is in the way passes by itself.
const RETRY_S: u64 = 5;

/// Why a request has no answer. It travels with its response until `problem_answer` gives that a
/// body.
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
            detail: without_codes(&detail.into()).into_owned(),
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
            QueueError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                HttpProblem::new(StatusCode::INSUFFICIENT_STORAGE, "no_room", told)
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
