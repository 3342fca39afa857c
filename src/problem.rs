//! A mistake in a TOML text that the user can mend: where it is, what it is, what would be right.

use std::fmt;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// One mistake, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// The key that it is about, with the tables around it; null where there is none.
    pub key: Option<String>,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// Begins with the key, where there is one. May hold any character: escape it before printing,
    /// as [`Report`] does.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a byte offset of `text`; an offset inside a character or past the end is moved
    /// back into the text.
    pub fn at(text: &str, offset: usize, message: String, help: Option<String>) -> Problem {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before[line_start..].chars().count();
        Problem { key: None, line, column, message, help }
    }
}

/// Problems as a person reads them, on a terminal and in `NAME.error.txt` alike:
///
/// ```text
/// fox.toml:3:9: width: 1000 is not a multiple of 16
///     width = 1000
///             ^
///   help: use 992 or 1008
/// ```
///
/// Control characters are escaped, so that a hostile file cannot speak to the terminal. This is why
/// no crate renders it: `annotate-snippets` lets the controls from U+0080 to U+009F through, among
/// them one that begins a command to the terminal, and the marks U+200E, U+200F and U+2028.
/// Escaping the text before would shift the columns that it counts.
pub struct Report<'a> {
    /// What the user calls the file.
    pub name: &'a str,
    /// Its content, UTF-8 or not.
    pub content: &'a [u8],
    pub problems: &'a [Problem],
}

/// A longer source line is cut to this many characters around the mistake.
const SHOWN_CHARS: usize = 100;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(self.name);
        for problem in self.problems {
            let Problem { line, column, message, help, .. } = problem;
            writeln!(f, "{name}:{line}:{column}: {}", printable(message))?;
            self.source_line(problem, f)?;
            if let Some(help) = help {
                writeln!(f, "  help: {}", printable(help))?;
            }
        }
        Ok(())
    }
}

impl Report<'_> {
    fn source_line(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(line) = self.content.split(|byte| *byte == b'\n').nth(problem.line - 1) else {
            return Ok(());
        };
        let line = String::from_utf8_lossy(line);
        let line = without_bom(line.trim_end_matches('\r'));
        if line.trim().is_empty() {
            return Ok(());
        }
        let before = problem.column - 1;
        let skipped = before.saturating_sub(SHOWN_CHARS / 2);
        let left = printable(&line.chars().take(before).skip(skipped).collect::<String>());
        let right = printable(&line.chars().skip(before).take(SHOWN_CHARS / 2).collect::<String>());
        writeln!(f, "    {left}{right}")?;
        writeln!(f, "    {:1$}^", "", left.width())
    }
}

/// As [`printable`], with a space for each line break: a prompt where there is one line for it.
pub fn one_line(text: &str) -> String {
    printable(&text.replace('\n', " "))
}

/// As [`printable`], line by line.
pub fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// The text with everything escaped that moves the cursor, hides or reorders text.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            c if c.is_control() || is_bidi_control(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text after a byte order mark, which some editors put in front.
pub fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The file's bytes as text, without a byte order mark; or where they stop being UTF-8.
pub fn utf8(content: &[u8]) -> Result<&str, Problem> {
    let error = match std::str::from_utf8(content) {
        Ok(text) => return Ok(without_bom(text)),
        Err(error) => error,
    };
    let offset = error.valid_up_to();
    let valid = without_bom(std::str::from_utf8(&content[..offset]).unwrap_or_default());
    let message = format!("not UTF-8 text: byte 0x{:02x} at offset {offset}", content[offset]);
    let help = Some("save the file as UTF-8".to_owned());
    Err(Problem::at(valid, valid.len(), message, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(content: &[u8], problems: &[Problem]) -> String {
        Report { name: "fox.toml", content, problems }.to_string()
    }

    #[test]
    fn a_report_shows_the_line_with_a_caret_and_what_would_be_right() {
        let text = "# size\nwidth = 1000\r\nheight = 7";
        let help = Some("use 992 or 1008".to_owned());
        let problems = [
            Problem::at(text, 15, "width: 1000 is not a multiple of 16".to_owned(), help),
            Problem::at(text, text.len(), "no end".to_owned(), None),
        ];
        let expected = "fox.toml:2:9: width: 1000 is not a multiple of 16\n    width = 1000\n            \
             ^\n  help: use 992 or 1008\nfox.toml:3:11: no end\n    height = 7\n              ^\n";
        assert_eq!(report(text.as_bytes(), &problems), expected);
    }

    #[test]
    fn the_caret_stands_under_the_mistake_behind_wide_characters_and_tabs() {
        let text = "\u{feff}\ta = \"狐狸\", 5";
        let text_read = without_bom(text);
        let problem =
            Problem::at(text_read, text_read.find('5').expect("a five"), "no".to_owned(), None);
        assert_eq!(problem.column, 12);
        assert_eq!(
            report(text.as_bytes(), &[problem]),
            "fox.toml:1:12: no\n     a = \"狐狸\", 5\n                 ^\n"
        );
    }

    #[test]
    fn nothing_in_a_file_can_speak_to_the_terminal() {
        let text = "a = \"\x1b[2J\u{9b}31m\u{202e}\x07\" \0";
        let problem = Problem::at(text, text.len(), format!("found {text}"), Some(text.to_owned()));
        let shown = Report { name: "\x1b]0;x\x07", content: text.as_bytes(), problems: &[problem] }
            .to_string();
        let is_plain = |c: char| c == '\n' || !(c.is_control() || is_bidi_control(c));
        assert!(shown.chars().all(is_plain), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J\\u{9b}31m\\u{202e}"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let text = format!("prompt = '{}', {}", "a".repeat(100_000), "b".repeat(100_000));
        let problem = Problem::at(&text, 100_013, "no".to_owned(), None);
        let shown = report(text.as_bytes(), &[problem]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].trim_start(), format!("{}', {}", "a".repeat(47), "b".repeat(50)));
        assert_eq!(lines[2].find('^'), lines[1].find('b'));
    }

    #[test]
    fn a_file_that_is_no_text_can_be_reported() {
        let content = b"prompt = 'a'\n# f\xfcr dich";
        let problem = utf8(content).expect_err("Latin-1");
        let expected = "fox.toml:2:4: not UTF-8 text: byte 0xfc at offset \
             16\n    # f\u{fffd}r dich\n       ^\n  help: save the file as UTF-8\n";
        assert_eq!(report(content, &[problem]), expected);
    }

    #[test]
    fn a_problem_is_an_object_in_json() {
        let problem = Problem::at("ab", 1, "m".to_owned(), None);
        let json = serde_json::to_string(&problem).expect("it has no maps");
        assert_eq!(json, r#"{"key":null,"line":1,"column":2,"message":"m","help":null}"#);
    }
}
