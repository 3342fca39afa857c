//! A page that cannot be shown, or a button that did nothing: what has happened and what to do.

use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::super::problem::HttpProblem;
use super::assets;
use super::visitor::Visitor;

/// For a request of `path`.
pub fn trouble(visitor: Visitor, path: &str, problem: &HttpProblem) -> Markup {
    let Visitor { words, scheme } = visitor;
    let HttpProblem { status, detail, .. } = problem;
    let (title, hint) = match *status {
        StatusCode::NOT_FOUND | StatusCode::GONE => (words.not_here, words.not_here_hint),
        StatusCode::SERVICE_UNAVAILABLE => (words.not_now, words.not_now_hint),
        _ => (words.not_done, words.not_done_hint),
    };
    // As on all pages, addresses are relative to where the request was for.
    let pages = "../".repeat(path.matches('/').count().saturating_sub(1));
    html! {
        (DOCTYPE)
        html lang=(words.tag) data-scheme=[scheme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · zimaged" }
                link rel="stylesheet" href={ (pages) (assets::STYLE.address()) };
            }
            body { main { section.card {
                h1 { (title) }
                p { (hint) }
                p.bad { (detail) }
                p.quiet { (status) }
                p { a.button href={ (pages) "./" } { (words.create) } " "
                    a.button href={ (pages) "queue" } { (words.queue) } }
            } } }
        }
    }
}
