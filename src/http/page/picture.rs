//! All about one picture: what was asked for, what was made, how, and how long it took.

use axum::extract::{Query, State};
use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::grid::{PictureAddress, star};
use super::layout::{PageKind, button, page};
use super::table::{cell, number};
use super::visitor::Visitor;
use super::words::Words;
use super::{assets, failures};
use crate::job::lora::{self, Lora};
use crate::job::state::State as RenderState;
use crate::moment;
use crate::queue::{Shown, card_use};
use crate::spelling;
use crate::store::{AttemptRow, HistoryRow, PictureFilter};

pub async fn picture(
    State(app): State<App>,
    visitor: Visitor,
    Query(of): Query<PictureAddress>,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let shown = app.queue().show(of.selection(), &PictureFilter::default()).await?;
    let Shown { job, pictures, attempts, .. } = &shown;
    let [picture] = pictures.as_slice() else {
        return Err(HttpProblem::not_found("there is no such picture"));
    };
    let content = html! {
        h1 {
            (words.job) " " (of.job) "." (of.n) " "
            span.badge { (words.state(picture.state, picture.stopping)) }
        }
        p.row { (neighbours(words, of, job.renders)) }
        div.sides {
            div.card { (image(words, picture)) p { (picture.prompt) } (actions(words, picture)) }
            div {
                section.card { (facts(words, picture)) }
                section.card { h2 { (words.stages_title) } (seconds(words, picture, attempts.last())) }
            }
        }
        section.card { h2 { (words.attempts) } (tries(words, attempts)) }
        form #stars method="post" {}
        script type="module" src=(assets::GALLERY.address()) {}
    };
    page(&app, visitor, PageKind::Gallery, content).await
}

fn neighbours(words: &Words, of: PictureAddress, renders: i64) -> Markup {
    let address = |n: u32| format!("picture?job={}&n={n}", of.job);
    html! {
        @if of.n > 1 { a.button href=(address(of.n - 1)) rel="prev" { "← " (words.previous) } }
        @if i64::from(of.n) < renders {
            a.button href=(address(of.n + 1)) rel="next" { (words.next) " →" }
        }
        @if of.n > 1 {
            a href={ "compare?a=" (of.job) "." (of.n - 1) "&b=" (of.job) "." (of.n) } {
                (words.compare)
            }
        }
        a href={ "gallery?job=" (of.job) } { (words.job) " " (of.job) }
    }
}

fn image(words: &Words, picture: &HistoryRow) -> Markup {
    let HistoryRow { job, picture: n, prompt, width, height, path, .. } = picture;
    let address = format!("file?job={job}&n={n}");
    html! {
        @if path.is_some() {
            a href=(address) {
                img.whole src=(address) alt=(prompt) width=[*width] height=[*height];
            }
            p { a.button href=(address) download="" { (words.download) } }
        }
        @if let Some(reason) = &picture.cancel_reason {
            p.warn { (words.cancelled) ": " (words.in_english(reason)) }
        }
        @if picture.error.is_some() { p.bad { (failures::why(words, picture)) } }
    }
}

fn actions(words: &Words, picture: &HistoryRow) -> Markup {
    let id = [("id", format!("{}.{}", picture.job, picture.picture))];
    html! {
        p.row {
            a.button href=(again(picture)) { (words.use_again) }
            a.button href={ "api/v1/renders/" (id[0].1) "/settings.toml" } { (words.as_toml) }
            @if picture.state == RenderState::Done { (star(words, picture)) }
            @match picture.state {
                RenderState::Queued | RenderState::Running => (button("cancel", words.cancel, &id)),
                RenderState::Failed | RenderState::Cancelled => (button("retry", words.retry, &id)),
                RenderState::Done => {}
            }
        }
    }
}

/// The form with these settings in it.
fn again(picture: &HistoryRow) -> String {
    let HistoryRow { prompt, asked_prompt, negative_prompt, .. } = picture;
    let wildcards = if asked_prompt.is_some() { "true" } else { "" };
    let asked = asked_prompt.as_ref().unwrap_or(prompt);
    let (_, named) = lora::take_tags(asked).unwrap_or_default();
    let is_named = |lora: &&Lora| named.0.iter().any(|named| named.name == lora.name);
    let others = picture.lora.0.iter().filter(|lora| !is_named(lora));
    let prompt = asked.clone() + &others.map(|lora| format!(" <lora:{lora}>")).collect::<String>();
    let strength = match picture.init_image.as_str() {
        "" => String::new(),
        _ => picture.strength.to_string(),
    };
    let entries = [
        ("prompt", prompt),
        ("model", picture.model_key.clone()),
        ("negative_prompt", negative_prompt.clone()),
        ("width", picture.asked_width.to_string()),
        ("height", picture.asked_height.to_string()),
        ("steps", picture.asked_steps.to_string()),
        ("guidance", picture.guidance.to_string()),
        ("seed", picture.seed.to_string()),
        ("sampler", picture.sampler.word().to_owned()),
        ("precision", picture.precision.word().to_owned()),
        ("init_image", picture.init_image.clone()),
        ("mask", picture.mask.clone()),
        ("strength", strength),
        ("wildcards", wildcards.to_owned()),
    ];
    let entries = entries.into_iter().filter(|(_, value)| !value.is_empty());
    let entries: Vec<_> = entries.collect();
    format!("./?{}", serde_urlencoded::to_string(entries).unwrap_or_default())
}

fn facts(words: &Words, picture: &HistoryRow) -> Markup {
    let size = |width: i64, height: i64, steps: i64| {
        format!("{width}×{height}, {steps} {}", words.of_steps)
    };
    let made = picture.width.zip(picture.height).zip(picture.steps);
    let made = made.map(|((width, height), steps)| size(width, height, steps));
    let asked = size(picture.asked_width, picture.asked_height, picture.asked_steps);
    let rows = [
        (words.asked, Some(asked)),
        (words.made, made),
        (words.seed, Some(picture.seed.to_string())),
        (words.guidance, Some(picture.guidance.to_string())),
        (words.negative_prompt, Some(picture.negative_prompt.clone())),
        (words.rung, picture.rung.clone()),
        (words.peak, picture.took_bytes().map(spelling::memory)),
        (words.model, picture.model.clone()),
        (words.model_hash, picture.model_hash.clone()),
        (words.device, picture.device.clone()),
        (words.card, card_use(picture)),
        (words.ended, picture.finished_at_ms.map(moment::date_and_time)),
        (words.file, picture.path.clone()),
        ("SHA-256", picture.sha256.clone()),
    ];
    html! {
        dl {
            @for (name, value) in rows {
                @if let Some(value) = value.filter(|value| !value.is_empty()) {
                    dt { (name) } dd { (value) }
                }
            }
        }
    }
}

/// How the time of the last try was spent, stage by stage, and the most memory that each had.
fn seconds(words: &Words, picture: &HistoryRow, last: Option<&AttemptRow>) -> Markup {
    let stages = [
        (words.text_encoding, picture.text_encode_s, last.map(|last| last.text_encode_bytes)),
        (words.denoising, picture.denoise_s, last.map(|last| last.denoise_bytes)),
        (words.decoding, picture.vae_decode_s, last.map(|last| last.vae_decode_bytes)),
        (words.writing, picture.picture_encode_s, None),
    ];
    let peak = |bytes: Option<i64>| {
        let bytes = bytes.filter(|bytes| *bytes > 0);
        bytes.map(|bytes| spelling::memory(bytes.unsigned_abs())).unwrap_or_default()
    };
    let total = picture.took_s();
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.stage) } th {} th.number { (words.seconds) } th.number { (words.peak) }
            } }
            tbody {
                @for (name, seconds, bytes) in stages {
                    @if let Some(seconds) = seconds {
                        tr {
                            (cell(words.stage, name))
                            td { meter min="0" max=(total.unwrap_or(1.0)) value=(seconds)
                                aria-label=(name) {} }
                            (number(words.seconds, format_args!("{seconds:.2}")))
                            (number(words.peak, peak(bytes)))
                        }
                    }
                }
                @if let Some(total) = total {
                    tr {
                        (cell(words.stage, "Σ"))
                        td {}
                        (number(words.seconds, format_args!("{total:.2}")))
                        td {}
                    }
                }
            }
        } }
    }
}

fn tries(words: &Words, attempts: &[AttemptRow]) -> Markup {
    html! {
        div.scroll { table.cards {
            thead { tr {
                th.number { "#" } th { (words.outcome) } th { (words.rung) } th { (words.stage) }
                th.number { (words.seconds) } th.number { (words.peak) } th { (words.message) }
            } }
            tbody { @for attempt in attempts { tr {
                (number("#", attempt.number))
                (cell(words.outcome, words.outcome(attempt.outcome)))
                (cell(words.rung, &attempt.rung))
                @let stage = attempt.stage.map(|stage| words.stage(stage));
                (cell(words.stage, stage.unwrap_or_default()))
                @let took_s = attempt.took_s().map(|seconds| format!("{seconds:.2}"));
                @let unknown = attempt.took_unknown().then(|| words.unknown.to_owned());
                (number(words.seconds, took_s.or(unknown).unwrap_or_default()))
                @let peak = attempt.took_bytes().map(spelling::memory);
                (number(words.peak, peak.unwrap_or_default()))
                @let message = attempt.message.as_ref().map(|message| words.in_english(message));
                (cell(words.message, message.unwrap_or_default()))
            } } }
        } }
    }
}
