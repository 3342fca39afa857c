//! What is said of a job before it is sent: its mistakes, what is hardly meant, how it would be
//! rendered on this device, how long it takes.

use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::form::JobForm;
use super::visitor::OurAddress;
use super::words::Words;
use crate::job::hints::prompt::ForeignSyntax;
use crate::job::warning::Warning;
use crate::moment;
use crate::problem::Problem;
use crate::queue::{
    CheckedJob, FitAnswer, FitQuestion, JobMistakes, PromptLength, QueueError, beginning, fit,
    longest_prompt,
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
    length: Option<PromptLength>,
}

/// What is to be said of the job in the form.
pub async fn advice(app: &App, form: &JobForm) -> Result<Advice, HttpProblem> {
    let asked = form.job()?;
    let job = match app.queue().check_api_job(&asked).await {
        Ok(job) => job,
        Err(QueueError::Mistakes(mut mistakes)) => {
            // Whoever has not come to the prompt yet knows that it is missing.
            let is_told = |problem: &Problem| problem.key.as_deref() != Some("prompt");
            mistakes.problems.retain(|problem| form.has_prompt() || is_told(problem));
            return Ok(Advice::of_mistakes(mistakes));
        }
        Err(error) => return Err(error.into()),
    };
    let fit = match job.resolved.job.renders.first() {
        Some(render) => {
            let question = FitQuestion {
                size: Some((render.width, render.height)),
                guided: render.recipe.is_guided(),
                from_picture: render.recipe.begins_with_picture(),
                precision: Some(render.precision),
                ..FitQuestion::default()
            };
            let config = app.config().with_model(&render.model);
            let config = config.as_ref().unwrap_or(app.config());
            // Before a device was used nothing is known of it.
            fit(config, Some(app.store()), &question).await.ok()
        }
        None => None,
    };
    let length = length(app, &job).await;
    Ok(Advice { mistakes: Vec::new(), text: Some(asked.text), job: Some(job), fit, length })
}

/// It may read the model's tokenizer.
async fn length(app: &App, job: &CheckedJob) -> Option<PromptLength> {
    let (config, renders) = (app.config().clone(), job.resolved.job.renders.clone());
    tokio::task::spawn_blocking(move || longest_prompt(&config, &renders)).await.ok()?
}

impl Advice {
    pub fn of_mistakes(mistakes: JobMistakes) -> Advice {
        Advice { mistakes: mistakes.problems, ..Advice::default() }
    }

    pub fn shown(&self, words: &Words, address: &OurAddress) -> Markup {
        html! {
            h2 { (words.before_sending) }
            @if !self.mistakes.is_empty() { (mistakes(words, &self.mistakes)) }
            @if let Some(length) = &self.length { (length_of_prompt(words, length)) }
            @if let Some(job) = &self.job {
                (work(words, job))
                @match &self.fit {
                    Some(fit) => (fitting(words, fit)),
                    None => p.quiet { (words.no_device_yet) },
                }
                @for warning in &job.warnings { (hardly_meant(words, warning)) }
            }
            @if let Some(text) = &self.text { (copies(words, text, address)) }
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
                (message) @if let Some(help) = help { "; " (help) }
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
                ", " (words.takes) " " (moment::estimated(expected.work_ms.unsigned_abs()))
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
            dt { (words.peak) } dd { (words.needs) " " (needs) " · " (words.of_usable) " " (usable) }
        }
        meter min="0" max=(fit.usable_bytes.max(1)) value=(peak_bytes) aria-label=(words.peak) {}
        @if !fit.fits() {
            p.bad { (words.does_not_fit) }
        } @else if fit.is_degraded() {
            p.warn { (words.made_smaller) " " (fit.rung.width) "×" (fit.rung.height) }
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
            (warning)
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
