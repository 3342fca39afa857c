//! What is said of a job before it is sent: its mistakes, what is hardly meant, how it would be
//! rendered on this device, how long it takes.

use maud::{Markup, html};

use super::super::app::App;
use super::super::blocking::blocking;
use super::super::problem::HttpProblem;
use super::fields::{preset_sizes, size_forecast};
use super::form::JobForm;
use super::visitor::OurAddress;
use super::words::Words;
use crate::job::Render;
use crate::job::hints::prompt::ForeignSyntax;
use crate::job::warning::Warning;
use crate::moment;
use crate::problem::Problem;
use crate::queue::{
    CheckedJob, FitAnswer, Forecast, JobMistakes, LeastMemory, PromptLength, QueueError,
    SizeForecast, beginning, forecast, longest_prompt,
};
use crate::spelling;

/// Nothing, while there is nothing to say anything of.
#[derive(Default)]
pub struct Advice {
    mistakes: Vec<Problem>,
    /// The job's text, where nothing is wrong.
    text: Option<String>,
    job: Option<CheckedJob>,
    fit: Option<FitAnswer>,
    /// The same in the sizes that the form offers.
    sizes: Vec<SizeForecast>,
    /// The first and the last one, where they are not drawn when the job is taken in.
    seeds: Option<(u64, u64)>,
    length: Option<PromptLength>,
}

/// What is to be said of the job in the form.
pub async fn advice(app: &App, form: &JobForm) -> Result<Advice, HttpProblem> {
    let asked = form.job()?;
    let job = match form.with_mistakes(app.queue().check_api_job(&asked).await) {
        Ok(job) => job,
        Err(QueueError::Mistakes(mut mistakes)) => {
            // Whoever has not come to the prompt yet knows that it is missing.
            let is_told = |problem: &Problem| problem.key.as_deref() != Some("prompt");
            mistakes.problems.retain(|problem| form.has_prompt() || is_told(problem));
            return Ok(Advice::of_mistakes(app, form, mistakes).await);
        }
        Err(error) => return Err(error.into()),
    };
    let Forecast { fit, sizes } = foreseen(app, form, job.resolved.job.renders.first()).await;
    let seeds = seeds(form, &job);
    let length = length(app, &job).await;
    let (text, job) = (Some(asked.text), Some(job));
    Ok(Advice { mistakes: Vec::new(), text, job, fit, sizes, seeds, length })
}

/// What becomes of the render in the form on this device, or of the usual one while there is none.
async fn foreseen(app: &App, form: &JobForm, render: Option<&Render>) -> Forecast {
    let config = app.config().with_model(form.get("model"));
    let config = config.as_ref().unwrap_or(app.config());
    let asked = config.clone();
    let Ok(Ok(rules)) = blocking(move || asked.job_rules()).await else {
        return Forecast::default();
    };
    let render = render.unwrap_or(&rules.defaults);
    forecast(config, app.store(), render, &preset_sizes(&rules.defaults)).await
}

/// Negative ones are drawn anew when the job is sent.
fn seeds(form: &JobForm, job: &CheckedJob) -> Option<(u64, u64)> {
    let is_said = form.get("seed").parse::<u64>().is_ok();
    let seeds = || job.resolved.job.renders.iter().map(|render| render.recipe.seed);
    if is_said { seeds().min().zip(seeds().max()) } else { None }
}

/// It may read the model's tokenizer.
async fn length(app: &App, job: &CheckedJob) -> Option<PromptLength> {
    let (config, renders) = (app.config().clone(), job.resolved.job.renders.clone());
    blocking(move || longest_prompt(&config, &renders)).await.ok()?
}

impl Advice {
    pub async fn of_mistakes(app: &App, form: &JobForm, mistakes: JobMistakes) -> Advice {
        let Forecast { sizes, .. } = foreseen(app, form, None).await;
        Advice { mistakes: mistakes.problems, sizes, ..Advice::default() }
    }

    /// For the buttons that offer them.
    pub fn sizes(&self) -> &[SizeForecast] {
        &self.sizes
    }

    pub fn shown(&self, words: &Words, address: &OurAddress) -> Markup {
        html! {
            h2 { (words.before_sending) }
            @if !self.mistakes.is_empty() { (mistakes(words, &self.mistakes)) }
            @if let Some(length) = &self.length { (length_of_prompt(words, length)) }
            @if let Some(job) = &self.job {
                (work(words, job))
                @if let Some((first, last)) = self.seeds {
                    p { (words.seed) ": " (first) @if last > first { " – " (last) } }
                }
                @match &self.fit {
                    Some(fit) => (fitting(words, fit)),
                    None => p.quiet { (words.no_device_yet) },
                }
                @for warning in &job.warnings { (hardly_meant(words, warning)) }
            }
            @if let Some(text) = &self.text { (copies(words, text, address)) }
            // A script brings them to the buttons, which have them without one.
            div hidden { @for size in &self.sizes { (size_forecast(words, size)) } }
        }
    }
}

/// With a script it stands at the prompt itself.
fn length_of_prompt(words: &Words, length: &PromptLength) -> Markup {
    let PromptLength { tokens, tokens_max, unread } = length;
    html! {
        p #prompt-length {
            (words.tokens) ": " (tokens) " " (words.tokens_of) " " (tokens_max)
            @if !unread.is_empty() {
                br; span.warn { (words.unread) ": " q { (beginning(unread)) } }
            }
        }
    }
}

/// Each with its field, which the page marks.
fn mistakes(words: &Words, problems: &[Problem]) -> Markup {
    html! {
        p.bad { strong { (words.mend) } }
        ul { @for Problem { key, message, help, .. } in problems {
            li.bad data-key=[key.as_ref()] {
                @if let Some(field) = words.wrong_field(key.as_deref()) { (field) br; }
                @if let Some(right) = words.right(key.as_deref()) { (right) br; }
                span lang="en" { (message) @if let Some(help) = help { "; " (help) } }
            }
        } }
    }
}

fn work(words: &Words, job: &CheckedJob) -> Markup {
    let expected = job.expected.as_ref();
    let pictures = job.resolved.job.renders.len() as u64;
    html! {
        p {
            strong { (words.count_of_pictures(pictures)) }
            @if let Some(expected) = expected {
                ", " (words.takes) " " (words.units.estimated(expected.work_ms.unsigned_abs()))
                @if expected.is_estimate { " (" (words.estimated) ")" }
                @if let Some(at_ms) = expected.done_at_ms {
                    ", " (words.done_at) " " (moment::soon(at_ms))
                }
            }
        }
    }
}

fn fitting(words: &Words, fit: &FitAnswer) -> Markup {
    let peak_bytes = fit.prediction.peak_bytes();
    let (needs, usable) = (spelling::memory(peak_bytes), spelling::memory(fit.usable_bytes));
    html! {
        dl {
            dt { (words.model) } dd { (fit.model) }
            dt { (words.rung) } dd { (fit.rung) }
            dt { (words.peak) }
            dd { (words.needs) " " (needs) " · " (words.of_usable) " " (usable) }
        }
        meter min="0" max=(fit.usable_bytes.max(1)) value=(peak_bytes) aria-label=(words.peak) {}
        @if !fit.fits() {
            p.bad { (words.does_not_fit) }
        } @else if fit.is_degraded() {
            p.warn {
                (words.made_smaller) " " (fit.rung.width) "×" (fit.rung.height)
                @if let Some(LeastMemory { usable_bytes, .. }) = fit.as_asked {
                    " (" (fit.width) "×" (fit.height) ": " (words.needs) " "
                    (spelling::memory(usable_bytes)) ")"
                }
            }
        } @else {
            p.good { (words.as_asked) }
        }
        @if fit.miniature { p.warn { (words.miniature) } }
    }
}

/// What warns of wildcards names a key of job files, which is a tick box here.
fn hardly_meant(words: &Words, warning: &Warning) -> Markup {
    let is_ticked = matches!(
        warning,
        Warning::ForeignSyntax {
            syntax: ForeignSyntax::Wildcard | ForeignSyntax::Alternatives,
            ..
        }
    );
    html! {
        p.warn {
            @if let Some(sentence) = words.warning(warning) { (sentence) br; }
            (words.in_english(warning))
            @if is_ticked {
                ". " (words.tick_here) ": " strong { (words.advanced) " → " (words.wildcards) }
            }
        }
    }
}

/// The same job for a file and for a program.
fn copies(words: &Words, text: &str, OurAddress(address): &OurAddress) -> Markup {
    html! {
        details { summary { (words.as_toml) } pre { code { (text) } } }
        details {
            summary { (words.as_command) }
            pre { code {
                "curl -H 'Content-Type: application/toml' --data-binary @- "
                (address) "/api/v1/jobs <<'END'\n" (text) "END"
            } }
        }
    }
}
