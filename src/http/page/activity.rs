//! What the daemon is doing, and what keeps it from going on, with what to do about it.

use maud::{Markup, html};

use super::grid::picture_link;
use super::words::Words;
use crate::ladder::Stage;
use crate::spelling;
use crate::status::{HeldModel, RenderStatus, Status, WorkerStatus};
use crate::store::Pause;

/// What is rendered, or how the worker is.
pub fn doing(words: &Words, status: &Status) -> Markup {
    match &status.render {
        Some(render) => rendering(words, render),
        None => html! { span { (worker(words, &status.worker)) } },
    }
}

fn rendering(words: &Words, render: &RenderStatus) -> Markup {
    let RenderStatus { job_id, index, step, steps, .. } = render;
    let stage = render.stage.map(|stage| words.stage(stage));
    html! {
        span { (words.rendering) " " (picture_link(*job_id, i64::from(*index))) }
        progress max=(steps) value=(step) aria-label=(words.step) {}
        span { (words.step) " " (step) "/" (steps) @if let Some(stage) = stage { " · " (stage) } }
    }
}

/// The stages of a picture, with the one that it is in.
pub fn stages(words: &Words, render: &RenderStatus) -> Markup {
    const STAGES: [Stage; 4] =
        [Stage::TextEncode, Stage::Denoise, Stage::VaeDecode, Stage::PictureEncode];
    let now = STAGES.iter().position(|stage| render.stage == Some(*stage));
    html! {
        ol.stages {
            @for (place, stage) in STAGES.into_iter().enumerate() {
                @let is_past = now.is_some_and(|now| place < now);
                li.past[is_past] aria-current=[(now == Some(place)).then_some("step")] {
                    (words.stage(stage))
                }
            }
        }
    }
}

/// What the model takes of the device's memory now, against what the picture is expected to need.
pub fn memory_now(words: &Words, status: &Status, render: &RenderStatus) -> Markup {
    let WorkerStatus::Ready { used_bytes, .. } = status.worker else { return html! {} };
    let predicted_bytes = render.predicted_bytes;
    html! {
        @if predicted_bytes > 0 {
            p.quiet {
                (words.used) ": " (spelling::memory(used_bytes)) " · "
                (words.predicted) ": " (spelling::memory(predicted_bytes))
                meter min="0" max=(predicted_bytes) value=(used_bytes) aria-label=(words.used) {}
            }
        }
    }
}

fn worker(words: &Words, worker: &WorkerStatus) -> Markup {
    match worker {
        WorkerStatus::Loading => html! { (words.loading) },
        WorkerStatus::Ready { device, .. } => html! { (words.idle) " · " (device) },
        WorkerStatus::Released => html! { (words.released) },
        WorkerStatus::Down { reason, end } => html! {
            (words.no_worker) ": " (short_reason(words, words.worker_end(*end), reason))
        },
    }
}

/// On one line: the sentence in the page's language, or the reason where that is English.
pub fn short_reason(words: &Words, sentence: Option<&str>, reason: &str) -> Markup {
    match sentence {
        Some(sentence) => html! { span title=(reason) { (sentence) } },
        None => words.in_english(reason),
    }
}

/// Why nothing is started, or not all of it, each with what ends that.
pub fn obstacles(words: &Words, status: &Status, paused: Option<&Pause>) -> Markup {
    let hold = if status.hold_is_wanted { words.rest_hint } else { words.hold_hint };
    html! {
        @if let Some(Pause { reason, .. }) = paused {
            (obstacle(words.paused, &html! { (reason) }, words.paused_hint))
        }
        @if let Some(reason) = &status.hold {
            (obstacle(words.held, &why(words, words.hold(status.hold_kind), reason), hold))
        }
        @if let WorkerStatus::Down { reason, end } = &status.worker {
            (obstacle(words.no_worker, &why(words, words.worker_end(*end), reason), words.down_hint))
        }
        @for HeldModel { model, reason, trouble } in &status.held_models {
            @let why = why(words, words.model_trouble(*trouble), reason);
            (obstacle(words.model, &html! { (model) ": " (why) }, words.model_hint))
        }
    }
}

/// The sentence in the page's language, where that is not English, and the message.
fn why(words: &Words, sentence: Option<&str>, reason: &str) -> Markup {
    html! {
        @if let Some(sentence) = sentence { (sentence) br; }
        (words.in_english(reason))
    }
}

fn obstacle(what: &str, why: &Markup, hint: &str) -> Markup {
    html! { p.warn { strong { (what) } ": " (why) br; span.quiet { (hint) } } }
}
