//! The pictures that were made, newest first, page by page.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::failures;
use super::layout::{PageKind, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::job::state::State as RenderState;
use crate::store::{GalleryFilter, HistoryRow, Selection};

/// As many as fill a large screen.
const PICTURES_MAX: u32 = 60;

/// As many as one sees at a glance.
const NEWEST_MAX: u32 = 12;

/// Which pictures are wanted; empty fields ask for nothing.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct GalleryQuery {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    job: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    degraded: String,
    /// Those before this one: the key of the last one of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

impl GalleryQuery {
    fn filter(&self) -> GalleryFilter {
        let some = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let before = match self.before.as_deref().map(str::parse) {
            Some(Ok(Selection::Render { job_id, index })) => Some((job_id, index)),
            _ => None,
        };
        GalleryFilter {
            text: some(&self.q),
            tag: some(&self.tag),
            job_id: self.job.trim().parse().ok(),
            degraded: (!self.degraded.is_empty()).then_some(true),
            before,
            ..all_made()
        }
    }

    fn is_open(&self) -> bool {
        self.filter() == all_made()
    }
}

pub async fn gallery(
    State(app): State<App>,
    visitor: Visitor,
    Query(wanted): Query<GalleryQuery>,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let filter = wanted.filter();
    let made = app.store().gallery(&filter, PICTURES_MAX).await?;
    let failed = match filter.job_id {
        Some(job_id) => failures::of_job(&app, words, job_id).await?,
        None => html! {},
    };
    let last = made.last().filter(|_| made.len() as u32 == PICTURES_MAX);
    let last = last.map(|last| format!("{}.{}", last.job, last.picture));
    let content = html! {
        h1 { (words.gallery) }
        (filters(words, &wanted))
        @if made.is_empty() && wanted.is_open() {
            p { (words.first_picture) " " a href="./" { (words.create) } }
        } @else if made.is_empty() {
            p { (words.no_pictures) }
        }
        (failed)
        ul.grid { @for picture in &made { (small(words, picture)) } }
        @if let Some(last) = last {
            p { a.button href=(older(&wanted, last)) { (words.older) } }
        }
    };
    page(&app, visitor, PageKind::Gallery, content).await
}

/// The newest pictures, for pages that are open already.
pub async fn live_newest(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    newest(&app, visitor.words).await
}

/// The newest pictures, where somebody waits for the next one.
pub async fn newest(app: &App, words: &Words) -> Result<Markup, HttpProblem> {
    let made = app.store().gallery(&all_made(), NEWEST_MAX).await?;
    Ok(html! { ul.grid { @for picture in &made { (small(words, picture)) } } })
}

fn older(wanted: &GalleryQuery, before: String) -> String {
    let next = GalleryQuery { before: Some(before), ..wanted.clone() };
    format!("gallery?{}", serde_urlencoded::to_string(next).unwrap_or_default())
}

fn filters(words: &Words, wanted: &GalleryQuery) -> Markup {
    html! {
        form.row.card method="get" action="gallery" role="search" {
            label { (words.search) " " input type="search" name="q" value=(wanted.q); }
            label { (words.tag_word) " " input name="tag" value=(wanted.tag); }
            label { (words.job) " " input name="job" size="6" inputmode="numeric" value=(wanted.job); }
            label.tick {
                input type="checkbox" name="degraded" value="true" checked[!wanted.degraded.is_empty()];
                (words.only_smaller)
            }
            button { (words.show) }
        }
    }
}

fn small(words: &Words, picture: &HistoryRow) -> Markup {
    let HistoryRow { job, picture: n, prompt, degraded, .. } = picture;
    html! {
        li data-key={ (job) "." (n) } {
            a href={ "picture?job=" (job) "&n=" (n) } {
                img src=(thumbnail_address(picture)) alt=(prompt) loading="lazy" decoding="async"
                    width="320" height="320";
                span { @if *degraded { b.badge.warn { (words.only_smaller) } " " } (prompt) }
            }
        }
    }
}

/// All that were made and stand in the output folder.
fn all_made() -> GalleryFilter {
    GalleryFilter { state: Some(RenderState::Done), ..GalleryFilter::default() }
}

/// With the hash of the picture, so that a browser keeps it for good.
fn thumbnail_address(picture: &HistoryRow) -> String {
    let HistoryRow { job, picture: n, sha256, .. } = picture;
    format!("thumbnail?job={job}&n={n}&v={}", sha256.as_deref().unwrap_or_default())
}

/// One picture of one job.
#[derive(Clone, Copy, Deserialize)]
pub struct PictureAddress {
    pub job: i64,
    pub n: u32,
}

impl PictureAddress {
    pub fn selection(self) -> Selection {
        Selection::Render { job_id: self.job, index: self.n }
    }
}
