//! Prompts in which something is chosen, where the job wants that.

use std::collections::{BTreeMap, BTreeSet};

use super::Outside;
use super::axes::{PROMPT, PROMPT_FILE};
use super::fields::Bounds;
use super::prompts::{self, Listed};
use crate::job::Recipe;
use crate::job::pattern::{Pattern, WildcardLines};
use crate::problem::{Problem, one_line};
use crate::table::check::{self, shortened};
use crate::table::{Check, Mistake, Table};

pub(super) const WILDCARDS: &str = "wildcards";

/// A job uses at most so many lists; each is kept while the job is read.
const LISTS_MAX: usize = 100;

/// So many of the prompts with mistakes are told: nobody mends more at once.
const MISTAKES_MAX: usize = 50;

/// What is needed to make the choices of a job's prompts.
pub(super) struct Choices {
    /// By the prompts as they are asked.
    patterns: BTreeMap<String, Pattern>,
    lines: WildcardLines,
    prompt_bytes_max: usize,
}

impl Choices {
    /// `None` where the job does not want any, or after a mistake in one of its `prompts`.
    pub(super) fn read<'p>(
        top: &mut Table,
        prompts: impl Iterator<Item = &'p str>,
        listed: Option<&Listed>,
        bounds: &Bounds,
        outside: &mut dyn Outside,
    ) -> Option<Choices> {
        if !top.read(WILDCARDS, check::boolean).unwrap_or(false) {
            return None;
        }
        let mut choices = Choices {
            patterns: BTreeMap::new(),
            lines: WildcardLines::new(),
            prompt_bytes_max: bounds.limits.prompt_bytes_max,
        };
        let mut mistakes = 0;
        for (index, prompt) in prompts.enumerate() {
            let Err(mistake) = choices.add(prompt, outside) else { continue };
            match listed {
                Some(listed) => top.mistake(PROMPT_FILE, listed.blame(index, mistake)),
                None if top.has(PROMPT) => top.mistake_in(PROMPT, index, mistake),
                None => top.mistake("matrix", mistake),
            }
            mistakes += 1;
            if mistakes == MISTAKES_MAX {
                break;
            }
        }
        (mistakes == 0).then_some(choices)
    }

    fn add(&mut self, prompt: &str, outside: &mut dyn Outside) -> Check<()> {
        let of_prompt =
            |why: String| Mistake::new(format!("\"{}\": {why}", shortened(&one_line(prompt))));
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
        self.patterns.insert(prompt.to_owned(), pattern);
        Ok(())
    }

    fn missing(&self, pattern: &Pattern) -> BTreeSet<String> {
        let names = pattern.wildcards().into_iter();
        names.filter(|name| !self.lines.contains_key(*name)).map(str::to_owned).collect()
    }

    /// Makes the choices of the recipe's own seed. Answers the prompt as it was asked, where
    /// something was chosen in it.
    pub(super) fn make(&self, recipe: &mut Recipe) -> Result<Option<String>, Vec<Problem>> {
        let Some(pattern) = self.patterns.get(&recipe.prompt) else { return Ok(None) };
        let resolved = pattern.resolve(&self.lines, recipe.seed, self.prompt_bytes_max);
        let resolved = resolved.and_then(|text| match text.trim().is_empty() {
            true => Err("nothing is left of it for some seed".to_owned()),
            false => Ok(text),
        });
        let text = resolved.map_err(|why| {
            let asked = shortened(&one_line(&recipe.prompt));
            vec![Problem::at("", 0, format!("prompt: \"{asked}\": {why}"), None)]
        })?;
        let asked = std::mem::replace(&mut recipe.prompt, text);
        Ok((asked != recipe.prompt).then_some(asked))
    }
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
