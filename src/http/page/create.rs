//! The form that makes a job, and what is said of it before it is sent.

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::blocking::blocking;
use super::super::body::{self, PICTURES_BYTES_MAX};
use super::super::problem::HttpProblem;
use super::advice::{Advice, advice};
use super::assets;
use super::fields::{FormChoices, fields, models};
use super::form::{Entries, JobForm};
use super::gallery::newest;
use super::layout::{PageKind, page};
use super::visitor::{OurAddress, Visitor};
use crate::loras;
use crate::output::{self, FoundSettings};
use crate::queue::QueueError;

/// The empty form, or with what its address says: so settings are used again.
pub async fn create(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    Query(entries): Query<Entries>,
) -> Result<Markup, HttpProblem> {
    let form = JobForm::new(entries);
    let advice = advice(&app, &form).await?;
    shown(&app, visitor, &form, &advice, &address).await
}

/// Takes the job in; where it has mistakes, the form again, with them.
pub async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    request: Request,
) -> Result<Response, HttpProblem> {
    let form = JobForm::sent(&app, request).await?;
    let taken = match form.job() {
        Ok(job) if form.mistakes().is_empty() => app.queue().take_api_job(&job).await.map(drop),
        Ok(job) => form.with_mistakes(app.queue().check_api_job(&job).await.map(drop)),
        Err(error) => Err(error),
    };
    match taken {
        Ok(_) => Ok(Redirect::to("queue").into_response()),
        Err(QueueError::Mistakes(mistakes)) => {
            let advice = Advice::of_mistakes(&app, &form, mistakes).await;
            Ok(shown(&app, visitor, &form, &advice, &address).await?.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// What would be said of the form if it were sent.
pub async fn live_advice(
    State(app): State<App>,
    visitor: Visitor,
    address: OurAddress,
    request: Request,
) -> Result<Markup, HttpProblem> {
    let form = JobForm::sent(&app, request).await?;
    let advice = advice(&app, &form).await?;
    Ok(advice.shown(visitor.words, &address))
}

/// What a picture says of how it was made, as fields of the form.
pub async fn settings_of_picture(request: Request) -> Result<Json<Value>, HttpProblem> {
    let content = body::whole(request.into_body(), PICTURES_BYTES_MAX).await?;
    let found = blocking(move || output::settings_in(&content)).await?;
    let none = || HttpProblem::bad("the picture does not say how it was made");
    let FoundSettings { prompt, negative_prompt, width, height, steps, seed, guidance, .. } =
        found.ok_or_else(none)?;
    Ok(Json(json!({
        "prompt": prompt, "negative_prompt": negative_prompt, "width": width, "height": height,
        "steps": steps, "seed": seed, "guidance": guidance,
    })))
}

/// What can be chosen by what the models, and the folder of LoRAs, have.
fn choices(app: &App, model: &str) -> Result<FormChoices, QueueError> {
    let config = app.config().with_model(model);
    let rules = config.as_ref().unwrap_or(app.config()).job_rules()?;
    Ok(FormChoices {
        defaults: rules.defaults,
        granularity: rules.granularity,
        models: models(app.config()),
        samplers: app.queue().capabilities()?.samplers,
        loras: loras::names(&app.config().loras),
    })
}

async fn shown(
    app: &App,
    visitor: Visitor,
    form: &JobForm,
    advice: &Advice,
    address: &OurAddress,
) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let (asked, model) = (app.clone(), form.get("model").to_owned());
    let choices = blocking(move || choices(&asked, &model)).await??;
    let content = html! {
        h1 { (words.create) }
        form.sides method="post" action="./" enctype="multipart/form-data" data-check="create/check"
            data-granularity=(choices.granularity) data-untouched[form.is_untouched()] {
            div.card {
                (fields(words, form, &choices, advice.sizes()))
                p.row {
                    button.main-action type="submit" { (words.submit) }
                    span.quiet { "Ctrl+Enter" }
                    button.by-script type="button" #afresh { (words.afresh) }
                }
            }
            section.card #advice aria-live="polite" aria-label=(words.before_sending) {
                (advice.shown(words, address))
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
