//! Prompts in which something is chosen, where the job wants that.

use std::collections::{BTreeMap, BTreeSet};

use super::Outside;
use super::axes::{PROMPT, PROMPT_FILE};
use super::fields::Bounds;
use super::prompts::{self, Listed};
use crate::job::pattern::{Pattern, WildcardLines};
use crate::job::{Recipe, Render};
use crate::problem::{Problem, one_line};
use crate::table::check::{self, shortened};
use crate::table::{Check, Mistake, Table};

pub(super) const WILDCARDS: &str = "wildcards";

/// A job uses at most so many lists; each is kept while the job is read.
const LISTS_MAX: usize = 100;

/// So many of the prompts with mistakes are told, and that there may be more: fewer than the table
/// tells, and nobody mends as many at once.
const MISTAKES_MAX: usize = 40;

/// What is needed to make the choices of a job's prompts.
pub(super) struct Choices {
    /// By the prompts as they are asked.
    asked: BTreeMap<String, Asked>,
    lines: WildcardLines,
    prompt_bytes_max: usize,
}

/// A prompt as it is asked, and where.
struct Asked {
    pattern: Pattern,
    key: &'static str,
    /// In the job's text, in bytes.
    place: usize,
    /// With its line, where it is one of a list.
    list: Option<String>,
}

impl Choices {
    /// None where the job does not want any. Notes what is wrong with its `prompts`.
    pub(super) fn read<'p>(
        top: &mut Table,
        prompts: impl Iterator<Item = &'p str>,
        listed: Option<&Listed>,
        bounds: &Bounds,
        outside: &mut dyn Outside,
    ) -> Choices {
        let mut choices = Choices {
            asked: BTreeMap::new(),
            lines: WildcardLines::new(),
            prompt_bytes_max: bounds.limits.prompt_bytes_max,
        };
        if !top.read(WILDCARDS, check::boolean).unwrap_or(false) {
            return choices;
        }
        let mut mistakes = 0;
        for (index, prompt) in prompts.enumerate() {
            let (key, place) = match listed {
                Some(_) => (PROMPT_FILE, top.place(PROMPT_FILE)),
                None if top.has(PROMPT) => (PROMPT, top.place_in(PROMPT, index)),
                None => ("matrix", top.place("matrix")),
            };
            let list = listed.map(|listed| listed.line(index));
            let mistake = match choices.pattern(prompt, outside) {
                Ok(pattern) => {
                    choices.asked.insert(prompt.to_owned(), Asked { pattern, key, place, list });
                    continue;
                }
                Err(mistake) => mistake,
            };
            top.mistake_at(key, place, in_list(list.as_deref(), mistake));
            mistakes += 1;
            if mistakes == MISTAKES_MAX {
                let more = Mistake::new("the prompts after this one are not looked at yet");
                top.mistake_at(key, place, more);
                break;
            }
        }
        choices
    }

    /// The prompt's pattern, once there are all lists that it needs.
    fn pattern(&mut self, prompt: &str, outside: &mut dyn Outside) -> Check<Pattern> {
        let of_prompt = |why: String| Mistake::new(quoted(prompt) + &why);
        let pattern = Pattern::parse(prompt).map_err(of_prompt)?;
        let mut missing = self.missing(&pattern);
        while let Some(name) = missing.pop_first() {
            if self.lines.len() >= LISTS_MAX {
                return Err(of_prompt(format!("it needs more than {LISTS_MAX} wildcards")));
            }
            let lines = read_list(&name, outside)?;
            self.lines.insert(name, lines.clone());
            missing.extend(lines.iter().flat_map(|line| self.missing(line)));
        }
        Ok(pattern)
    }

    fn missing(&self, pattern: &Pattern) -> BTreeSet<String> {
        let names = pattern.wildcards().into_iter();
        names.filter(|name| !self.lines.contains_key(*name)).map(str::to_owned).collect()
    }

    /// Makes the choices of the recipe's own seed. Answers the prompt as it was asked, where
    /// something was chosen in it.
    pub(super) fn make(&self, recipe: &mut Recipe) -> Check<Option<String>> {
        let Some(Asked { pattern, .. }) = self.asked.get(&recipe.prompt) else { return Ok(None) };
        let resolved = pattern.resolve(&self.lines, recipe.seed, self.prompt_bytes_max);
        let resolved = resolved.and_then(|text| match text.trim().is_empty() {
            true => Err("nothing is left of it for some seed".to_owned()),
            false => Ok(text),
        });
        let text = resolved.map_err(|why| Mistake::new(quoted(&recipe.prompt) + &why))?;
        let asked = std::mem::replace(&mut recipe.prompt, text);
        Ok((asked != recipe.prompt).then_some(asked))
    }

    /// A mistake that shows only in what was chosen for `render`, told where its prompt stands in
    /// the job's `text`.
    pub(super) fn blame(&self, render: &Render, text: &str, mistake: Mistake) -> Problem {
        let asked = self.asked.get(render.asked_prompt.as_ref().unwrap_or(&render.recipe.prompt));
        let (key, place) = asked.map_or((PROMPT, 0), |asked| (asked.key, asked.place));
        let list = asked.and_then(|asked| asked.list.as_deref());
        let Mistake { message, help } = in_list(list, mistake);
        let problem = Problem::at(text, place, format!("{key}: {message}"), help);
        Problem { key: Some(key.to_owned()), ..problem }
    }
}

/// The beginning of the prompt, before what is wrong with it.
fn quoted(prompt: &str) -> String {
    format!("\"{}\": ", shortened(&one_line(prompt)))
}

/// The mistake, with the line of the list that it is about.
fn in_list(line: Option<&str>, mistake: Mistake) -> Mistake {
    let line = line.map_or(String::new(), |line| format!("{line}: "));
    Mistake { message: line + &mistake.message, ..mistake }
}

fn read_list(name: &str, outside: &mut dyn Outside) -> Check<Vec<Pattern>> {
    let content = outside.wildcard(name)?;
    let of_list = |mistake: Mistake| Mistake {
        message: format!("__{name}__: {}", mistake.message),
        ..mistake
    };
    let lines = prompts::lines(&content).map_err(of_list)?;
    let parsed = lines.into_iter().map(|(number, line)| {
        if let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
            let what = format!("line {number} holds the control character U+{:04X}", u32::from(c));
            return Err(of_list(Mistake::new(what).help("remove it")));
        }
        let wrong = |why| of_list(Mistake::new(format!("line {number}: {why}")));
        Pattern::parse(line).map_err(wrong)
    });
    parsed.collect()
}
