//! What fits on which card, how good the predictions are, and each fall down the ladder.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::grid::picture_link;
use super::layout::{PageKind, page};
use super::table::{cell as told, number};
use super::visitor::Visitor;
use super::words::Words;
use crate::moment;
use crate::queue::{FitAnswer, TABLE_CARDS_GIB, UsualTable, usual_table};
use crate::spelling;
use crate::store::{Fall, PeakRow};

/// So many of the newest pictures are points in the drawing.
const POINTS_MAX: u32 = 400;

/// So many falls are told.
const FALLS_MAX: u32 = 50;

/// So many rungs are in their table, those with the most pictures.
const RUNGS_MAX: usize = 20;

/// The drawing's side and the room for its numbers, in units of its own.
const SIDE: f64 = 300.0;
const MARGIN: f64 = 56.0;

pub async fn memory(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let UsualTable { answers: table, is_miniature } =
        usual_table(app.config(), app.store()).await?;
    let peaks = app.store().peaks(POINTS_MAX).await?;
    let falls = app.store().falls(FALLS_MAX).await?;
    let worker = app.store().last_worker().await?;
    let device_bytes = worker.map(|worker| worker.total_bytes.unsigned_abs());
    let content = html! {
        h1 { (words.memory) }
        section.card {
            h2 { (words.fit_title) }
            p.quiet { (words.fit_hint) }
            @if let Some(answer) = table.first() {
                p { (words.model) ": " strong { (answer.model) } }
            }
            @if is_miniature { p.warn { (words.fit_miniature) } }
            @if table.is_empty() {
                p.quiet { (words.none_yet) }
            } @else {
                (fitting(words, &table, device_bytes))
            }
        }
        section.card { h2 { (words.predicted_title) } (peaks_drawn(words, &peaks)) }
        section.card { h2 { (words.falls) } (falls_told(words, &falls)) }
    };
    page(&app, visitor, PageKind::Memory, content).await
}

fn fitting(words: &Words, table: &[FitAnswer], device_bytes: Option<u64>) -> Markup {
    // A card has what it is sold with, to some MiB; other memory that comes near is planned otherwise.
    let own = device_bytes.and_then(|bytes| {
        TABLE_CARDS_GIB.into_iter().find(|gib| bytes.abs_diff(gib << 30) < (gib << 30) / 64)
    });
    html! {
        div.scroll { table {
            thead { tr {
                th { (words.size) }
                @for gib in TABLE_CARDS_GIB {
                    th { (gib) " GiB" @if own == Some(gib) { " (" (words.this_device) ")" } }
                }
            } }
            tbody { @for row in table.chunks(TABLE_CARDS_GIB.len()) { tr {
                th scope="row" { (row[0].width) "×" (row[0].height) }
                @for answer in row {
                    @let is_own = own.is_some_and(|gib| answer.device_bytes == gib << 30);
                    @let cell = cell(words, answer);
                    td { @if is_own { strong { (cell) } } @else { (cell) } }
                }
            } } }
        } }
    }
}

fn cell(words: &Words, answer: &FitAnswer) -> Markup {
    let rung = &answer.rung;
    html! {
        @if answer.fits() {
            (rung) br; span.quiet { (spelling::memory(answer.prediction.peak_bytes())) }
            @if answer.is_degraded() { br; span.warn { (rung.width) "×" (rung.height) } }
        } @else {
            span.bad { (words.does_not_fit) }
        }
    }
}

/// Each picture as a point: to the right what was predicted, upwards what was measured. On the line
/// both are the same; a point above it would be a prediction that was too low.
fn peaks_drawn(words: &Words, peaks: &[PeakRow]) -> Markup {
    let Some(most) =
        peaks.iter().flat_map(|peak| [peak.predicted_bytes, peak.measured_bytes]).max()
    else {
        return html! { p.quiet { (words.none_yet) } };
    };
    let scale = |bytes: i64| SIDE * bytes as f64 / most.max(1) as f64;
    let ratios =
        peaks.iter().map(|peak| peak.measured_bytes as f64 / peak.predicted_bytes.max(1) as f64);
    let highest = ratios.fold(0.0_f64, f64::max);
    let box_side = SIDE + MARGIN + 10.0;
    html! {
        svg viewBox={ "0 0 " (box_side) " " (box_side) } width=(box_side) role="img"
            aria-label=(words.predicted_title) {
            g transform={ "translate(" (MARGIN) " 10)" } {
                line.axis x1="0" y1=(SIDE) x2=(SIDE) y2=(SIDE) {}
                line.axis x1="0" y1="0" x2="0" y2=(SIDE) {}
                line.one x1="0" y1=(SIDE) x2=(SIDE) y2="0" {}
                @for peak in peaks {
                    @let (x, y) = (scale(peak.predicted_bytes), SIDE - scale(peak.measured_bytes));
                    circle.point cx=(x) cy=(y) r="3" {
                        title { (peak.rung) }
                    }
                }
                text x=(SIDE) y=(SIDE + 16.0) text-anchor="end" {
                    (words.predicted) " " (memory_of(most))
                }
                text x="4" y="10" { (words.measured) " " (memory_of(most)) }
            }
        }
        p { (words.measured) " / " (words.predicted) " ≤ " strong { (format!("{highest:.3}")) } }
        (peaks_by_rung(words, peaks))
    }
}

/// The same as a table: of each rung its highest peaks.
fn peaks_by_rung(words: &Words, peaks: &[PeakRow]) -> Markup {
    let mut rungs: BTreeMap<&str, Vec<&PeakRow>> = BTreeMap::new();
    for peak in peaks {
        rungs.entry(&peak.rung).or_default().push(peak);
    }
    let mut rungs: Vec<_> = rungs.into_iter().collect();
    rungs.sort_by_key(|(_, peaks)| Reverse(peaks.len()));
    let most = |peaks: &[&PeakRow], of: fn(&PeakRow) -> i64| {
        memory_of(peaks.iter().map(|peak| of(peak)).max().unwrap_or_default())
    };
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.rung) } th.number { (words.pictures_column) }
                th.number { (words.predicted) } th.number { (words.measured) }
            } }
            tbody { @for (rung, peaks) in rungs.iter().take(RUNGS_MAX) { tr {
                (told(words.rung, rung))
                (number(words.pictures_column, peaks.len()))
                (number(words.predicted, most(peaks, |peak| peak.predicted_bytes)))
                (number(words.measured, most(peaks, |peak| peak.measured_bytes)))
            } } }
        } }
    }
}

fn memory_of(bytes: i64) -> String {
    spelling::memory(bytes.unsigned_abs())
}

fn falls_told(words: &Words, falls: &[Fall]) -> Markup {
    if falls.is_empty() {
        return html! { p.quiet { (words.no_falls) } };
    }
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.ended) } th { (words.job) } th { (words.rung) } th { (words.stage) }
                th.number { (words.asked_bytes) } th.number { (words.seconds) }
                th { (words.next_rung) } th { (words.outcome) }
            } }
            tbody { @for fall in falls { tr {
                (told(words.ended, moment::date_and_time(fall.at_ms)))
                (told(words.job, picture_link(fall.job, fall.picture)))
                (told(words.rung, &fall.rung))
                (told(words.stage, fall.stage.map(|stage| words.stage(stage)).unwrap_or_default()))
                (number(words.asked_bytes, fall.requested_bytes.map(memory_of).unwrap_or_default()))
                (number(words.seconds, format_args!("{:.2}", fall.total_ms as f64 / 1000.0)))
                (told(words.next_rung, fall.next_rung.as_deref().unwrap_or("–")))
                (told(words.outcome, words.state(fall.state, false)))
            } } }
        } }
    }
}
