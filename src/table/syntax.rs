//! What people need where a text is not TOML: each kind of mistake they bring along, with its cure.

use toml::de::Error;

use crate::problem::Problem;

/// The parser's error with its place and, where the mistake is a known one, what would be right.
pub(super) fn problem(text: &str, error: &Error) -> Problem {
    let offset = error.span().map_or(text.len(), |span| span.start);
    let offset = text.floor_char_boundary(offset);
    let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let rest = line.get(offset - line_start..).unwrap_or_default();
    let is_continued = text[..line_start].lines().next_back().and_then(value).is_some_and(is_open);
    let help = match is_continued {
        true => Some(SEVERAL_LINES.to_owned()),
        false if error.message() == DUPLICATE => said_before(&text[..line_start], line),
        false => help(text, line, rest).map(str::to_owned),
    };
    let message = format!("not valid TOML: {}", error.message());
    Problem::at(text, offset, message, help)
}

/// What the parser says where a key or a table stands twice.
const DUPLICATE: &str = "duplicate key";

/// Where in the text `before` it the same table, or the same key of this table, stands already.
/// Whoever appends to a file has not seen that.
fn said_before(before: &str, line: &str) -> Option<String> {
    let lines = || before.lines().map(str::trim).zip(1..);
    let is_same = |other: &str, end| {
        let start = |text: &str| text.split_once(end).map(|(start, _)| start.trim().to_owned());
        start(other) == start(line)
    };
    if line.trim_start().starts_with('[') {
        let (table, number) = lines().find(|(other, _)| is_same(other, ']'))?;
        let table = table.split_inclusive(']').next().unwrap_or_default();
        return Some(format!("{table} stands in line {number} already: put its keys there"));
    }
    let of_table = lines().collect::<Vec<_>>().into_iter().rev();
    let (_, number) = of_table
        .take_while(|(other, _)| !other.starts_with('['))
        .find(|(other, _)| is_same(other, '='))?;
    Some(format!("it stands in line {number} already: keep one of the two"))
}

/// Quotes that word processors and web pages put in place of the two of TOML.
const TYPOGRAPHIC: [char; 10] = ['“', '”', '„', '‟', '‘', '’', '‚', '«', '»', '`'];

const SEVERAL_LINES: &str =
    "a text over several lines stands between three quotes: \"\"\"like this\"\"\"";

/// What stands behind the key.
fn value(line: &str) -> Option<&str> {
    line.split_once('=').map(|(_, value)| value.trim())
}

/// What to do about a mistake in `line`, at the beginning of `rest`.
fn help(text: &str, line: &str, rest: &str) -> Option<&'static str> {
    if text.trim_start().starts_with('{') {
        return Some("this is JSON; a job is written in TOML: prompt = \"a red fox\"");
    }
    let value = value(line);
    if value.is_some_and(|value| value.starts_with(TYPOGRAPHIC)) {
        return Some("these are typographic quotes: use the plain ones, \" or '");
    }
    if is_escape(line, rest) {
        return Some(
            "in double quotes a backslash begins an escape: put the text into single quotes, \
             like 'fox \\(animal\\)'",
        );
    }
    match value {
        None if line.contains(':') => {
            Some("between a key and its value stands '=': prompt = \"a red fox\"")
        }
        Some(value) if value.starts_with(char::is_alphabetic) => {
            Some("put the text into quotes: prompt = \"a red fox\"")
        }
        Some(value) if is_apostrophe(value) => Some(
            "the text ends at its first ': put it into double quotes, or between three single \
             ones, '''like this'''",
        ),
        Some(value) if is_quoted_again(value) => Some(
            "the text ends at its first \": put it into single quotes, or write \\\" inside it",
        ),
        Some(value) if is_open(value) => Some(SEVERAL_LINES),
        _ => None,
    }
}

/// Whether the parser stopped in an escape of a text in double quotes.
fn is_escape(line: &str, rest: &str) -> bool {
    let before = &line[..line.len() - rest.len()];
    let in_double_quotes = before.contains('"') || rest.starts_with('"');
    let is_near = before.rfind('\\').is_some_and(|backslash| before.len() - backslash <= 2);
    in_double_quotes && (is_near || rest.starts_with('\\'))
}

/// `'it's'`
fn is_apostrophe(value: &str) -> bool {
    value.starts_with('\'') && !value.starts_with("'''") && value.matches('\'').count() > 2
}

/// `"a "red" fox"`
fn is_quoted_again(value: &str) -> bool {
    value.starts_with('"') && !value.starts_with("\"\"\"") && value.matches('"').count() > 2
}

/// A text whose quote is not closed in its line.
fn is_open(value: &str) -> bool {
    ['"', '\'']
        .into_iter()
        .any(|quote| value.starts_with(quote) && value.matches(quote).count() == 1)
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    /// case F
    #[test]
    fn each_habit_gets_its_cure() {
        for (text, cure) in [
            ("prompt = “a red fox”", "typographic quotes"),
            ("steps = 8\nprompt = ‘a’", "typographic quotes"),
            ("prompt = «a»", "typographic quotes"),
            (r#"prompt = "fox \(animal\)""#, "single quotes, like 'fox \\(animal\\)'"),
            (r#"path = "D:\models""#, "single quotes"),
            (r#"path = "C:\Users""#, "single quotes"),
            ("prompt = a red fox", "put the text into quotes"),
            ("prompt = it's", "put the text into quotes"),
            ("prompt: a red fox", "between a key and its value stands '='"),
            ("{\"prompt\": \"a\"}", "this is JSON"),
            ("prompt = 'it's snowing'", "double quotes"),
            ("prompt = \"a \"red\" fox\"", "single quotes, or write \\\""),
            ("prompt = \"a fox\nin snow\"", "three quotes"),
        ] {
            let error = DeTable::parse(text).expect_err(text);
            let problem = problem(text, &error);
            let help = problem.help.unwrap_or_default();
            assert!(help.contains(cure), "{text}: {}: {help}", problem.message);
            assert!(problem.message.starts_with("not valid TOML: "));
        }
    }

    #[test]
    fn what_stands_twice_is_told_with_the_line_of_the_first() {
        for (text, cure) in [
            ("steps = 8\n\nsteps = 9", "it stands in line 1 already: keep one of the two"),
            (
                "a = 1\n[device] # ours\n# steps = 1\n[http]\n[device]\nkind = 'cpu'",
                "[device] stands in line 2 already: put its keys there",
            ),
            ("steps = 1\n[m]\nsteps = 1\nseed = 1\nsteps=2", "it stands in line 3 already"),
        ] {
            let error = DeTable::parse(text).expect_err(text);
            let help = problem(text, &error).help.unwrap_or_default();
            assert!(help.starts_with(cure), "{text}: {help}");
        }
    }

    #[test]
    fn an_unknown_mistake_has_no_cure() {
        for text in ["steps = ", "[matrix", "a = [1,"] {
            let error = DeTable::parse(text).expect_err(text);
            assert_eq!(problem(text, &error).help, None, "{text}");
        }
    }
}
