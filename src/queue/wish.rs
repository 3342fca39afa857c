//! A job that is put together: prompts of a list, a template, and single keys beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{CheckedJob, JobMistakes, QueueError, check};
use crate::config::Config;
use crate::job::parameters::{Column, PARAMETERS};
use crate::job::spec::prompts::{self, LIST_BYTES_MAX};
use crate::job::spec::{self, template};
use crate::job::warning::Warning;
use crate::problem::{self, Problem, printable};

/// The text of a job may be so long where it is no file: a list of prompts, each of them quoted.
pub(super) const TEXT_BYTES_MAX: u64 = 2 * LIST_BYTES_MAX;

/// What a user asks for without writing a job file.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What the job is called in lists, and by `{name}` in the names of pictures.
    pub name: String,
    /// In place of what the template says, in front of those of the list.
    pub prompts: Vec<String>,
    /// Name and content of a list of prompts.
    pub list: Option<(String, Vec<u8>)>,
    /// Name and content of a job file, for all that is not said otherwise.
    pub template: Option<(String, Vec<u8>)>,
    /// Where files are that the template names.
    pub folder: PathBuf,
    pub given: Vec<Given>,
}

/// One key of a job, with its value as TOML in one line.
#[derive(Clone, Debug)]
pub struct Given {
    key: &'static str,
    /// How the user has given it, for messages.
    pub(super) source: String,
    value: String,
}

impl Given {
    pub fn text(key: &'static str, source: &str, value: &str) -> Given {
        Given { key, source: source.to_owned(), value: template::quoted(value) }
    }

    /// `value` is a number as it is written in TOML.
    pub fn number(key: &'static str, source: &str, value: &str) -> Given {
        Given { key, source: source.to_owned(), value: value.to_owned() }
    }

    /// A value of any key as people write it: a number or a truth stands in the job's text as it
    /// is, where the key takes one, and everything else as a string.
    pub fn option(key: &'static str, source: &str, value: &str) -> Given {
        let parameter = PARAMETERS.iter().find(|parameter| parameter.name == key);
        let is_text = match parameter {
            Some(parameter) => parameter.column == Column::Text,
            None => !matches!(key, "num_images" | "priority" | "wildcards"),
        };
        match !is_text && (is_number(value) || matches!(value, "true" | "false")) {
            true => Given::number(key, source, value),
            false => Given::text(key, source, value),
        }
    }

    pub fn list(key: &'static str, source: &str, values: &[String]) -> Given {
        let values: Vec<String> = values.iter().map(|value| template::quoted(value)).collect();
        Given { key, source: source.to_owned(), value: format!("[{}]", values.join(", ")) }
    }

    /// Whether it takes a time away that the template has.
    fn takes_away(&self) -> bool {
        matches!(self.key, "not_before" | "not_after" | "window") && self.value == "\"none\""
    }

    /// The line of TOML that it is.
    pub(super) fn line(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }
}

fn is_number(value: &str) -> bool {
    let is_plain = value.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    is_plain && (value.parse::<i64>().is_ok() || value.parse::<f64>().is_ok())
}

/// The text of a job, and where its first lines come from.
struct Composed {
    text: String,
    /// Of each line in front of the template's first.
    sources: Vec<String>,
}

impl Wish {
    /// The job as the daemon of this configuration would take it in, or what is wrong, by option,
    /// by line of the list, or by line of the template.
    pub fn check(&self, config: &Config) -> Result<CheckedJob, QueueError> {
        if let Some((name, content)) = &self.template
            && let Some(problem) = spec::too_long(content, config.limits.file_bytes_max)
        {
            return Err(mistakes_of_file(name, content, vec![problem]));
        }
        let Composed { text, sources } = self.compose()?;
        let mut config = config.clone();
        config.limits.file_bytes_max = TEXT_BYTES_MAX;
        match check(&config, &self.folder, self.name.clone(), text.into_bytes()) {
            Err(QueueError::Mistakes(mistakes)) => {
                let rest = self.without_wrong_prompts(&mistakes, &sources);
                let rest = rest.and_then(|rest| rest.check(&config).ok());
                let warnings = rest.map(|rest| rest.warnings).unwrap_or_default();
                Err(self.blame(mistakes, &sources, &warnings))
            }
            checked => checked,
        }
    }

    /// What a warning is about, as the user knows it: an option, the list of prompts, or the
    /// template; `None` where it is about the whole job. The job's name is of no file.
    pub fn source_of(&self, warning: &Warning) -> Option<String> {
        let keys = warning.keys();
        let option = self.given.iter().find(|given| keys.contains(&given.key));
        if let Some(option) = option {
            return Some(option.source.clone());
        }
        let file =
            |file: &Option<(String, Vec<u8>)>| file.as_ref().map(|(name, _)| printable(name));
        match keys {
            [] => None,
            keys if !keys.contains(&"prompt") => file(&self.template),
            _ if !self.prompts.is_empty() => Some("--prompt".to_owned()),
            _ => file(&self.list).or_else(|| file(&self.template)),
        }
    }

    /// The job's text.
    pub fn text(&self) -> Result<String, QueueError> {
        Ok(self.compose()?.text)
    }

    /// First the prompts, one a line, and the single keys; then what is left of the template.
    fn compose(&self) -> Result<Composed, QueueError> {
        let template = match &self.template {
            Some((name, content)) => problem::utf8(content)
                .map_err(|problem| mistakes_of_file(name, content, vec![problem]))?,
            None => "",
        };
        let mut lines = self.prompt_lines()?;
        let mut replaced: Vec<&str> = self.given.iter().map(|given| given.key).collect();
        if !lines.is_empty() {
            replaced.extend(["prompt", "prompt_file"]);
        }
        if replaced.contains(&"width") && replaced.contains(&"height") {
            replaced.push("size");
        }
        let said = self.given.iter().filter(|given| !given.takes_away());
        lines.extend(said.map(|given| (given.line(), given.source.clone())));
        let (mut text, mut sources) = (String::new(), Vec::with_capacity(lines.len()));
        for (line, source) in lines {
            text += &line;
            text.push('\n');
            sources.push(source);
        }
        text += &template::without_keys(template, &replaced);
        Ok(Composed { text, sources })
    }

    /// Lines of the job's text, with their sources: none where no prompt is given.
    fn prompt_lines(&self) -> Result<Vec<(String, String)>, QueueError> {
        let item = |prompt: &str| format!("  {},", template::quoted(prompt));
        let mut lines: Vec<(String, String)> =
            self.prompts.iter().map(|prompt| (item(prompt), "--prompt".to_owned())).collect();
        if let Some((name, content)) = &self.list {
            let name = printable(name);
            if content.len() as u64 > LIST_BYTES_MAX {
                let most = format!("the {LIST_BYTES_MAX} bytes that a list of prompts may have");
                return Err(QueueError::WrongWish(format!(
                    "{name}: the file has more than {most}"
                )));
            }
            let found = prompts::lines(content).map_err(|mistake| {
                let help = mistake.help.unwrap_or_default();
                QueueError::WrongWish(format!("{name}: {}; {help}", mistake.message))
            })?;
            let source = |number: usize| format!("{name}:{number}");
            lines.extend(found.into_iter().map(|(number, line)| (item(line), source(number))));
        }
        if !lines.is_empty() {
            lines.insert(0, ("prompt = [".to_owned(), "--prompt".to_owned()));
            lines.push(("]".to_owned(), "--prompt".to_owned()));
        }
        Ok(lines)
    }

    /// Mistakes in the composed text, as those of where its lines come from.
    /// What is hardly meant in the rest is told with them, so that one look is enough.
    fn blame(&self, mistakes: JobMistakes, sources: &[String], warnings: &[Warning]) -> QueueError {
        let mut told: Vec<String> =
            mistakes.problems.iter().filter_map(|problem| told(problem, sources)).collect();
        // One option may stand for two keys.
        told.dedup();
        told.extend(self.what_to_do(&told, &mistakes.problems));
        told.extend(warnings.iter().map(|warning| format!("but: {warning}")));
        match (&self.template, told.is_empty()) {
            (Some((name, content)), true) => {
                let problems = mistakes.problems.into_iter().map(|problem| Problem {
                    line: problem.line.saturating_sub(sources.len()).max(1),
                    ..problem
                });
                mistakes_of_file(name, content, problems.collect())
            }
            (None, true) => {
                let messages = mistakes.problems.into_iter().map(|problem| problem.message);
                QueueError::WrongWish(messages.collect::<Vec<_>>().join("\n"))
            }
            _ => QueueError::WrongWish(told.join("\n")),
        }
    }

    /// The same with a list that lacks the lines which are wrong; `None` where something else is,
    /// too.
    fn without_wrong_prompts(&self, mistakes: &JobMistakes, sources: &[String]) -> Option<Wish> {
        let (name, content) = self.list.as_ref()?;
        let beginning = format!("{}:", printable(name));
        let number = |problem: &Problem| -> Option<usize> {
            sources.get(problem.line.checked_sub(1)?)?.strip_prefix(&beginning)?.parse().ok()
        };
        let wrong = mistakes.problems.iter().map(number).collect::<Option<BTreeSet<usize>>>()?;
        let lines = (1..).zip(content.split(|byte| *byte == b'\n'));
        let rest: Vec<&[u8]> =
            lines.filter(|(number, _)| !wrong.contains(number)).map(|(_, line)| line).collect();
        let list = Some((name.clone(), rest.join(&b'\n')));
        Some(Wish { list, ..self.clone() })
    }

    /// What is said behind the mistakes of a list, which is taken whole or not at all: how many
    /// more there are, and what leaves their lines out.
    fn what_to_do(&self, told: &[String], problems: &[Problem]) -> Vec<String> {
        let Some((name, _)) = &self.list else { return Vec::new() };
        let name = printable(name);
        if !told.iter().any(|line| line.starts_with(&format!("{name}:"))) {
            return Vec::new();
        }
        let counted = problems.iter().filter(|problem| problem.key.is_none());
        let counted = counted.map(|problem| problem.message.clone());
        let cure = "nothing of it is taken before: mend these lines, or begin them with #";
        counted.chain([format!("{name}: {cure}")]).collect()
    }
}

/// The problem with its source in place of its key; `None` where it is the template's.
pub(super) fn told(problem: &Problem, sources: &[String]) -> Option<String> {
    let source = sources.get(problem.line.checked_sub(1)?)?;
    let (_, message) = problem.message.split_once(": ")?;
    // A key that is absent is a mistake at the beginning of the text.
    let source = if message == "missing" { "--prompt" } else { source };
    let help = problem.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
    let text = format!("{message}{help}");
    let text = if source.starts_with("--") { in_options(&text) } else { text };
    Some(printable(&format!("{source}: {text}")))
}

fn mistakes_of_file(name: &str, content: &[u8], problems: Vec<Problem>) -> QueueError {
    let (name, content) = (name.to_owned(), content.to_owned());
    QueueError::Mistakes(JobMistakes { name, content, problems })
}

/// The option that says what a job file says by `key`: `--min-side` for `min_side`.
pub fn option_of(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The keys of a job that a text names, as options: `init_image = "fox.png"` is told to whoever
/// writes a file. What is quoted is the user's own.
fn in_options(text: &str) -> String {
    let parts = text.split('"').enumerate().map(|(place, part)| match place % 2 {
        0 => keys_as_options(part),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("\"")
}

fn keys_as_options(text: &str) -> String {
    let keys = PARAMETERS.iter().map(|parameter| parameter.name);
    // Others are words of the language, too.
    keys.filter(|key| key.contains('_')).fold(text.to_owned(), |text, key| {
        let option = option_of(key);
        text.replace(&format!("{key} = "), &format!("{option} ")).replace(key, &option)
    })
}
