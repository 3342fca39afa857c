//! The pictures that were made, newest first, page by page.

use axum::extract::{Query, RawQuery, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::super::app::App;
use super::super::archive::{self, PICTURES_MAX as ZIPPED_MAX};
use super::super::problem::HttpProblem;
use super::assets;
use super::failures;
use super::grid::{cell, plain_cell};
use super::layout::{PageKind, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::http::api::renders::{pixels, several};
use crate::job::state::ShownState;
use crate::moment;
use crate::store::{GalleryFilter, HistoryRow, Selection};

/// As many as fill a large screen; a number that the usual numbers of columns divide.
const PICTURES_MAX: u32 = 60;

/// As many as one sees at a glance.
const NEWEST_MAX: u32 = 12;

/// No picture comes before it.
const FIRST: (i64, u32) = (0, 0);

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
    /// Like `1024x768`.
    #[serde(skip_serializing_if = "String::is_empty")]
    size: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rung: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    degraded: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    starred: String,
    /// Beginning with the last one that was done on this day or before.
    #[serde(skip_serializing_if = "String::is_empty")]
    day: String,
    /// Those before this one: the key of the last one of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The day that the page before ended with.
    #[serde(skip_serializing_if = "String::is_empty")]
    shown: String,
}

impl GalleryQuery {
    /// All that the fields say, but where a page begins.
    fn filter(&self) -> Result<GalleryFilter, HttpProblem> {
        let some = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(GalleryFilter {
            text: some(&self.q),
            tag: some(&self.tag),
            job_id: self.job.trim().parse().ok(),
            degraded: (!self.degraded.is_empty()).then_some(true),
            starred: (!self.starred.is_empty()).then_some(true),
            size: some(&self.size).map(|size| pixels(&size)).transpose()?,
            rung: some(&self.rung),
            model: some(&self.model),
            ..all_made()
        })
    }

    /// Whether one of the fields under the fold is filled in.
    fn has_more(&self) -> bool {
        [&self.size, &self.rung, &self.model].into_iter().any(|field| !field.is_empty())
    }

    /// The key that its page ends before; `None` for the newest page.
    async fn begin(&self, app: &App) -> Result<Option<(i64, u32)>, HttpProblem> {
        if let Some(Ok(Selection::Render { job_id, index })) =
            self.before.as_deref().map(str::parse)
        {
            return Ok(Some((job_id, index)));
        }
        let Some(until_ms) = moment::end_of_day(&self.day) else { return Ok(None) };
        let newest = app.store().last_done_before(until_ms).await?;
        Ok(Some(newest.map_or(FIRST, |(job_id, index)| (job_id, index.saturating_add(1)))))
    }
}

pub async fn gallery(
    State(app): State<App>,
    visitor: Visitor,
    Query(wanted): Query<GalleryQuery>,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let filter = GalleryFilter { before: wanted.begin(&app).await?, ..wanted.filter()? };
    let made = app.store().gallery(&filter, PICTURES_MAX).await?;
    let failed = match filter.job_id {
        Some(job_id) => failures::of_job(&app, words, job_id).await?,
        None => html! {},
    };
    let last = made.last().filter(|_| made.len() as u32 == PICTURES_MAX);
    let content = html! {
        h1 { (words.gallery) }
        (filters(words, &wanted))
        @if made.is_empty() && filter == all_made() {
            p { (words.first_picture) " " a href="./" { (words.create) } }
        } @else if made.is_empty() {
            p { (words.no_pictures) }
        } @else {
            (zip_button(words, &wanted))
        }
        (failed)
        (by_days(words, &made, &wanted.shown))
        @if let Some(last) = last {
            p { a.button rel="next" data-older href=(older(&wanted, last)) { (words.older) } }
        }
        // One form for all stars: its buttons say which picture they are for.
        form #stars method="post" {}
        script type="module" src=(assets::GALLERY.address()) {}
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
    Ok(html! { ul.grid { @for picture in &made { (plain_cell(words, picture)) } } })
}

/// The pictures that are ticked, else all that the gallery's fields ask for, as one file.
pub async fn archive(
    State(app): State<App>,
    Query(wanted): Query<GalleryQuery>,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpProblem> {
    let fields: Vec<(String, String)> =
        serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default();
    let chosen = fields.into_iter().filter(|(name, _)| name == "choose");
    let chosen: Vec<String> = chosen.map(|(_, render)| render).collect();
    let filter = match chosen.is_empty() {
        true => GalleryFilter { before: wanted.begin(&app).await?, ..wanted.filter()? },
        false => GalleryFilter { among: Some(several(&chosen.join(","))?), ..all_made() },
    };
    archive::archive(&app, &filter, ZIPPED_MAX).await
}

/// Each day stands before its pictures, but for one that was shown already.
fn by_days(words: &Words, made: &[HistoryRow], shown: &str) -> Markup {
    let before = std::iter::once(shown.to_owned()).chain(made.iter().map(day));
    html! {
        ul.grid data-page {
            @for (picture, before) in made.iter().zip(before) {
                @let day = day(picture);
                @if day != before { li.day { (day) } }
                (cell(words, picture))
            }
        }
    }
}

/// On which it ended.
fn day(picture: &HistoryRow) -> String {
    picture.finished_at_ms.map(moment::date).unwrap_or_default()
}

fn older(wanted: &GalleryQuery, last: &HistoryRow) -> String {
    let before = Some(format!("{}.{}", last.job, last.picture));
    let (day, shown) = (String::new(), day(last));
    let next = GalleryQuery { before, day, shown, ..wanted.clone() };
    format!("gallery?{}", serde_urlencoded::to_string(next).unwrap_or_default())
}

fn filters(words: &Words, wanted: &GalleryQuery) -> Markup {
    html! {
        form.row.card method="get" action="gallery" role="search" {
            label { (words.search) " " input type="search" name="q" value=(wanted.q); }
            label { (words.tag_word) " " input name="tag" value=(wanted.tag); }
            label {
                (words.job) " " input name="job" size="6" inputmode="numeric" value=(wanted.job);
            }
            label { (words.until_day) " " input type="date" name="day" value=(wanted.day); }
            label.tick {
                input type="checkbox" name="degraded" value="true"
                    checked[!wanted.degraded.is_empty()];
                (words.only_smaller)
            }
            label.tick {
                input type="checkbox" name="starred" value="true"
                    checked[!wanted.starred.is_empty()];
                (words.only_starred)
            }
            button { (words.show) }
            details open[wanted.has_more()] {
                summary { (words.advanced) }
                div.row {
                    label {
                        (words.size) " "
                        input name="size" value=(wanted.size) placeholder="1024x1024";
                    }
                    label { (words.model) " " input name="model" value=(wanted.model); }
                    label { (words.rung) " " input name="rung" value=(wanted.rung); }
                }
            }
        }
    }
}

fn zip_button(words: &Words, wanted: &GalleryQuery) -> Markup {
    let fields = serde_urlencoded::to_string(wanted).unwrap_or_default();
    let fields: Vec<(String, String)> = serde_urlencoded::from_str(&fields).unwrap_or_default();
    html! {
        form.row #chosen method="get" action="pictures.zip" {
            @for (name, value) in &fields { input type="hidden" name=(name) value=(value); }
            button { (words.download_zip) }
            small.quiet { (words.zip_hint) " " (ZIPPED_MAX) }
        }
    }
}

/// All that were made and stand in the output folder.
fn all_made() -> GalleryFilter {
    GalleryFilter { state: Some(ShownState::Done), ..GalleryFilter::default() }
}
