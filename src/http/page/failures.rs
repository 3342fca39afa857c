//! What failed and why, each with a button that renders it again.

use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::grid::picture_link;
use super::layout::button;
use super::table::cell;
use super::words::Words;
use crate::job::state::ShownState;
use crate::moment;
use crate::store::{GalleryFilter, HistoryRow};

/// So many failures are told at once.
const FAILURES_MAX: u32 = 10;

/// What failed lately of all jobs; nothing where nothing did.
pub async fn lately(app: &App, words: &Words) -> Result<Markup, HttpProblem> {
    let failed = app.queue().failed_lately(FAILURES_MAX).await?;
    Ok(html! {
        @if !failed.is_empty() {
            section.card { h2 { (words.failed_lately) } (table(words, &failed)) }
        }
    })
}

/// What failed of one job, with how many that are; nothing where nothing did.
pub async fn of_job(app: &App, words: &Words, job_id: i64) -> Result<Markup, HttpProblem> {
    let jobs = app.store().jobs_named(&[job_id]).await?;
    let Some(job) = jobs.first().filter(|job| job.failed > 0) else { return Ok(html! {}) };
    let filter = GalleryFilter {
        state: Some(ShownState::Failed),
        job_id: Some(job_id),
        ..GalleryFilter::default()
    };
    let failed = app.store().gallery(&filter, FAILURES_MAX).await?;
    Ok(html! {
        section.card {
            h2 { (words.failed_of_job) ": " (job.failed) }
            (table(words, &failed))
            (button("retry", words.retry_job, &[("id", job_id.to_string())]))
        }
    })
}

/// Why a picture has failed: what kind of failure that is and what to do, where the page is not in
/// English, and the message.
pub fn why(words: &Words, picture: &HistoryRow) -> Markup {
    let HistoryRow { error_code, error, .. } = picture;
    html! {
        @if let Some(sentence) = words.failure(*error_code) { (sentence) br; }
        (words.in_english(error.as_deref().unwrap_or_default()))
    }
}

fn table(words: &Words, failed: &[HistoryRow]) -> Markup {
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.job) } th { (words.ended) } th { (words.message) } th { (words.prompt) }
                th {}
            } }
            tbody { @for picture in failed { (row(words, picture)) } }
        } }
    }
}

fn row(words: &Words, picture: &HistoryRow) -> Markup {
    let HistoryRow { job, picture: n, prompt, finished_at_ms, .. } = picture;
    let name = format!("{job}.{n}");
    html! {
        tr data-key=(name) {
            (cell(words.job, picture_link(*job, *n)))
            (cell(words.ended, finished_at_ms.map(moment::date_and_time).unwrap_or_default()))
            td.bad data-column=(words.message) { div { (why(words, picture)) } }
            (cell(words.prompt, prompt))
            td { (button("retry", words.retry, &[("id", name)])) }
        }
    }
}
