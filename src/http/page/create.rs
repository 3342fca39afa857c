//! The form that makes a job, and what is said of it before it is sent.

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use serde_json::{Value, json};

use super::super::app::App;
use super::super::body::{self, PICTURES_BYTES_MAX};
use super::super::problem::HttpProblem;
use super::advice::{Advice, advice};
use super::assets;
use super::form::{Entries, JobForm};
use super::gallery::newest;
use super::layout::{PageKind, page};
use super::visitor::{OurAddress, Visitor};
use super::words::Words;
use crate::config::Config;
use crate::job::Render;
use crate::output::{self, FoundSettings};
use crate::queue::QueueError;

/// The name of something in the visitor's language.
type Name = fn(&Words) -> &'static str;

/// The sizes that the model's usual interface offers, in its order: pixels.
const PRESETS: [(u32, u32, Name); 5] = [
    (512, 512, |words| words.small_square),
    (768, 768, |words| words.medium_square),
    (1024, 1024, |words| words.large_square),
    (1024, 576, |words| words.landscape),
    (576, 1024, |words| words.portrait),
];

/// The empty form, or with what its address says: so settings are used again.
pub async fn create(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    Query(entries): Query<Entries>,
) -> Result<Markup, HttpProblem> {
    let form = JobForm::new(entries);
    let advice = advice(&app, &form).await?;
    shown(&app, visitor, &form, advice.shown(visitor.words, &address)).await
}

/// Takes the job in; where it has mistakes, the form again, with them.
pub async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    axum::Form(entries): axum::Form<Entries>,
) -> Result<Response, HttpProblem> {
    let form = JobForm::new(entries);
    match app.queue().take_api_job(&form.job()?).await {
        Ok(_) => Ok(Redirect::to("queue").into_response()),
        Err(QueueError::Mistakes(mistakes)) => {
            let advice = Advice::of_mistakes(mistakes);
            Ok(shown(&app, visitor, &form, advice.shown(visitor.words, &address))
                .await?
                .into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// What would be said of the form if it were sent.
pub async fn live_advice(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    axum::Form(entries): axum::Form<Entries>,
) -> Result<Markup, HttpProblem> {
    let form = JobForm::new(entries);
    let advice = advice(&app, &form).await?;
    Ok(advice.shown(visitor.words, &address))
}

/// What a picture says of how it was made, as fields of the form.
pub async fn settings_of_picture(request: Request) -> Result<Json<Value>, HttpProblem> {
    let content = body::whole(request.into_body(), PICTURES_BYTES_MAX).await?;
    let found = tokio::task::spawn_blocking(move || output::settings_in(&content)).await;
    let found = found.map_err(|error| HttpProblem::ours(error.to_string()))?;
    let none = || HttpProblem::bad("the picture does not say how it was made");
    let FoundSettings { prompt, negative_prompt, width, height, steps, seed, guidance, .. } =
        found.ok_or_else(none)?;
    Ok(Json(json!({
        "prompt": prompt, "negative_prompt": negative_prompt, "width": width, "height": height,
        "steps": steps, "seed": seed, "guidance": guidance,
    })))
}

async fn shown(
    app: &App,
    visitor: Visitor,
    form: &JobForm,
    advice: Markup,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let models = models(app.config());
    let config = app.config().with_model(form.get("model"));
    let config = config.as_ref().unwrap_or(app.config());
    let defaults = config.job_rules().map_err(QueueError::from)?.defaults;
    let content = html! {
        h1 { (words.create) }
        form.sides method="post" action="./" data-check="create/check" {
            div.card {
                (prompt_fields(words, form))
                @if !models.is_empty() { (choice("model", words.model, form, &models)) }
                (size_fields(words, form, &defaults))
                (usual_fields(words, form, &defaults))
                (more_fields(words, form, &defaults))
                p.row {
                    button.main-action type="submit" { (words.submit) }
                    span.quiet { "Ctrl+Enter" }
                }
            }
            section.card #advice aria-live="polite" aria-label=(words.before_sending) {
                (advice)
            }
        }
        section {
            h2 { (words.newest) }
            div data-live="live/newest" { (newest(app, words).await?) }
        }
        script type="module" src=(assets::CREATE.address()) {}
    };
    page(app, visitor, PageKind::Create, content).await
}

fn prompt_fields(words: &Words, form: &JobForm) -> Markup {
    html! {
        div.field {
            label for="prompt" { (words.prompt) }
            textarea #prompt name="prompt" required autofocus placeholder=(words.prompt_hint) {
                (form.get("prompt"))
            }
        }
        (tick("one_a_line", words.one_a_line, form))
        div.field.by-script {
            label for="picture" { (words.from_picture) }
            input #picture type="file" accept="image/png,image/jpeg,image/webp" data-settings="create/picture";
            small #picture-said role="status" { (words.from_picture_hint) }
        }
        div.field {
            label for="negative_prompt" { (words.negative_prompt) }
            input #negative_prompt name="negative_prompt" value=(form.get("negative_prompt"));
            small { (words.negative_hint) }
        }
    }
}

fn size_fields(words: &Words, form: &JobForm, defaults: &Render) -> Markup {
    html! {
        fieldset {
            legend { (words.size) }
            div.presets {
                @for (width, height, name) in own_size(defaults).into_iter().chain(PRESETS) {
                    button type="button" data-width=(width) data-height=(height) aria-pressed="false" {
                        (name(words)) small { (width) "×" (height) }
                    }
                }
            }
            div.fields {
                (number("width", words.width, form, defaults.width))
                (number("height", words.height, form, defaults.height))
            }
        }
    }
}

/// The size that is made where none is said, unless it is one of [`PRESETS`].
fn own_size(defaults: &Render) -> Option<(u32, u32, Name)> {
    let Render { width, height, .. } = *defaults;
    let is_preset = PRESETS.iter().any(|preset| (preset.0, preset.1) == (width, height));
    (!is_preset).then_some((width, height, |words| words.own_size))
}

fn usual_fields(words: &Words, form: &JobForm, defaults: &Render) -> Markup {
    html! {
        div.fields {
            (number("steps", words.steps, form, defaults.steps))
            (number("guidance", words.guidance, form, defaults.recipe.guidance))
            (text("seed", words.seed, form, words.random))
            (number("num_images", words.count, form, 1))
        }
        p.quiet { (words.turbo_hint) }
    }
}

fn more_fields(words: &Words, form: &JobForm, defaults: &Render) -> Markup {
    let ladder = [("downgrade", words.downgrade), ("offload", words.offload), ("fail", words.fail)];
    let precisions =
        [("", words.as_configured), ("full", words.full_precision), ("int8", words.int8)];
    let formats = ["png", "jpeg", "webp"].map(|format| (format, format));
    html! {
        details open[form.has_more()] {
            summary { (words.advanced) }
            div.fields {
                (number("priority", words.priority, form, 0))
                (text("not_before", words.not_before, form, words.time_hint))
                (text("not_after", words.not_after, form, words.time_hint))
                (text("tags", words.tags, form, words.tags_hint))
                (choice("on_oom", words.on_oom, form, &ladder))
                (number("min_side", words.min_side, form, defaults.min_side))
                (number("min_steps", words.min_steps, form, defaults.min_steps))
                (choice("precision", words.precision, form, &precisions))
                (choice("format", words.format, form, &formats))
                (text("output", words.output, form, &defaults.output))
            }
            (tick("wildcards", words.wildcards, form))
        }
    }
}

/// A field for a number; left empty it is `default`, which stands in it in grey.
fn number(key: &str, label: &str, form: &JobForm, default: impl std::fmt::Display) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            input id=(key) name=(key) inputmode="decimal" autocomplete="off" value=(form.get(key))
                placeholder=(default);
        }
    }
}

fn text(key: &str, label: &str, form: &JobForm, hint: &str) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            input id=(key) name=(key) autocomplete="off" value=(form.get(key)) placeholder=(hint);
        }
    }
}

/// What jobs call each model, and what people do; the first is that of a job which says nothing.
/// None where there is nothing to choose.
fn models(config: &Config) -> Vec<(String, String)> {
    if config.models.is_empty() {
        return Vec::new();
    }
    let shown = |name: &str| {
        let own = config.with_model(name).and_then(|config| config.describe_model().ok());
        let own = own.map_or("[model]".to_owned(), |description| description.name);
        let shown = if name.is_empty() { own } else { format!("{name} ({own})") };
        (name.to_owned(), shown)
    };
    config.model_names().map(shown).collect()
}

fn choice<T: AsRef<str>>(key: &str, label: &str, form: &JobForm, choices: &[(T, T)]) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            select id=(key) name=(key) {
                @for (value, name) in choices {
                    option value=(value.as_ref()) selected[form.get(key) == value.as_ref()] {
                        (name.as_ref())
                    }
                }
            }
        }
    }
}

fn tick(key: &str, label: &str, form: &JobForm) -> Markup {
    html! {
        label.tick {
            input type="checkbox" name=(key) value="true" checked[form.get(key) == "true"];
            (label)
        }
    }
}
