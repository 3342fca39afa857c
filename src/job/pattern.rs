//! A prompt with choices in it: `a {red|green} __animal__`. Pure: what is chosen follows from a
//! number.

use std::collections::{BTreeMap, BTreeSet};

/// Braces within braces, no deeper than this.
const DEPTH_MAX: usize = 32;

/// So many choices are made for one prompt: a wildcard may name another one, and even itself.
const CHOICES_MAX: u32 = 1000;

/// Between several options of one choice.
const SEPARATOR: &str = ", ";

/// What a backslash takes the meaning from.
const ESCAPED: [char; 5] = ['{', '}', '|', '_', '\\'];

/// A prompt as it is asked, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// `{2$$0.7::a|b}`: so many of the options, each with its weight.
    Choice {
        take: usize,
        options: Vec<(f64, Pattern)>,
    },
    /// `__animal__`: a line of the list of this name.
    Wildcard(String),
}

/// The lines of each wildcard, by its name.
pub type WildcardLines = BTreeMap<String, Vec<Pattern>>;

impl Pattern {
    /// The error says what is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        Reader { rest: text }.sequence(0)
    }

    /// The wildcards that it names itself.
    pub fn wildcards(&self) -> BTreeSet<&str> {
        let of_part = |part| match part {
            &Part::Text(_) => BTreeSet::new(),
            Part::Wildcard(name) => BTreeSet::from([name.as_str()]),
            Part::Choice { options, .. } => {
                options.iter().flat_map(|(_, option)| option.wildcards()).collect()
            }
        };
        self.0.iter().flat_map(of_part).collect()
    }

    /// The prompt of this `seed`, which is the same whenever it is asked for. An error where it
    /// becomes longer than `bytes_max`, or has no end.
    pub fn resolve(
        &self,
        lines: &WildcardLines,
        seed: u64,
        bytes_max: usize,
    ) -> Result<String, String> {
        let mut resolving = Resolving {
            lines,
            random: Random(seed),
            left: CHOICES_MAX,
            bytes_max,
            text: String::new(),
        };
        resolving.add(self)?;
        Ok(resolving.text)
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// Up to the end, inside of braces up to `|` or `}`.
    fn sequence(&mut self, depth: usize) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.rest.chars().next() {
            if depth > 0 && matches!(next, '|' | '}') {
                break;
            }
            if let Some(name) = self.wildcard() {
                push_text(&mut parts, &mut text);
                parts.push(Part::Wildcard(name.to_owned()));
            } else if next == '{' {
                push_text(&mut parts, &mut text);
                parts.extend(self.choice(depth)?);
            } else {
                text.push(self.character(next));
            }
        }
        push_text(&mut parts, &mut text);
        Ok(Pattern(parts))
    }

    fn character(&mut self, next: char) -> char {
        self.rest = &self.rest[next.len_utf8()..];
        match self.rest.chars().next() {
            Some(escaped) if next == '\\' && ESCAPED.contains(&escaped) => {
                self.rest = &self.rest[escaped.len_utf8()..];
                escaped
            }
            _ => next,
        }
    }

    /// The name in `__name__`, where that stands next.
    fn wildcard(&mut self) -> Option<&'t str> {
        let (name, rest) = self.rest.strip_prefix("__")?.split_once("__")?;
        is_wildcard_name(name).then(|| {
            self.rest = rest;
            name
        })
    }

    /// What stands in braces; as text where there is nothing to choose.
    fn choice(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("braces stand more than {DEPTH_MAX} deep"));
        }
        self.rest = &self.rest[1..];
        let take = self.take()?;
        let mut options = Vec::new();
        loop {
            let weight = self.weight();
            options.push((weight.unwrap_or(1.0), self.sequence(depth + 1)?));
            let end = self.rest.chars().next();
            self.rest = self.rest.get(1..).unwrap_or_default();
            match end {
                Some('|') => continue,
                Some(_) => break,
                None => return Err("a { is not closed; write \\{ for a brace".to_owned()),
            }
        }
        let count = options.iter().filter(|(weight, _)| *weight > 0.0).count();
        match (take, options.len()) {
            (None, 1) => {
                let (_, Pattern(inside)) = options.remove(0);
                let brace = |text: &str| Part::Text(text.to_owned());
                Ok([vec![brace("{")], inside, vec![brace("}")]].concat())
            }
            (take, _) if (1..=count).contains(&take.unwrap_or(1)) => {
                Ok(vec![Part::Choice { take: take.unwrap_or(1), options }])
            }
            (take, _) => Err(format!(
                "{} cannot be chosen of {count}; write {{2$$a|b|c}} for two of three",
                take.unwrap_or(1)
            )),
        }
    }

    /// The number in `2$$`.
    fn take(&mut self) -> Result<Option<usize>, String> {
        let end = self.rest.find(['{', '}', '|']).unwrap_or(self.rest.len());
        let Some((number, _)) = self.rest[..end].split_once("$$") else { return Ok(None) };
        let take = number.trim().parse().map_err(|_| {
            format!("'{number}' in front of $$ is no whole number; write {{2$$a|b|c}}")
        })?;
        self.rest = &self.rest[number.len() + "$$".len()..];
        Ok(Some(take))
    }

    /// The number in `0.7::`.
    fn weight(&mut self) -> Option<f64> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ' ');
        let after = self.rest.trim_start_matches(is_part);
        let weight = self.rest[..self.rest.len() - after.len()].trim().parse().ok()?;
        self.rest = after.strip_prefix("::")?;
        Some(weight)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &mut String) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

/// Words of letters, digits, `-` and `_`, with `/` between them: it never leaves its folder.
pub fn is_wildcard_name(name: &str) -> bool {
    let is_word = |word: &str| {
        let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        !word.is_empty() && word.chars().all(is_good)
    };
    name.split('/').all(is_word)
}

/// A prompt that is being put together.
struct Resolving<'l> {
    lines: &'l WildcardLines,
    random: Random,
    /// Choices that may still be made.
    left: u32,
    bytes_max: usize,
    text: String,
}

impl Resolving<'_> {
    fn add(&mut self, pattern: &Pattern) -> Result<(), String> {
        for part in &pattern.0 {
            match part {
                Part::Text(text) => self.text += text,
                Part::Choice { take, options } => self.choose(*take, options)?,
                Part::Wildcard(name) => {
                    self.count()?;
                    let lines = self.lines.get(name).map(Vec::as_slice).unwrap_or_default();
                    let place = self.random.below(lines.len());
                    let line = lines.get(place).ok_or_else(|| format!("__{name}__ is empty"))?;
                    self.add(line)?;
                }
            }
            if self.text.len() > self.bytes_max {
                return Err(format!(
                    "with its choices made it is longer than {} bytes",
                    self.bytes_max
                ));
            }
        }
        Ok(())
    }

    fn choose(&mut self, take: usize, options: &[(f64, Pattern)]) -> Result<(), String> {
        let mut left: Vec<&(f64, Pattern)> = options.iter().collect();
        for number in 0..take {
            self.count()?;
            if number > 0 {
                self.text += SEPARATOR;
            }
            let weights: Vec<f64> = left.iter().map(|(weight, _)| *weight).collect();
            let (_, option) = left.remove(self.random.weighted(&weights));
            self.add(option)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            format!("it takes more than {CHOICES_MAX} choices; does a wildcard name itself?")
        })?;
        Ok(())
    }
}

/// SplitMix64: a few lines that give the same numbers for ever, which no library promises.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to just below 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A place in a list of so many.
    fn below(&mut self, count: usize) -> usize {
        (self.part() * count as f64) as usize
    }

    /// A place in a list with these weights, of which one at least is above 0.
    fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.part() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        chosen.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
