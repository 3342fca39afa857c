//! What this program is, of which licences, and by which weights it renders.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::layout::{PageKind, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::store::WorkerRow;

const LICENCE: &str = include_str!("../../../LICENSE");
const THIRD_PARTY: &str = include_str!("../../../THIRD-PARTY.md");

pub async fn about(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let worker = app.store().last_worker().await?;
    let content = html! {
        h1 { (words.about) }
        section.card { dl {
            dt { (words.version) } dd { "zimaged " (env!("CARGO_PKG_VERSION")) }
            dt { (words.licence) } dd {
                a href="licence/zimaged" { (env!("CARGO_PKG_LICENSE")) } br;
                a href="licence/third-party" { (words.third_party) }
            }
        } }
        @if let Some(worker) = &worker {
            section.card { h2 { (words.model) } (model(words, worker)) }
        }
    };
    page(&app, visitor, PageKind::About, content).await
}

/// The model that was loaded last, with what its parts are and where they come from.
fn model(words: &Words, worker: &WorkerRow) -> Markup {
    html! {
        dl {
            dt { (words.model) } dd { (worker.model_name) }
            dt { (words.model_hash) } dd { (worker.model_hash) }
            @for part in &worker.parts.0 {
                dt { (part.part.word()) } dd {
                    (part.sha256.as_deref().unwrap_or_default())
                    @if let Some(source) = &part.source {
                        br; span.quiet {
                            (source.hub) ": " (source.repository) ", " (source.revision)
                        }
                    }
                }
            }
        }
    }
}

/// The text of a licence.
pub async fn licence(Path(name): Path<String>) -> Result<Response, HttpProblem> {
    let text = match name.as_str() {
        "zimaged" => LICENCE,
        "third-party" => THIRD_PARTY,
        _ => return Err(HttpProblem::not_found("there is no such licence")),
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
