//! What is said of a job before it is sent: its mistakes, what is hardly meant, how it would be
//! rendered on this device, how long it takes.

use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::form::JobForm;
use super::words::Words;
use crate::moment;
use crate::queue::{CheckedJob, FitAnswer, FitQuestion, QueueError, fit, foresee};
use crate::spelling;

/// Nothing, while there is nothing to say anything of.
#[derive(Default)]
pub struct Advice {
    /// What is wrong, line by line.
    mistakes: Vec<String>,
    /// The job's text, where nothing is.
    pub text: Option<String>,
    job: Option<CheckedJob>,
    fit: Option<FitAnswer>,
}

/// What is to be said of the job in the form.
pub async fn advice(app: &App, form: &JobForm) -> Result<Advice, HttpProblem> {
    let (config, wish) = (app.config().clone(), form.wish());
    // Tokenizers and pictures take their time, and others are answered meanwhile.
    let checked = tokio::task::spawn_blocking(move || wish.check(&config)).await;
    let checked = checked.map_err(|error| HttpProblem::ours(error.to_string()))?;
    let mut job = match checked {
        Ok(job) => job,
        Err(error @ (QueueError::WrongWish(_) | QueueError::Mistakes(_))) => {
            let mistakes = error.to_string().lines().map(str::to_owned).collect();
            return Ok(Advice { mistakes, ..Advice::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let foreseen = foresee(app.config(), Some(&app.queue()), [&mut job]).await;
    (job.expected, job.stopped) = (foreseen.expected, foreseen.stopped);
    let fit = match job.resolved.job.renders.first() {
        Some(render) => {
            let question = FitQuestion {
                size: Some((render.width, render.height)),
                guided: render.recipe.is_guided(),
                from_picture: render.recipe.begins_with_picture(),
                ..FitQuestion::default()
            };
            // Before a device was used nothing is known of it.
            fit(app.config(), Some(app.store()), &question).await.ok()
        }
        None => None,
    };
    let text = String::from_utf8_lossy(&job.content).into_owned();
    Ok(Advice { mistakes: Vec::new(), text: Some(text), job: Some(job), fit })
}

impl Advice {
    pub fn shown(&self, words: &Words) -> Markup {
        html! {
            h2 { (words.before_sending) }
            @if !self.mistakes.is_empty() { (mistakes(words, &self.mistakes)) }
            @if let Some(job) = &self.job {
                (work(words, job))
                @match &self.fit {
                    Some(fit) => (fitting(words, fit)),
                    None => p.quiet { (words.no_device_yet) },
                }
                @for warning in &job.warnings { p.warn { (warning) } }
            }
            @if let Some(text) = &self.text { (copies(words, text)) }
        }
    }
}

/// Each names its field first, which the page marks.
fn mistakes(words: &Words, lines: &[String]) -> Markup {
    let key = |line: &str| line.split_once(':').map(|(key, _)| key.to_owned());
    html! {
        p.bad { strong { (words.mend) } }
        ul { @for line in lines { li.bad data-key=[key(line)] { (line) } } }
    }
}

fn work(words: &Words, job: &CheckedJob) -> Markup {
    let expected = job.expected.as_ref();
    html! {
        p {
            strong { (job.resolved.job.renders.len()) " " (words.pictures) }
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

/// The same job for a file and for a program.
fn copies(words: &Words, text: &str) -> Markup {
    html! {
        details { summary { (words.as_toml) } pre { code { (text) } } }
        details {
            summary { (words.as_command) }
            pre { code {
                "curl -H 'Content-Type: application/toml' --data-binary @- http://127.0.0.1:7860/api/v1/jobs <<'END'\n"
                (text) "END"
            } }
        }
    }
}
