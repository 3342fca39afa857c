//! What programs can ask, for people: the same document as theirs, without any network.

use axum::extract::State;
use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::super::reference::{ReferenceEntry, reference};
use super::layout::{PageKind, page};
use super::table::cell;
use super::visitor::{OurAddress, Visitor};
use super::words::Words;

pub async fn page_of_reference(
    State(app): State<App>,
    visitor: Visitor,
    OurAddress(address): OurAddress,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let content = html! {
        h1 { "API" }
        p { (words.reference_hint) " " a href="api/v1/openapi.json" { "openapi.json" } }
        pre { code { "curl " (address) "/api/v1/status" } }
        div.scroll { table.cards {
            thead { tr {
                th { (words.request) } th { (words.meaning) } th { (words.body) } th { (words.answer) }
            } }
            tbody { @for entry in reference() { (row(words, &entry)) } }
        } }
    };
    page(&app, visitor, PageKind::System, content).await
}

fn row(words: &Words, entry: &ReferenceEntry) -> Markup {
    html! {
        tr {
            th scope="row" { code { (entry.method) " " (entry.path) } }
            td data-column=(words.meaning) {
                (entry.about)
                @if !entry.query.is_empty() {
                    details {
                        summary { (words.parameters) }
                        dl { @for (name, meaning) in &entry.query { dt { (name) } dd { (meaning) } } }
                    }
                }
            }
            (cell(words.body, entry.bodies.join(", ")))
            td data-column=(words.answer) { @for (status, answered) in &entry.answers { (status) " " (answered) br; } }
        }
    }
}
