//! A list of prompts, one a line.

use toml::de::DeTable;

use super::Outside;
use super::axes::PROMPT_FILE;
use super::fields::{Bounds, prompt_text};
use crate::problem;
use crate::table::{Check, Mistake, Table, check};

/// A file of this many bytes holds a hundred thousand prompts of more than the usual length.
pub const LIST_BYTES_MAX: u64 = 32 << 20;

/// A prompt and its line, from 1.
pub type Line<'t> = (usize, &'t str);

/// The prompts of a list: its lines without those that are blank or begin with `#`. What stands
/// around a prompt is no part of it, nor are a byte order mark and Windows' line ends.
pub fn lines(content: &[u8]) -> Check<Vec<Line<'_>>> {
    let text = problem::utf8(content).map_err(|problem| {
        let message = format!("line {}: {}", problem.line, problem.message);
        Mistake { message, help: problem.help }
    })?;
    if is_job_file(text) {
        return Err(Mistake::new("this is a job file, and no list of prompts")
            .help("hand it over by itself, or as --template; a list has a prompt a line"));
    }
    let lines = (1..).zip(text.lines().map(str::trim));
    let prompts: Vec<_> =
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    match prompts.is_empty() {
        true => Err(Mistake::new("there is no prompt in it")
            .help("write one a line; lines that begin with # do not count")),
        false => Ok(prompts),
    }
}

/// Whether each line says something of a job: prompts are hardly ever TOML by accident.
fn is_job_file(text: &str) -> bool {
    let table = DeTable::parse(text.trim_start_matches('\u{feff}'));
    table.is_ok_and(|table| !table.get_ref().is_empty())
}

/// The prompts of a list, each with its line.
pub(super) struct Listed {
    /// What the job calls the list.
    name: String,
    lines: Vec<usize>,
    pub(super) prompts: Vec<String>,
}

impl Listed {
    /// Where prompt `index` stands: `zoo.txt:3`.
    pub(super) fn line(&self, index: usize) -> String {
        let line = self.lines.get(index).copied().unwrap_or_default();
        format!("{}:{line}", check::shortened(&self.name))
    }
}

fn of_file(name: &str, separator: &str, mistake: Mistake) -> Mistake {
    let message = format!("{}{separator}{}", check::shortened(name), mistake.message);
    Mistake { message, ..mistake }
}

/// The prompts of the list that `prompt_file` names. Notes what is wrong with it, line by line.
pub(super) fn read_file(
    top: &mut Table,
    bounds: &Bounds,
    outside: &mut dyn Outside,
) -> Option<Listed> {
    let (name, content) = top.read(PROMPT_FILE, |value| {
        let name = check::text(value)?.to_owned();
        outside.list(&name).map(|content| (name, content))
    })?;
    let lines = match lines(&content) {
        Ok(lines) => lines,
        Err(mistake) => {
            top.mistake(PROMPT_FILE, of_file(&name, ": ", mistake));
            return None;
        }
    };
    let mut prompts = Vec::with_capacity(lines.len());
    for (number, line) in &lines {
        match prompt_text(line, bounds) {
            Ok(prompt) => prompts.push(prompt),
            Err(mistake) => {
                top.mistake(PROMPT_FILE, of_file(&name, &format!(":{number}: "), mistake))
            }
        }
    }
    let lines: Vec<usize> = lines.iter().map(|(number, _)| *number).collect();
    (prompts.len() == lines.len()).then_some(Listed { name, lines, prompts })
}

#[cfg(test)]
mod tests {
    use super::*;

    // newcomer 5
    #[test]
    fn a_list_has_a_prompt_a_line_and_comments_marks_and_line_ends_are_none() {
        let content =
            "\u{feff}# the zoo\r\na red fox\r\n\r\n  \u{72d0}  \n #owl\n\tan owl # at night";
        let expected = [(2, "a red fox"), (4, "\u{72d0}"), (6, "an owl # at night")];
        assert_eq!(lines(content.as_bytes()).expect("three prompts"), expected);
    }

    #[test]
    fn a_list_without_a_prompt_or_in_another_encoding_is_told() {
        let message = |content: &[u8]| lines(content).expect_err("no list").message;
        assert_eq!(message(b"# nothing\n\n"), "there is no prompt in it");
        let job = b"\xef\xbb\xbf# a job\r\nprompt = 'a fox'\r\n[matrix]\r\nseed = [1, 2]\r\n";
        assert_eq!(message(job), "this is a job file, and no list of prompts");
        assert!(lines(b"a red fox = an owl\n[a cat]\n").is_ok());
        assert_eq!(message(b"a\nf\xfcr dich"), "line 2: not UTF-8 text: byte 0xfc at offset 3");
    }
}
