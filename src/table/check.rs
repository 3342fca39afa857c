//! What a TOML value must be: each function turns a value into a checked one, or says what is wrong
//! with it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeInteger, DeValue};

/// So many known words are listed: more than there are keys, and fewer than a folder may have
/// files.
const KNOWN_MAX: usize = 60;

/// What is wrong with a value, and what would be right; the table adds the key and the place.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Without the key.
    pub message: String,
    pub help: Option<String>,
}

/// A checked value, or the mistake in it.
pub type Check<T> = Result<T, Mistake>;

impl Mistake {
    /// A mistake without help.
    pub fn new(message: impl Into<String>) -> Self {
        Mistake { message: message.into(), help: None }
    }

    /// Says what would be right.
    pub fn help(self, help: impl Into<String>) -> Self {
        Mistake { help: Some(help.into()), ..self }
    }

    /// The value is of another type than the one `wanted`.
    pub fn expected(wanted: &str, found: &DeValue) -> Self {
        Mistake::new(format!("expected {wanted}, found {}", described(found)))
    }

    /// `word` is none of the `known` ones (each a "key", "token", ...): suggests the nearest, or
    /// lists them all.
    pub fn unknown(word: &str, what: &str, known: &[&str]) -> Self {
        let mistake = Mistake::new(format!("unknown {what}"));
        match nearest(word, known) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => {
                let first = &known[..known.len().min(KNOWN_MAX)];
                let more = match known.len() - first.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                mistake.help(format!("known {what}s: {}{more}", first.join(", ")))
            }
        }
    }
}

/// A whole number in `range`.
pub fn whole<T>(value: &DeValue, range: RangeInclusive<T>) -> Check<T>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    let right = || format!("use a whole number from {} to {}", range.start(), range.end());
    let DeValue::Integer(number) = value else {
        return Err(Mistake::expected("a whole number", value).help(right()));
    };
    integer(number)
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            Mistake::new(format!("{} is out of range", shortened(&number.to_string())))
                .help(right())
        })
}

/// A finite number in `range`, whole or not; -0.0 becomes 0.0, so that equal requests are equal.
pub fn number(value: &DeValue, range: RangeInclusive<f64>) -> Check<f64> {
    let right = || format!("use a number from {} to {}", range.start(), range.end());
    let (number, written) = match value {
        DeValue::Integer(number) => {
            (integer(number).map(|number| number as f64), number.to_string())
        }
        DeValue::Float(number) => (number.as_str().parse().ok(), number.to_string()),
        other => return Err(Mistake::expected("a number", other).help(right())),
    };
    number.filter(|number| range.contains(number)).map(|number| number + 0.0).ok_or_else(|| {
        Mistake::new(format!("{} is out of range", shortened(&written))).help(right())
    })
}

/// `None` when it has more than 128 bits.
fn integer(number: &DeInteger) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A string, as it is.
pub fn text<'v>(value: &'v DeValue) -> Check<&'v str> {
    value.as_str().ok_or_else(|| Mistake::expected("a string", value))
}

/// `true` or `false`.
pub fn boolean(value: &DeValue) -> Check<bool> {
    match value {
        DeValue::Boolean(boolean) => Ok(*boolean),
        other => Err(Mistake::expected("true or false", other)),
    }
}

/// One of the words in `choices`.
pub fn choice<T: Copy>(value: &DeValue, choices: &[(&str, T)]) -> Check<T> {
    let right = || {
        let quoted: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("use {}", quoted.join(" or "))
    };
    let word = text(value).map_err(|mistake| mistake.help(right()))?;
    let chosen = choices.iter().find(|(choice, _)| *choice == word);
    chosen
        .map(|(_, value)| *value)
        .ok_or_else(|| Mistake::new(format!("unknown word {}", quoted(word))).help(right()))
}

/// The text in quotes, escaped as TOML and Rust both do, shortened.
pub fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// At most this many characters of the user's text are repeated in a message.
const REPEATED_CHARS: usize = 40;

/// The text, or its beginning.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(REPEATED_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn described(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {}", shortened(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shortened(number.as_str())),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The known word that is most probably meant: at most a third of it is wrong, whatever the case.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::osa_distance(&word, &known.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}
