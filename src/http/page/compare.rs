//! Two pictures beside each other; with a script one above the other, with a slider between them.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::app::App;
use super::super::picture;
use super::super::problem::HttpProblem;
use super::assets;
use super::grid::picture_link;
use super::layout::{PageKind, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::store::{HistoryRow, Selection};

/// Both, like `12.3`.
#[derive(Deserialize)]
pub struct Both {
    a: String,
    b: String,
}

pub async fn compare(
    State(app): State<App>,
    visitor: Visitor,
    Query(Both { a, b }): Query<Both>,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let (a, b) = (row(&app, &a).await?, row(&app, &b).await?);
    let content = html! {
        h1 { (words.compare) }
        form.row.card method="get" action="compare" {
            label { "A " input name="a" size="8" value={ (a.job) "." (a.picture) }; }
            label { "B " input name="b" size="8" value={ (b.job) "." (b.picture) }; }
            button { (words.show) }
        }
        div.by-script.card {
            label for="divide" { "A | B" }
            input #divide type="range" min="0" max="100" value="50";
        }
        div.compare #compare { (one(&a)) (one(&b)) }
        (differences(words, &a, &b))
        script type="module" src=(assets::COMPARE.address()) {}
    };
    page(&app, visitor, PageKind::Gallery, content).await
}

async fn row(app: &App, id: &str) -> Result<HistoryRow, HttpProblem> {
    let wrong = || HttpProblem::bad(format!("{id:?} is no picture; write it like 12.3"));
    match id.trim().parse() {
        Ok(render @ Selection::Render { .. }) => picture::row(app, render).await,
        _ => Err(wrong()),
    }
}

fn one(picture: &HistoryRow) -> Markup {
    let HistoryRow { job, picture: n, prompt, width, height, .. } = picture;
    html! {
        img.whole src={ "file?job=" (job) "&n=" (n) } alt=(prompt) width=[*width] height=[*height];
    }
}

/// What was asked for and made, where it is not the same.
fn differences(words: &Words, a: &HistoryRow, b: &HistoryRow) -> Markup {
    let facts = |row: &HistoryRow| {
        let size = format!("{}×{}", row.asked_width, row.asked_height);
        [
            (words.prompt, row.prompt.clone()),
            (words.negative_prompt, row.negative_prompt.clone()),
            (words.size, size),
            (words.steps, row.asked_steps.to_string()),
            (words.guidance, row.guidance.to_string()),
            (words.seed, row.seed.to_string()),
            (words.rung, row.rung.clone().unwrap_or_default()),
            (words.model, row.model.clone().unwrap_or_default()),
        ]
    };
    let differing: Vec<_> =
        facts(a).into_iter().zip(facts(b)).filter(|((_, a), (_, b))| a != b).collect();
    html! {
        div.scroll { table {
            thead { tr {
                th {}
                th { "A " (picture_link(a.job, a.picture)) }
                th { "B " (picture_link(b.job, b.picture)) }
            } }
            tbody { @for ((name, a), (_, b)) in differing {
                tr { th scope="row" { (name) } td { (a) } td { (b) } }
            } }
        } }
    }
}
