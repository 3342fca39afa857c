//! Lines for people, folded between words where they are wider than the terminal.

use unicode_width::UnicodeWidthStr;

use super::table::terminal_width;

/// What is folded is indented by so much more than its line.
const HANG: usize = 2;

pub(super) fn folded(text: &str) -> String {
    within(text, terminal_width())
}

fn within(text: &str, width_max: Option<usize>) -> String {
    let Some(width_max) = width_max else { return text.to_owned() };
    text.lines().map(|line| folded_line(line, width_max)).collect::<Vec<_>>().join("\n")
}

/// A word that is wider than a line keeps one of its own: paths are copied whole.
fn folded_line(line: &str, width_max: usize) -> String {
    let words = line.trim_start();
    let indent = line.len() - words.len();
    let hang = " ".repeat(indent + HANG);
    let mut lines = vec![" ".repeat(indent)];
    let mut is_begun = false;
    for word in words.split(' ') {
        let last = lines.len() - 1;
        if is_begun && lines[last].width() + 1 + word.width() > width_max {
            lines.push(format!("{hang}{word}"));
            continue;
        }
        let blank = if is_begun { " " } else { "" };
        lines[last] += &format!("{blank}{word}");
        is_begun = true;
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_words_and_what_follows_is_indented() {
        let text =
            "ok    folder  a red fox in the snow\n  a long/path/of/forty/characters/and/more";
        assert_eq!(within(text, None), text);
        let folded = "ok    folder  a red\n  fox in the snow\n  a\n    long/path/of/forty/characters/and/more";
        assert_eq!(within(text, Some(20)), folded);
        assert_eq!(
            within("\u{72d0}\u{72f8} \u{72d0}\u{72f8}", Some(8)),
            "\u{72d0}\u{72f8}\n  \u{72d0}\u{72f8}"
        );
    }
}
