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
        (examples(words, &address))
        div.scroll { table.cards {
            thead { tr {
                th { (words.request) } th { (words.meaning) } th { (words.body) }
                th { (words.answer) }
            } }
            tbody { @for entry in reference() { (row(words, &entry)) } }
        } }
    };
    page(&app, visitor, PageKind::System, content).await
}

/// For the programs that people have already. `docs/http.md` says more of each.
fn examples(words: &Words, address: &str) -> Markup {
    let curl = format!(
        "curl {address}/api/v1/jobs -H 'Content-Type: application/json' \\\n  \
         -d '{{\"prompt\": \"a fox in the snow\", \"num_images\": 2}}'"
    );
    let openai = format!(
        "client = openai.OpenAI(base_url=\"{address}/v1\", api_key=\"none\")\n\
         client.images.generate(prompt=\"a fox\", size=\"1024x768\")"
    );
    let webuiapi =
        format!("webuiapi.WebUIApi(baseurl=\"{address}/sdapi/v1\").txt2img(prompt=\"a fox\")");
    let webui = format!("{}: {address}/v1", words.open_webui_setting);
    let tavern = format!("{}: {address}", words.silly_tavern_setting);
    let all = [
        ("curl", curl),
        ("Python openai", openai),
        ("Python webuiapi", webuiapi),
        ("Open WebUI", webui),
        ("SillyTavern", tavern),
        ("Prometheus", format!("{address}/metrics")),
    ];
    html! {
        dl.examples { @for (program, example) in all {
            dt { (program) } dd { pre tabindex="0" { code { (example) } } }
        } }
    }
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
                        dl { @for (name, meaning) in &entry.query {
                            dt { (name) } dd { (meaning) }
                        } }
                    }
                }
            }
            (cell(words.body, entry.bodies.join(", ")))
            td data-column=(words.answer) {
                @for (status, answered) in &entry.answers { (status) " " (answered) br; }
            }
        }
    }
}
