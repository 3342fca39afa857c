//! A picture as one of many.

use maud::{Markup, html};
use serde::Deserialize;

use super::words::Words;
use crate::store::{HistoryRow, Selection};

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

/// A small copy that leads to the picture, with its star, and a box to choose it by.
pub fn cell(words: &Words, picture: &HistoryRow) -> Markup {
    let id = format!("{}.{}", picture.job, picture.picture);
    html! {
        li data-key=(id) {
            (copy(words, picture))
            input type="checkbox" name="choose" value=(id) form="chosen"
                aria-label={ (words.choose) " " (id) };
            (star(words, picture))
        }
    }
}

/// A picture by its job and its place there, as a link to all that is known of it.
pub fn picture_link(job: i64, n: i64) -> Markup {
    html! { a href={ "picture?job=" (job) "&n=" (n) } { (job) "." (n) } }
}

/// The same to look at only.
pub fn plain_cell(words: &Words, picture: &HistoryRow) -> Markup {
    html! { li data-key={ (picture.job) "." (picture.picture) } { (copy(words, picture)) } }
}

/// A button of the page's form for stars.
pub fn star(words: &Words, picture: &HistoryRow) -> Markup {
    let id = format!("{}.{}", picture.job, picture.picture);
    let action = if picture.starred { "queue/unstar" } else { "queue/star" };
    html! {
        button.star form="stars" name="id" value=(id) formaction=(action)
            aria-label={ (words.star) " " (id) } aria-pressed=(picture.starred) {}
    }
}

fn copy(words: &Words, picture: &HistoryRow) -> Markup {
    let HistoryRow { job, picture: n, prompt, degraded, .. } = picture;
    html! {
        a href={ "picture?job=" (job) "&n=" (n) } {
            img src=(thumbnail_address(picture)) alt=(prompt) loading="lazy" decoding="async"
                width="320" height="320";
            span { @if *degraded { b.badge.warn { (words.only_smaller) } " " } (prompt) }
        }
    }
}

/// With the hash of the picture, so that a browser keeps it for good.
fn thumbnail_address(picture: &HistoryRow) -> String {
    let HistoryRow { job, picture: n, sha256, .. } = picture;
    format!("thumbnail?job={job}&n={n}&v={}", sha256.as_deref().unwrap_or_default())
}
