//! A page that cannot be shown, or a button that did nothing: what has happened and what to do.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::super::problem::HttpProblem;
use super::layout::document;
use super::visitor::Visitor;

/// For a request of `path`.
pub fn trouble(visitor: Visitor, path: &str, problem: &HttpProblem) -> Markup {
    let words = visitor.words;
    let HttpProblem { status, detail, .. } = problem;
    let (title, hint) = match *status {
        StatusCode::NOT_FOUND | StatusCode::GONE => (words.not_here, words.not_here_hint),
        StatusCode::SERVICE_UNAVAILABLE => (words.not_now, words.not_now_hint),
        _ => (words.not_done, words.not_done_hint),
    };
    // As on all pages, addresses are relative to where the request was for.
    let pages = "../".repeat(path.matches('/').count().saturating_sub(1));
    let body = html! {
        main { section.card {
            h1 { (title) }
            p { (hint) }
            p.bad { (detail) }
            p.quiet { (status) }
            p { a.button href={ (pages) "./" } { (words.create) } " "
                a.button href={ (pages) "queue" } { (words.queue) } }
        } }
    };
    document(visitor, &pages, title, body)
}
