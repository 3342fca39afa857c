//! Syntax in prompts that other programs act upon and this model reads as words.

use serde::Serialize;

/// A kind of such syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignSyntax {
    /// `<lyco:x:0.8>`, `embedding:x`, and `<lora:x:0.8>` in what is not to be painted
    Tag,
    /// `(red:1.4)`, `((red))`, `red++`, `(red fox)1.4`
    Weight,
    /// `BREAK`, `AND`
    Break,
    /// `("a", "b").and()`, `.blend(0.7, 0.3)`, `.swap(dog)`
    Conjunction,
    /// `__animals__`
    Wildcard,
    /// `{cat|dog}`
    Alternatives,
    /// `[a:b:0.5]`, `[a|b]`
    Schedule,
    /// `\(`
    Escape,
    /// `--ar 16:9`
    Option,
    /// `Steps: 20, Sampler: Euler a`
    Settings,
}

type Finder = fn(&str) -> Option<&str>;

const FINDERS: [(ForeignSyntax, Finder); 10] = [
    (ForeignSyntax::Tag, tag),
    (ForeignSyntax::Weight, weight),
    (ForeignSyntax::Break, separator),
    (ForeignSyntax::Conjunction, conjunction),
    (ForeignSyntax::Wildcard, wildcard),
    (ForeignSyntax::Alternatives, alternatives),
    (ForeignSyntax::Schedule, schedule),
    (ForeignSyntax::Escape, escape),
    (ForeignSyntax::Option, option),
    (ForeignSyntax::Settings, settings),
];

/// No construct is longer than this many bytes; what is, was not meant as one.
const CONSTRUCT_BYTES_MAX: usize = 200;

/// Weights of other programs lie below this. What is above is a time of day or a ratio.
const WEIGHT_MAX: f64 = 10.0;

/// Options of Midjourney and of stable-diffusion.cpp.
const OPTIONS: [&str; 13] = [
    "ar",
    "aspect",
    "v",
    "s",
    "stylize",
    "no",
    "q",
    "quality",
    "chaos",
    "niji",
    "steps",
    "seed",
    "cfg-scale",
];

/// The kinds of syntax in `prompt`, each with the first place where it stands.
pub fn foreign_syntax(prompt: &str) -> Vec<(ForeignSyntax, &str)> {
    let found = |(syntax, find): &(ForeignSyntax, Finder)| Some((*syntax, find(prompt)?));
    FINDERS.iter().filter_map(found).collect()
}

impl ForeignSyntax {
    /// What it means here, after the example in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            ForeignSyntax::Tag => {
                "loads nothing here: <lora:style:0.8> in the prompt, or [[lora]], names a LoRA"
            }
            ForeignSyntax::Weight => {
                "weighs nothing here: this model brings every word to the same length before it is \
                 read, so that no weight is left; say in words what matters more"
            }
            ForeignSyntax::Break => "separates nothing here: the prompt is read as one text",
            ForeignSyntax::Conjunction => "joins nothing here: the prompt is read as one text",
            ForeignSyntax::Wildcard => {
                "is replaced by nothing here: say wildcards = true in the job, or give a list of prompts"
            }
            ForeignSyntax::Alternatives => {
                "chooses nothing here: say wildcards = true in the job, or give a list of prompts"
            }
            ForeignSyntax::Schedule => {
                "changes nothing between the steps: the prompt is the same in all of them"
            }
            ForeignSyntax::Escape => "needs no backslash here: brackets are plain text",
            ForeignSyntax::Option => {
                "sets nothing here: size, seed, steps and negative_prompt are keys of the job"
            }
            ForeignSyntax::Settings => {
                "sets nothing here: steps, seed, guidance and size are keys of the job"
            }
        }
    }
}

/// The texts from each `open` to the next `close`, both included.
fn enclosed(text: &str, open: char, close: char) -> impl Iterator<Item = &str> {
    text.match_indices(open).filter_map(move |(start, _)| {
        let within = &text[start..text.floor_char_boundary(start + CONSTRUCT_BYTES_MAX)];
        let end = within.find(close)?;
        Some(&within[..end + close.len_utf8()])
    })
}

/// What stands inside the first and last character, which are brackets of one byte.
fn inside(construct: &str) -> &str {
    &construct[1..construct.len() - 1]
}

fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

fn tag(prompt: &str) -> Option<&str> {
    let is_tag = |construct: &&str| {
        inside(construct).split_once(':').is_some_and(|(kind, name)| {
            matches!(kind, "lora" | "lyco" | "hypernet" | "embedding" | "ti") && !name.is_empty()
        })
    };
    enclosed(prompt, '<', '>').find(is_tag).or_else(|| prompt.split(BETWEEN).find(is_embedding))
}

/// What stands between words.
const BETWEEN: [char; 6] = [' ', ',', '(', ')', '\n', '\t'];

/// ComfyUI's `embedding:name`.
fn is_embedding(word: &&str) -> bool {
    word.strip_prefix("embedding:").is_some_and(has_letters)
}

fn weight(prompt: &str) -> Option<&str> {
    let doubled = ["((", "[[", "{{"].into_iter().find_map(|brackets| {
        let start = prompt.find(brackets)?;
        let close = prompt[start..].find([')', ']', '}'])?;
        Some(&prompt[start..start + close + 1])
    });
    let weighed = enclosed(prompt, '(', ')').find(|construct| ends_in_weight(inside(construct)));
    weighed.or(doubled).or_else(|| prompt.split([' ', ',', '\n', '\t']).find(is_weighed_word))
}

/// InvokeAI's `red++` and the end of its `(red fox)1.4` and `(fog)--`; C++ is none.
fn is_weighed_word(word: &&str) -> bool {
    let bare = word.trim_end_matches(['+', '-']);
    let signs = word.len() - bare.len();
    match bare.rsplit_once(')') {
        Some((before, "")) => has_letters(before) && signs > 0,
        Some((before, weight)) => {
            has_letters(before) && weight.contains('.') && weight.parse::<f64>().is_ok()
        }
        None => bare.chars().count() > 2 && has_letters(bare) && word.ends_with("++"),
    }
}

/// Whether the text is like `red:1.4`, and not like `at 7:05`.
fn ends_in_weight(text: &str) -> bool {
    let Some((words, weight)) = text.rsplit_once(':') else { return false };
    let is_clock = weight.len() > 1 && weight.starts_with('0') && !weight.starts_with("0.");
    let weight = weight.trim().parse().ok().filter(|weight| (0.0..WEIGHT_MAX).contains(weight));
    has_letters(words) && !is_clock && weight.is_some()
}

/// A word in capitals between others that are not: a sign that reads TAKE A BREAK is none.
fn separator(prompt: &str) -> Option<&str> {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    let shouts = |word: &&&str| has_letters(word) && !word.chars().any(char::is_lowercase);
    let is_separator = |&place: &usize| {
        let word = words[place].trim_end_matches(',');
        let before = place.checked_sub(1).and_then(|before| words.get(before));
        let after = words.get(place + 1);
        let is_alone = before.filter(shouts).is_none() && after.filter(shouts).is_none();
        let joins = before.is_some() && after.is_some();
        is_alone && (word == "BREAK" || word == "AND" && joins)
    };
    (0..words.len()).find(is_separator).map(|place| words[place])
}

/// InvokeAI's functions of texts.
fn conjunction(prompt: &str) -> Option<&str> {
    [".and(", ".blend(", ".swap("].into_iter().find(|function| prompt.contains(function))
}

fn wildcard(prompt: &str) -> Option<&str> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '/' | '*' | ' ');
    prompt.match_indices("__").find_map(|(start, marks)| {
        let rest = &prompt[start + marks.len()..];
        let name = rest.split("__").next().filter(|name| name.len() < rest.len())?;
        let is_wildcard = has_letters(name) && name.chars().all(|c| is_name(c) || c == '_');
        is_wildcard.then(|| &prompt[start..start + name.len() + 2 * marks.len()])
    })
}

fn alternatives(prompt: &str) -> Option<&str> {
    enclosed(prompt, '{', '}').find(|construct| construct.contains('|'))
}

fn schedule(prompt: &str) -> Option<&str> {
    let is_schedule = |construct: &&str| {
        let text = inside(construct);
        let has_time = text
            .rsplit_once(':')
            .is_some_and(|(words, time)| has_letters(words) && time.trim().parse::<f64>().is_ok());
        has_time || text.contains('|')
    };
    enclosed(prompt, '[', ']').find(is_schedule)
}

fn escape(prompt: &str) -> Option<&str> {
    ["\\(", "\\)", "\\[", "\\]"].into_iter().find(|escape| prompt.contains(escape))
}

fn option(prompt: &str) -> Option<&str> {
    prompt
        .split_whitespace()
        .find(|word| word.strip_prefix("--").is_some_and(|option| OPTIONS.contains(&option)))
}

fn settings(prompt: &str) -> Option<&str> {
    let is_negative = |line: &&str| line.trim_start().starts_with("Negative prompt:");
    match prompt.find("Steps: ") {
        Some(start) if prompt[start..].contains("Sampler: ") => Some("Steps: ..., Sampler: ..."),
        _ => prompt.lines().find(is_negative).map(|_| "Negative prompt:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// newcomer 25, case F
    #[test]
    fn syntax_of_other_programs_is_found_where_it_stands() {
        for (prompt, syntax, example) in [
            ("a fox <lora:x:0.8>, snow", ForeignSyntax::Tag, "<lora:x:0.8>"),
            ("a (red:1.4) fox", ForeignSyntax::Weight, "(red:1.4)"),
            ("a ((red)) fox", ForeignSyntax::Weight, "((red)"),
            ("a red++ fox", ForeignSyntax::Weight, "red++"),
            ("a (red fox)1.4 in snow", ForeignSyntax::Weight, "fox)1.4"),
            ("a fox (fog)--, snow", ForeignSyntax::Weight, "(fog)--"),
            ("a fox, embedding:easynegative", ForeignSyntax::Tag, "embedding:easy"),
            ("(embedding:bad_hands)", ForeignSyntax::Tag, "embedding:bad_hands"),
            ("(\"a fox\", \"snow\").and()", ForeignSyntax::Conjunction, ".and("),
            ("(\"fox\", \"owl\").blend(0.7, 0.3)", ForeignSyntax::Conjunction, ".blend("),
            ("a cat.swap(dog)", ForeignSyntax::Conjunction, ".swap("),
            ("a fox BREAK snow", ForeignSyntax::Break, "BREAK"),
            ("a fox, BREAK, snow", ForeignSyntax::Break, "BREAK,"),
            ("a fox AND an owl", ForeignSyntax::Break, "AND"),
            ("an __animals__ in snow", ForeignSyntax::Wildcard, "__animals__"),
            ("a {cat|dog}", ForeignSyntax::Alternatives, "{cat|dog}"),
            ("a [cat:dog:0.5]", ForeignSyntax::Schedule, "[cat:dog:0.5]"),
            ("a [cat|狗]", ForeignSyntax::Schedule, "[cat|狗]"),
            ("fox \\(animal\\)", ForeignSyntax::Escape, "\\("),
            ("a fox --ar 16:9", ForeignSyntax::Option, "--ar"),
            ("a fox\nSteps: 20, Sampler: Euler a", ForeignSyntax::Settings, "Steps: ..., "),
            ("a fox\nNegative prompt: blurry", ForeignSyntax::Settings, "Negative prompt:"),
        ] {
            let found = foreign_syntax(prompt);
            assert_eq!(found.len(), 1, "{prompt}: {found:?}");
            assert_eq!(found[0].0, syntax, "{prompt}");
            assert!(found[0].1.starts_with(example), "{prompt}: {found:?}");
        }
    }

    #[test]
    fn plain_text_has_none() {
        for prompt in [
            "a red fox (vulpes vulpes) in snow, format (16:9)",
            "the clock (at 7:05) shows [12:30]",
            "a sign that reads TAKE A BREAK or SALT AND PEPPER",
            "a - b -- c, {one}, <b>, a_b, snake_case__, f(x)",
            "a book on C++, word embedding: a chart, snow-- and fog (1990)2.5, (A)1",
            "两只猫（一只白猫），牌子上写着“早安”",
            "((",
            "AND",
            "",
        ] {
            assert_eq!(foreign_syntax(prompt), [], "{prompt}");
        }
    }
}
